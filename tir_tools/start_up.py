"""What the log of verl's trainer says while it starts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

ENGINE = "start vLLM"
"""The phase behind which the engine is there."""

PHASES = (
    ("start Ray", "Started a local Ray instance"),
    ("start verl's task runner", "train and validate dataloader initialized"),
    ("start the FSDP trainer", "actor and ref model engine initialized"),
    ("start the reward worker", "reward loop manager initialized"),
    (ENGINE, "all initialize finished"),
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


def last_lines(log: Path, count: int = 40) -> str:
    """The end of a log."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-count:])
