r"""A data set's ground truth as answers alone: of `The answer is $37$.` and of GSM8K's `... #### 37` it is `37`.

What an answer says is never changed, only what stands around it: what cannot be taken off by a rule stays, and is a
rule's matter afterwards (`rules`, `sentence`).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from math_answers import last_boxed, quoted_texts
from math_answers.latex_text import is_words
from tir_tools.data.errors import RowError, shortened
from tir_tools.data.mending import Note, Remark


@dataclass(frozen=True, slots=True)
class Truth:
    """The ground truth of a row."""

    answers: tuple[str, ...]
    """Any one of these is right; none where the data set gives none."""
    notes: tuple[Note, ...]
    """What was mended in the text, and that there are several."""
    solution: str | None
    """The text that the answer was read from, where it is more than the answer."""


def read_truth(value: Any, place: str) -> Truth:
    """The ground truth that a column holds: text, a number, or a list of accepted answers.

    Args:
        value: as plain data; None and NaN are missing.
        place: file, row and column, for messages.

    Raises:
        RowError: it is of another type, or a list of numbers, which could be one answer or several.
    """
    notes: list[Note] = []
    answers: dict[str, None] = {}
    solution = None
    texts = [text.strip() for text in _texts(value, place)]
    for text in texts:
        items = quoted_texts(text)
        if items is not None:
            notes.append(Note(Remark.ANSWER_LIST, shortened(text)))
        for item in (text,) if items is None else items:
            answer, remark = cleaned_answer(item)
            if remark is not None:
                notes.append(Note(remark, f"{shortened(item)}: {shortened(answer)}"))
            if remark is Remark.ANSWER_TEXT:
                solution = item
            if answer:
                answers[answer] = None
    if len(answers) > 1:
        notes.append(Note(Remark.SEVERAL_ANSWERS, f"any one of {', '.join(map(repr, answers))}"))
    return Truth(tuple(answers), tuple(notes), solution)


def _texts(value: Any, place: str) -> list[str]:
    match value:
        case None:
            return []
        case str():
            return [value]
        case bool():
            pass
        case int():
            return [str(value)]
        case float() if math.isnan(value):
            # A missing number, as pandas writes it.
            return []
        case float():
            return [str(int(value)) if value.is_integer() else repr(value)]
        case list() if all(isinstance(item, str) for item in value):
            return value
        case list() if len(value) == 1 and not isinstance(value[0], list):
            return _texts(value[0], place)
    hint = "; write accepted answers as texts, and one answer as one text" if isinstance(value, list) else ""
    raise RowError(
        f"{place} holds {shortened(value)}, of type {type(value).__name__}, where a ground truth is text, a number or "
        f"a list of accepted texts{hint}"
    )


_HASHES = re.compile(r"(?:(?<=\s)|^)####[ \t]*(?P<answer>[^\n#]+)$")
_LABEL = r"(?:(?:the|my|our|your)\s+)?(?:(?:final|correct|right)\s+)?(?:{0})[*_]{{0,2}}"
_IS = r"\s*(?:(?:is|are|was|equals)(?!\w)\s*[:=]?|[:=])[*_]{0,2}\s*"
_SAYS = re.compile(
    rf"(?:(?<=[\s.:;,])|^)[*_]{{0,2}}{_LABEL.format('answer|ans')}{_IS}"
    # In a text, these are not always the last ones.
    rf"|^[*_]{{0,2}}{_LABEL.format('result|solution|value')}{_IS}"
    r"|(?:\u6700\u7ec8)?\u7b54\u6848\s*(?:\u662f|\u4e3a|:|\uff1a)\s*",
    re.IGNORECASE,
)
"""Up to the answer; `\u7b54\u6848` is Chinese for answer."""
_NEXT_SENTENCE = re.compile(r"[.!?]\s+[A-Z]|\n")
_AROUND = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        r"\$\$((?:[^$\\]|\\.)+)\$\$",
        r"\$((?:[^$\\]|\\.)+)\$",
        r"\\\(((?:(?!\\\().)+)\\\)",
        r"\\\[((?:(?!\\\[).)+)\\\]",
        r"\*\*((?:(?!\*\*).)+)\*\*",
        r"`([^`]+)`",
        r"<answer>([^<>]+)</answer>",
        r'"([^"]+)"',
        r"\u201c([^\u201c\u201d]+)\u201d",
    )
)
"""Pairs that set what is between them, where they are not several such pairs."""
_DOLLAR = re.compile(r"(?<!\\)\$")
_LEADING = re.compile(r"^[=:]\s*")
# A row of dots goes on, and the one after a single letter (p.m.) belongs to it.
_STOP = re.compile(r"(?<!\.)(?<!\.[A-Za-z])\.$|[\u3002\uff0e]$")


def cleaned_answer(text: str) -> tuple[str, Remark | None]:
    r"""An answer without what a data set puts around it, and what that was; None where there was nothing.

    The last box counts, else what follows GSM8K's `####` or `answer is` at the end, else the text itself without dollar
    signs, stars, quotes and full stop around it. A text with more than one sentence after `answer is` stays as it is.
    """
    text = text.strip()
    boxed = last_boxed(text)
    if boxed is not None:
        is_alone = re.fullmatch(rf"\\{{1,2}}(?:boxed|fbox)\s*\{{{re.escape(boxed)}\}}", _without_markup(text))
        return _without_markup(boxed), Remark.ANSWER_MARKUP if is_alone else Remark.ANSWER_TEXT
    if (answer := after_hashes(text)) is not None:
        return answer, Remark.ANSWER_TEXT
    says = list(_SAYS.finditer(text))
    rest = text[says[-1].end() :] if says else ""
    if not _NEXT_SENTENCE.search(rest) and _is_whole(rest) and (answer := _without_markup(rest)):
        return answer, Remark.ANSWER_TEXT
    answer = _without_markup(text)
    return answer, Remark.ANSWER_MARKUP if answer != text else None


def after_hashes(text: str) -> str | None:
    """What GSM8K's `####` marks at the end of a solution; None where there is none, or where it is a heading."""
    found = _HASHES.search(text.strip())
    answer = _without_markup(found["answer"]) if found else ""
    return None if not answer or is_words(answer) else answer


def _is_whole(text: str) -> bool:
    """Whether no bracket or formula of it began before it; an interval may have a bracket of each kind."""
    opened, closed = sum(map(text.count, "([{")), sum(map(text.count, ")]}"))
    return opened == closed and (len(_DOLLAR.findall(text)) % 2 == 0 or re.match(r"\$\d", text) is not None)


def _without_markup(text: str) -> str:
    text = text.strip()
    while True:
        bare = _LEADING.sub("", _STOP.sub("", text))
        inside = next(filter(None, (around.fullmatch(bare) for around in _AROUND)), None)
        bare = (inside[1] if inside else bare).strip()
        if bare in ("", text):
            return text
        text = bare
