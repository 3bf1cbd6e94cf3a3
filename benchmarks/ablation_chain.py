"""The links of SimpleTIR's chain in a run: void turns, improbable tokens, gradients. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import StatisticsError, correlation

from ablation_outcome import Interval, Steps

from verl_tir.trajectory import Trajectory

IMPROBABLE = 0.01
"""A token is improbable that the policy sampled with less than this, the bound of `+ablation=low_probability_mask`."""
PLACES = ("first turn", "later turn", "void turn", "behind a void turn")
"""Where a turn stands: of the sound ones before any void turn the first and the later ones; a trajectory's first void
turn; and what comes behind it, which SimpleTIR never samples."""


@dataclass(frozen=True, slots=True)
class Links:
    """One run."""

    improbable: Mapping[str, float]
    """By place: the share of its turns that have an improbable token; without the places where no turn stood."""
    gradient: float | None
    """Pearson's correlation of the void ratio and the grad norm over the steps; None where one of them is constant."""

    @classmethod
    def of(cls, trajectories: Iterable[Trajectory], steps: Steps) -> Links:
        """Of a finished run's sampled trajectories and metrics."""
        found: dict[str, list[bool]] = defaultdict(list)
        for trajectory in trajectories:
            for place, lowest in _turns(trajectory):
                found[place].append(lowest < math.log(IMPROBABLE))
        training = [data for data in steps if "actor/grad_norm" in data]
        try:
            gradient = correlation(
                [data["tir/void_ratio"] for data in training], [data["actor/grad_norm"] for data in training]
            )
        except StatisticsError:
            gradient = None
        return cls({place: sum(hits) / len(hits) for place, hits in found.items()}, gradient)


def _turns(trajectory: Trajectory) -> Iterable[tuple[str, float]]:
    """The place of each turn that has tokens, and its lowest log-probability."""
    behind = False
    for number, turn in enumerate(trajectory.turns):
        place = PLACES[3] if behind else PLACES[2] if turn.void else PLACES[min(number, 1)]
        behind |= turn.void
        if turn.log_probs is not None:
            yield place, turn.log_probs.minimum


def chain(arms: Mapping[str, Sequence[Links]]) -> list[tuple[str, ...]]:
    """An arm a row: how often a turn has an improbable token, by place; and whether void steps have large gradients."""
    head = ("arm", *PLACES, "void ratio with grad norm")
    return [head, *((arm, *_words(runs)) for arm, runs in arms.items())]


def _words(runs: Sequence[Links]) -> Iterable[str]:
    columns = [[run.improbable[place] for run in runs if place in run.improbable] for place in PLACES]
    columns.append([run.gradient for run in runs if run.gradient is not None])
    return (Interval.of(values).words() if values else "none" for values in columns)
