"""What verl's trainer says while it runs: its start-up phases from the log, its metrics from the file logger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
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
class Tail:
    """Reads what was appended to a file since the last look; complete lines only."""

    path: Path
    _offset: int = 0

    def lines(self) -> Iterator[str]:
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._offset += len(line)
                yield line.decode("utf-8", "replace").rstrip("\n")


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
        f"{data['tir/correct_ratio']:.2f}",
        f"{data['tir/void_ratio']:.2f}",
        f"{data['tir/tool/calls/total']:.0f}",
        "-" if passed is None else f"{passed:.0%}",
        f"{data['tir/turns/mean']:.2f}",
        f"{data['actor/grad_norm']:.3f}",
        f"{data['timing_s/step']:.1f}",
    ]


STEP_COLUMNS = ("reward", "correct", "void", "tool calls", "passed", "turns", "grad norm", "seconds")
