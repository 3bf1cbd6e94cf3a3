"""A demo run in figures: from the metrics that verl logged and the dump of validations. Pure."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from tir_tools.last_number import leniently_right
from verl_tir.dump.format import DumpedTrajectory
from verl_tir.dump.reader import read_file
from verl_tir.trajectory import StopReason

_SUCCESS = re.compile(r"val-aux/(?P<kind>.+)/correct/mean@\d+")
_PART_NAMES = {
    "gen": "rollout, with programs",
    "old_log_prob": "log-probabilities",
    "adv": "advantages",
    "update_actor": "update",
    "save_checkpoint": "checkpoints",
    "update_weights": "weights to vLLM",
}
"""verl's timers within a step."""

Metrics = Sequence[tuple[int, Mapping[str, Any]]]
"""Steps and what verl logged of each; step 0 is the validation before training."""


@dataclass(frozen=True, slots=True)
class Validation:
    """Greedy answers to the validation problems."""

    step: int
    by_kind: Mapping[str, float]
    """Share of correct answers, by kind of problem (verl's `data_source`): the right one is in the box."""
    lenient_by_kind: Mapping[str, float]
    """Share of trajectories in which the right number is in the box or is the last that the model says, by kind; empty
    where none were dumped."""
    void_ratio: float | None
    """Share of void trajectories; None where none were dumped."""

    @property
    def success(self) -> float:
        """Mean over the kinds."""
        return fmean(self.by_kind.values())

    @property
    def lenient(self) -> float | None:
        """Lenient accuracy, as a mean over the kinds; None where no trajectories were dumped."""
        return fmean(self.lenient_by_kind.values()) if self.lenient_by_kind else None


@dataclass(frozen=True, slots=True)
class Curve:
    """What changed from step to step."""

    steps: tuple[int, ...]
    correct: tuple[float, ...]
    """Share of correct sampled trajectories."""
    void: tuple[float, ...]
    """Share of void sampled trajectories."""
    seconds: tuple[float, ...]
    validations: tuple[Validation, ...]

    def steps_to(self, success: float) -> int | None:
        """The first validated step with so high a share of correct answers; None where there is none."""
        return next((item.step for item in self.validations if item.success >= success), None)


def read_curve(metrics: Metrics, trajectories: Path) -> Curve:
    """The curve of a run, with what the dump says of its validations."""
    training = [(step, data) for step, data in metrics if "actor/grad_norm" in data]
    validations = []
    for step, data in metrics:
        if by_kind := success_by_kind(data):
            lines = _dumped(trajectories / "val" / f"{step:06d}.jsonl")
            validations.append(Validation(step, by_kind, _lenient_by_kind(lines), _void_ratio(lines)))
    return Curve(
        steps=tuple(step for step, _ in training),
        correct=tuple(data["tir/correct_ratio"] for _, data in training),
        void=tuple(data["tir/void_ratio"] for _, data in training),
        seconds=tuple(data["timing_s/step"] for _, data in training),
        validations=tuple(validations),
    )


def success_by_kind(data: Mapping[str, Any]) -> dict[str, float]:
    """Share of correct validation answers by kind; empty for a step without validation."""
    return {match["kind"]: value for name, value in data.items() if (match := _SUCCESS.fullmatch(name))}


def step_seconds(metrics: Metrics) -> dict[str, float]:
    """Where the seconds of all steps went, by verl's timers."""
    training = [data for _, data in metrics if "actor/grad_norm" in data]
    spent = {_PART_NAMES[part]: sum(data.get(f"timing_s/{part}", 0.0) for data in training) for part in _PART_NAMES}
    spent["rest of the steps"] = sum(data["timing_s/step"] for data in training) - sum(spent.values())
    spent["validations"] = sum(data.get("timing_s/testing", 0.0) for data in training)
    return spent


def sparkline(values: Sequence[float], width: int = 60) -> str:
    """Values from 0 to 1 as a line of blocks, neighbours averaged where there are more than `width`."""
    if not values:
        return ""
    columns = min(width, len(values))
    edges = [round(index * len(values) / columns) for index in range(columns + 1)]
    means = (fmean(values[begin:end]) for begin, end in itertools.pairwise(edges))
    return "".join("▁▂▃▄▅▆▇█"[min(7, max(0, int(mean * 8)))] for mean in means)


def _dumped(path: Path) -> list[DumpedTrajectory]:
    return [line.item for line in read_file(path) if line.item is not None] if path.exists() else []


def _lenient_by_kind(lines: Sequence[DumpedTrajectory]) -> dict[str, float]:
    right: defaultdict[str, list[bool]] = defaultdict(list)
    for line in lines:
        right[line.data_source or ""].append(leniently_right(line))
    return {kind: fmean(of_kind) for kind, of_kind in right.items()}


def _void_ratio(lines: Sequence[DumpedTrajectory]) -> float | None:
    return fmean(line.trajectory.stop_reason is StopReason.VOID for line in lines) if lines else None
