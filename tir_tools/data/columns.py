"""Which columns of a file hold what, and how a row of them reads as a problem."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from math_answers import last_boxed
from tir_tools.data.errors import ColumnError, RowError, shortened
from tir_tools.data.ground_truth import after_hashes, read_truth
from tir_tools.data.mending import Note, Remark
from tir_tools.data.problem import Asked


@dataclass(frozen=True, slots=True)
class Columns:
    """Names under which a file may have each field; the first that is there is taken. `a.b` is field b of column a."""

    question: tuple[str, ...]
    """Text, or a list of messages with one of the user's."""
    answer: tuple[str, ...]
    """The ground truth: text, a number, or a list of accepted texts."""
    solution: tuple[str, ...] = ()
    r"""A text with the ground truth in its last `\\boxed{}`, else after `####`; looked at without an answer column."""
    level: tuple[str, ...] = ()
    subject: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()
    """What kind of question it is, in the data set's words."""
    valid: tuple[str, ...] = ()
    """`Yes`, or what is wrong with the problem."""
    context: tuple[str, ...] = ()
    """Text that belongs before the question."""
    data_source: tuple[str, ...] = ()

    def __or__(self, other: Columns) -> Columns:
        """These names, then those of `other`."""
        return Columns(*(getattr(self, item.name) + getattr(other, item.name) for item in fields(self)))


VERL = Columns(
    question=("prompt",),
    answer=("reward_model.ground_truth",),
    level=("extra_info.level",),
    subject=("extra_info.subject",),
)
"""verl's own format, in which copies of any data set are about."""

USUAL = Columns(
    question=("question", "problem", "Problem", "Question", "prompt"),
    answer=(
        "answer",
        "Answer",
        "final_answer",
        "ground_truth",
        "gt_answer",
        "expected_answer",
        "reward_model.ground_truth",
    ),
    solution=("solution", "Solution"),
    level=("level", "extra_info.level"),
    subject=("subject", "type", "extra_info.subject"),
    asked=("question_type",),
    valid=("problem_is_valid",),
    data_source=("data_source",),
)
"""For a file of no known data set: names in use, verl's own format included."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The columns that a file has; None for those that it has not."""

    question: str
    answer: str | None
    solution: str | None
    level: str | None
    subject: str | None
    asked: str | None
    valid: str | None
    context: str | None
    data_source: str | None

    @property
    def top_level(self) -> tuple[str, ...]:
        """The file's own columns that have to be read."""
        names = (getattr(self, item.name) for item in fields(self))
        return tuple(dict.fromkeys(name.partition(".")[0] for name in names if name is not None))


@dataclass(frozen=True, slots=True)
class Fields:
    """What one row says."""

    question: str
    answers: tuple[str, ...]
    """Any one of these is right; none where the row has no ground truth."""
    solution: str | None
    level: int | None
    subject: str | None
    asked: Asked | None
    complaint: str | None
    """What the data set says is wrong with the problem."""
    data_source: str | None
    notes: tuple[Note, ...]
    """What was mended, and what looks wrong."""


def choose(columns: Columns, there: Collection[str], file: str) -> Chosen:
    """The first name of each field that is among the columns of a file.

    Raises:
        ColumnError: there is none for the question, or none for the ground truth.
    """
    found = {
        item.name: next((name for name in getattr(columns, item.name) if name in there), None)
        for item in fields(columns)
    }
    if found["answer"] is not None:
        found["solution"] = None
    for name, missing, names in (
        ("question", found["question"] is None, columns.question),
        ("answer", found["answer"] is None and found["solution"] is None, columns.answer + columns.solution),
    ):
        if missing:
            raise ColumnError(
                f"{file} has no column for the {name}: looked for {', '.join(names)}; it has {', '.join(there)}. "
                f"For data of your own, name it: --{name}-column NAME"
            )
    return Chosen(**found)  # type: ignore[arg-type]


def read(chosen: Chosen, row: Mapping[str, Any], place: str) -> Fields:
    """One row's fields. A null question or answer reads as empty text, which the rules drop.

    Args:
        chosen: the columns.
        row: the row as plain data.
        place: file and row, for messages.

    Raises:
        RowError: a field is missing or of a type that it cannot have.
    """
    question, notes = _question(_value(row, chosen.question, place), f"{place}, column {chosen.question}")
    if chosen.context is not None and (context := _value(row, chosen.context, place)):
        question = f"{_text(context, f'{place}, column {chosen.context}')}\n{question}"
    if chosen.answer is not None:
        truth = read_truth(_value(row, chosen.answer, place), f"{place}, column {chosen.answer}")
    else:
        assert chosen.solution is not None
        solution = _text(_value(row, chosen.solution, place), f"{place}, column {chosen.solution}")
        answer = last_boxed(solution)
        found = read_truth(after_hashes(solution) if answer is None else answer, place)
        truth = replace(found, solution=solution)
    return Fields(
        question=question,
        answers=truth.answers,
        solution=truth.solution,
        level=_level(_optional(row, chosen.level)),
        subject=_label(_optional(row, chosen.subject)),
        asked=_asked(_optional(row, chosen.asked)),
        complaint=_complaint(_optional(row, chosen.valid)),
        data_source=_label(_optional(row, chosen.data_source)),
        notes=notes + truth.notes,
    )


def _value(row: Mapping[str, Any], name: str, place: str) -> Any:
    value: Any = row
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise RowError(
                f"{place} has no {name}, which other rows have; add it, or leave such rows out with --skip-bad-rows"
            )
        value = value[part]
    return value


def _optional(row: Mapping[str, Any], name: str | None) -> Any:
    value: Any = row
    for part in name.split(".") if name else ():
        value = value.get(part) if isinstance(value, Mapping) else None
    return value if name else None


def _question(value: Any, place: str) -> tuple[str, tuple[Note, ...]]:
    if not isinstance(value, list):
        return _text(value, place), ()
    roles = [message.get("role") if isinstance(message, Mapping) else None for message in value]
    # A system message is instructions, which are the recipe's matter.
    if [role for role in roles if role != "system"] != ["user"]:
        raise RowError(
            f"{place} is a conversation of {shortened(roles)}, and a problem is one message of the user's; "
            "leave such rows out with --skip-bad-rows"
        )
    left_out = [message.get("content") for message in value if message["role"] == "system"]
    notes = tuple(Note(Remark.SYSTEM_MESSAGE, shortened(text)) for text in left_out)
    return _text(value[roles.index("user")].get("content"), place), notes


def _text(value: Any, place: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RowError(f"{place} holds {shortened(value)}, of type {type(value).__name__}, where text is needed")
    return value.strip()


def _level(value: Any) -> int | None:
    """5 for 5, 5.0, "5" and "Level 5"; None where it is not a whole number ("Level ?")."""
    if isinstance(value, str):
        match = re.fullmatch(r"(?:level\s*)?(\d{1,3})", value.strip(), re.IGNORECASE)
        return int(match[1]) if match else None
    if isinstance(value, int | float) and not isinstance(value, bool) and float(value).is_integer():
        return int(value)
    return None


def _label(value: Any) -> str | None:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or None
    return None if value is None else str(value)


def _asked(value: Any) -> Asked | None:
    """From NuminaMath's words: `proof` and `MCQ`."""
    return {"proof": Asked.PROOF, "mcq": Asked.CHOICE}.get(str(value).lower())


def _complaint(value: Any) -> str | None:
    """None for NuminaMath's `Yes`."""
    return None if value is None or str(value).lower() in ("yes", "true") else str(value)
