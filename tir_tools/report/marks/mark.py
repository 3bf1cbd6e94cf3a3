"""What stands out in a run: rules that say in a sentence what is off, and what to try.

Each rule is a small class with a `name` and `look(history)`, which gives a `RunFinding` where it fires. Thresholds are
the class's own fields, so that they can be seen and tested. The rules see metrics, `dump/...` ones of the trajectory
dump included where there is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Protocol

from tir_tools.report.history import History, Series
from tir_tools.report.words import Unit, spell

_LOST = 0.05
"""Share of aborted trajectories above which a step says nothing of the model."""


class Level(StrEnum):
    """How bad it is."""

    PROBLEM = "problem"
    """The run's result is in doubt."""
    WATCH = "watch"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class RunFinding:
    """A rule that fired."""

    mark: str
    """The rule's name."""
    level: Level
    title: str
    reading: str
    """What was seen and what it says, in a sentence or two."""
    advice: str
    """What to try."""
    figure: str
    """The id of the figure that shows it."""
    steps: tuple[int, int] | None = None
    """The first and the last step that it is about; None for the whole run."""


class Mark(Protocol):
    """What every rule has."""

    name: ClassVar[str]

    def look(self, history: History) -> RunFinding | None:
        """The finding, or None where all is well or nothing is known."""


def share(value: float) -> str:
    """In words."""
    return spell(value, Unit.SHARE)


def steps(span: tuple[int, int]) -> str:
    """In words."""
    return f"step {span[0]}" if span[0] == span[1] else f"steps {span[0]} to {span[1]}"


def whole(history: History) -> tuple[int, int] | None:
    """All training steps."""
    found = history.training_steps
    return (found[0], found[-1]) if found else None


def sound(history: History, metric: str) -> Series:
    """A metric over the steps that lost few trajectories to sandbox and engine.

    What an outage leaves of a batch are the trajectories that did not need the sandbox: they say nothing of the model.
    """
    lost = {point.step for point in history.series("tir/aborted_ratio") if point.value > _LOST}
    return tuple(point for point in history.series(metric) if point.step not in lost)


def look(history: History, marks: Sequence[Mark]) -> list[RunFinding]:
    """The findings of all rules, the worst first."""
    found = [finding for mark in marks if (finding := mark.look(history)) is not None]
    order = list(Level)
    return sorted(found, key=lambda finding: order.index(finding.level))
