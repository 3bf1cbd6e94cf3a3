"""What verl's trainer says of a run: its start-up phases from the log, its metrics from the file logger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PHASES = (
    ("start Ray", "Started a local Ray instance"),
    ("start verl's task runner", "train and validate dataloader initialized"),
    ("start the FSDP trainer", "actor and ref model engine initialized"),
    ("start the reward worker", "reward loop manager initialized"),
    ("start vLLM", "all initialize finished"),
    ("start the agent loop", "Creating file logger"),
    ("validate before training", "Initial validation metrics"),
)
"""Start-up phases in order, each with the words in verl's log that end it."""


@dataclass(slots=True)
class StartUp:
    """Seconds that each phase of the start took."""

    seconds: dict[str, float] = field(default_factory=dict)
    _last: float = 0.0

    def read(self, line: str, now: float) -> None:
        """Take one line of the log, seen `now` seconds after the launch."""
        for name, words in PHASES:
            if name not in self.seconds and words in line:
                self.seconds[name] = now - self._last
                self._last = now

    @property
    def current(self) -> str:
        """The phase under way."""
        return next((name for name, _ in PHASES if name not in self.seconds), "first step")


def step_cells(data: Mapping[str, Any]) -> list[str]:
    """The columns of `STEP_COLUMNS` for one training step's metrics."""
    passed = data.get("tir/code_pass_ratio")
    return [
        f"{data['critic/rewards/mean']:.2f}",
        f"{data['tir/void_ratio']:.2f}",
        f"{data['tir/tool/calls/total']:.0f}",
        "-" if passed is None else f"{passed:.0%}",
        f"{data['tir/turns/mean']:.2f}",
        f"{data['actor/grad_norm']:.3f}",
        f"{data['timing_s/step']:.1f}",
    ]


STEP_COLUMNS = ("reward", "void", "tool calls", "passed", "turns", "grad norm", "seconds")


def validation_accuracy(data: Mapping[str, Any]) -> float | None:
    """Mean validation accuracy over the data sources, or None if the step had no validation."""
    values = [value for key, value in data.items() if key.startswith("val-") and "/correct/mean@" in key]
    return sum(values) / len(values) if values else None
