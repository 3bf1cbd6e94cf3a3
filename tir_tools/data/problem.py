"""A problem with its ground truth, apart from any file format."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What a data set is for."""

    TRAIN = "train"
    """The rules drop problems from it."""
    BENCHMARK = "benchmark"
    """It is kept whole, since a score over fewer problems compares with nothing; the rules only report."""

    @property
    def split(self) -> str:
        """As `extra_info.split` has it."""
        return "train" if self is Role.TRAIN else "test"


class Asked(StrEnum):
    """What a data set says that a question asks for."""

    PROOF = "proof"
    CHOICE = "choice"


@dataclass(frozen=True, slots=True)
class Problem:
    """One row of a data set."""

    id: str
    """The hash of the question, see `normal.problem_id`."""
    question: str
    """The question, bare unless that was not wanted: a recipe's instructions are put around it at rollout."""
    answers: tuple[str, ...]
    """The ground truth: any one of these is right. Empty where the data set gives none."""
    row: int
    """Position in the source, counted from 1 over all of its files."""
    data_source: str
    """The name under which verl reports scores."""
    level: int | None = None
    subject: str | None = None
    asked: Asked | None = None
    """None where the data set does not say."""
    complaint: str | None = None
    """What the data set itself says is wrong with the problem."""
    solution: str | None = None
    """The text that the answer was read from; None where the data set gives the answer itself."""
