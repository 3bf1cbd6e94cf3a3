"""The metrics of a run, step by step, and the few questions that figures and marks ask of them."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Mapping
from typing import NamedTuple

_LONGEST_WINDOW = 10
"""Steps at either end of a run that are averaged before they are compared."""
_TRAINED = ("training/global_step", "tir/trajectories/total")
"""What only a training step has; the validation before the first one has neither."""


class Point(NamedTuple):
    """A value at a step."""

    step: int
    value: float


Series = tuple[Point, ...]
"""In order of steps, without those that have no value."""


class Trend(NamedTuple):
    """How a series began and how it goes now: means over windows at both ends."""

    early: float
    late: float
    window: int
    """Steps in each."""
    noise: float
    """Standard deviation that the difference of the two would have, did the values only jitter as they do from step to
    step; infinite where there are too few to say."""

    @property
    def change(self) -> float:
        return self.late - self.early


class History:
    """What a run's logs say, immutable once built."""

    def __init__(self, steps: Mapping[int, Mapping[str, float]]) -> None:
        """`steps` gives the finite values of each step, by name."""
        self._steps = {step: dict(steps[step]) for step in sorted(steps)}

    @property
    def training_steps(self) -> list[int]:
        """Those in which the policy was updated."""
        return [step for step, values in self._steps.items() if any(name in values for name in _TRAINED)]

    @property
    def last_step(self) -> int | None:
        return next(reversed(self._steps), None)

    @property
    def names(self) -> set[str]:
        """Of every metric that some step has."""
        return {name for values in self._steps.values() for name in values}

    def series(self, name: str) -> Series:
        """One metric."""
        return tuple(Point(step, values[name]) for step, values in self._steps.items() if name in values)

    def ratio(self, part: str, whole: str) -> Series:
        """One metric divided by another, where both are known and the other is not zero."""
        return tuple(
            Point(step, values[part] / values[whole])
            for step, values in self._steps.items()
            if part in values and values.get(whole)
        )

    def values(self, step: int) -> Mapping[str, float]:
        """All metrics of a step; none where the run had no such step."""
        return self._steps.get(step, {})

    def with_values(self, more: Mapping[int, Mapping[str, float]]) -> History:
        """With further metrics; where both know a value, this one's stays."""
        steps = sorted(self._steps.keys() | more.keys())
        return History({step: {**more.get(step, {}), **self._steps.get(step, {})} for step in steps})


def trend(series: Series) -> Trend | None:
    """The ends of a series, each the mean of a third of it and of ten steps at most; None of fewer than two points."""
    if len(series) < 2:
        return None
    window = min(max(len(series) // 3, 1), _LONGEST_WINDOW)
    values = [point.value for point in series]
    jumps = [after - before for before, after in itertools.pairwise(values)]
    noise = statistics.stdev(jumps) / math.sqrt(window) if len(jumps) > 1 else math.inf
    return Trend(statistics.fmean(values[:window]), statistics.fmean(values[-window:]), window, noise)


def where(series: Series, holds: Callable[[float], bool]) -> tuple[int, int] | None:
    """The first and the last step at which something holds; None where it never does."""
    steps = [point.step for point in series if holds(point.value)]
    return (steps[0], steps[-1]) if steps else None
