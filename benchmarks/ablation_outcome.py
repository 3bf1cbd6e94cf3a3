"""What a run of the ablation came to, and what the seeds of an arm say together. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from scipy.stats import binomtest, t

WINDOW = 5
"""Steps over which sampled success is averaged: a step's is of some dozen trajectories."""
COLLAPSE = 0.5
"""A run has collapsed whose last window solves less than this share of what its best window solved."""
TURNS = 4
"""Turns whose improbable tokens are shown apart."""

_GREEDY = re.compile(r"val-aux/.+/correct/mean@\d+")

Steps = Sequence[Mapping[str, Any]]
"""verl's metrics, step by step."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run."""

    greedy: float
    """Share of the validation problems solved at the end, mean over the kinds of problems."""
    best: float
    """Sampled success of the best window."""
    last: float
    """Sampled success of the last window."""
    void: float
    """Share of void trajectories in the last window."""
    turns: float
    """Of a trajectory, mean over the run: what the arm pays for its rollouts."""
    grad_norm: float
    """The largest step's. verl averages over the step's updates, and takes the norm before it is clipped."""
    ratio: float
    """The largest step's `actor/importance_ratio_max`, which verl averages over micro-batches."""
    log_prob: tuple[float | None, ...]
    """By turn: the lowest of the steps' first percentiles of sampled tokens' log-probabilities, in nats; None where no
    trajectory got so far."""

    @property
    def collapsed(self) -> bool:
        """Whether what it had learned was lost again."""
        return not self.last >= COLLAPSE * self.best

    @classmethod
    def of(cls, steps: Steps) -> Outcome:
        """Of a finished run.

        Raises:
            ValueError: it has fewer steps than a window.
        """
        training = [data for data in steps if "actor/grad_norm" in data]
        if len(training) < WINDOW:
            raise ValueError(f"a run of {len(training)} steps; the ablation needs at least {WINDOW}")
        windows = [
            fmean(data["tir/correct_ratio"] for data in training[at : at + WINDOW])
            for at in range(len(training) - WINDOW + 1)
        ]
        validated = [found for data in steps if (found := [data[key] for key in data if _GREEDY.fullmatch(key)])]
        return cls(
            greedy=fmean(validated[-1]),
            best=max(windows),
            last=windows[-1],
            void=fmean(data["tir/void_ratio"] for data in training[-WINDOW:]),
            turns=fmean(data["tir/turns/mean"] for data in training),
            grad_norm=_highest(data["actor/grad_norm"] for data in training),
            ratio=_highest(data["actor/importance_ratio_max"] for data in training),
            log_prob=tuple(
                min((data[key] for data in training if (key := f"tir/turn/{turn}/log_prob/p1") in data), default=None)
                for turn in range(1, TURNS + 1)
            ),
        )


def _highest(values: Any) -> float:
    """The largest; NaN where one is, which `max` may pass over."""
    found = list(values)
    return math.nan if any(math.isnan(value) for value in found) else max(found)


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over seeds with its 95% interval (Student's t); without one for a single seed."""

    mean: float
    half: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Interval:
        count = len(values)
        if count < 2:
            return cls(values[0], None)
        return cls(fmean(values), float(t.ppf(0.975, count - 1)) * stdev(values) / math.sqrt(count))

    def words(self, digits: int = 2) -> str:
        return f"{self.mean:.{digits}f}" + ("" if self.half is None else f" ± {self.half:.{digits}f}")


def share_words(hits: int, of: int) -> str:
    """A share with its 95% interval (Clopper and Pearson)."""
    interval = binomtest(hits, of).proportion_ci(0.95)
    return f"{hits} of {of} [{interval.low:.2f}, {interval.high:.2f}]"


COLUMNS: Mapping[str, Callable[[Outcome], float]] = {
    "greedy success, last": lambda outcome: outcome.greedy,
    "sampled success, best": lambda outcome: outcome.best,
    "sampled, last": lambda outcome: outcome.last,
    "void ratio, last": lambda outcome: outcome.void,
    "turns": lambda outcome: outcome.turns,
    "largest grad norm": lambda outcome: outcome.grad_norm,
    "largest ratio": lambda outcome: outcome.ratio,
}


def table(arms: Mapping[str, Sequence[Outcome]]) -> list[tuple[str, ...]]:
    """An arm a row: means over its seeds, and how many of them collapsed."""
    head = ("arm", *COLUMNS, "collapsed")
    rows = [
        (
            arm,
            *(Interval.of([read(outcome) for outcome in outcomes]).words() for read in COLUMNS.values()),
            share_words(sum(outcome.collapsed for outcome in outcomes), len(outcomes)),
        )
        for arm, outcomes in arms.items()
    ]
    return [head, *rows]


def by_turn(arms: Mapping[str, Sequence[Outcome]]) -> list[tuple[str, ...]]:
    """An arm a row: the lowest first percentile of log-probabilities in each turn, where a trajectory got so far."""
    head = ("arm", *(f"turn {turn}" for turn in range(1, TURNS + 1)))
    rows = []
    for arm, outcomes in arms.items():
        columns = zip(*(outcome.log_prob for outcome in outcomes), strict=True)
        known = [[value for value in column if value is not None] for column in columns]
        rows.append((arm, *(Interval.of(values).words(1) if values else "none" for values in known)))
    return [head, *rows]


def against_first(arms: Mapping[str, Sequence[Outcome]]) -> list[tuple[str, ...]]:
    """An arm a row: what it has less than the first, seed by seed, which takes the seeds' own differences out."""
    (first, base), *others = arms.items()
    head = (f"less than {first}", "greedy success, last", "sampled, last")
    rows = []
    for arm, outcomes in others:
        pairs = list(zip(base, outcomes, strict=True))
        greedy = Interval.of([one.greedy - other.greedy for one, other in pairs])
        sampled = Interval.of([one.last - other.last for one, other in pairs])
        rows.append((arm, greedy.words(), sampled.words()))
    return [head, *rows]
