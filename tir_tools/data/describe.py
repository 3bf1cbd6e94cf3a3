"""What is in a data file: counts, kinds of ground truths, lengths, duplicates and a few problems."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tir_tools.data.answer_kind import AnswerKind, answer_kind
from tir_tools.data.mending import Remark
from tir_tools.data.problem import Problem
from tir_tools.data.reading import Reading

_Value = TypeVar("_Value")

PERCENTILES = (0, 5, 25, 50, 75, 95, 99, 100)
BARS = 10


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a histogram: lengths from `low` up to, not including, `high`."""

    low: int
    high: int
    count: int


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long questions are."""

    unit: str
    """`tokens` or `characters`."""
    mean: float
    percentiles: Mapping[int, int]
    """By percentage: the smallest length that this share of the questions does not exceed."""
    histogram: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class Description:
    """What a file holds."""

    rows: int
    sources: Mapping[str, int]
    levels: Mapping[int | None, int]
    subjects: Mapping[str | None, int]
    answer_kinds: Mapping[AnswerKind, int]
    duplicates: int
    """Rows whose question stands there before."""
    noted: Mapping[Remark, int]
    """Rows in which `prepare` would mend something, or finds what looks wrong."""
    lengths: Lengths
    sample: tuple[Problem, ...]


def describe(
    reading: Reading, length: Callable[[Sequence[str]], list[int]], unit: str, sample: int, seed: int
) -> Description:
    """Look at problems, as `prepare` reads them.

    Args:
        reading: with at least one problem.
        length: the lengths of questions, in `unit`.
        unit: for the reader.
        sample: how many problems to show, drawn with `seed`, in the file's order.
        seed: of the draw.
    """
    problems = reading.problems
    rows = sorted(random.Random(seed).sample(range(len(problems)), min(sample, len(problems))))
    kinds = Counter(kind_of(problem) for problem in problems)
    return Description(
        rows=len(problems),
        sources=_most_common(problem.data_source for problem in problems),
        levels=dict(sorted(Counter(problem.level for problem in problems).items(), key=lambda item: item[0] or -1)),
        subjects=_most_common(problem.subject for problem in problems),
        answer_kinds=_most_common(kinds.elements()),
        duplicates=len(problems) - len({problem.id for problem in problems}),
        noted={remark: len(rows) for remark, rows in reading.noted.items()},
        lengths=measured(length([problem.question for problem in problems]), unit),
        sample=tuple(problems[row] for row in rows),
    )


def kind_of(problem: Problem) -> AnswerKind:
    """The kind of its ground truth; of several accepted answers, the first one's."""
    return answer_kind(problem.answers[0] if problem.answers else "")


def measured(lengths: Sequence[int], unit: str) -> Lengths:
    """Mean, percentiles and histogram of lengths; the last bar takes up what lies beyond the 99th percentile."""
    ordered = sorted(lengths)
    percentiles = {share: ordered[max(-(-share * len(ordered) // 100) - 1, 0)] for share in PERCENTILES}
    width = max(1, -(-percentiles[99] // BARS))
    counts = Counter(min(value // width, BARS - 1) for value in ordered)
    bars = [Bar(number * width, (number + 1) * width, counts[number]) for number in range(BARS)]
    bars[-1] = Bar(bars[-1].low, max(bars[-1].high, ordered[-1] + 1), bars[-1].count)
    return Lengths(unit, sum(ordered) / len(ordered), percentiles, tuple(bars))


def _most_common(values: Iterable[_Value]) -> dict[_Value, int]:
    return dict(Counter(values).most_common())
