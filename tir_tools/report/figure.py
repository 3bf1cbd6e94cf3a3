"""What a figure is: the metrics that it draws, and how to read it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from tir_tools.report.history import History, Series
from tir_tools.report.words import Unit

COLOURS = 9
MOST_LINES = COLOURS


class Kind(StrEnum):
    LINES = "lines"
    STACK = "stack"
    """Areas on top of each other: parts of a whole."""


@dataclass(frozen=True, slots=True)
class Line:
    """One metric, or a family of them."""

    metric: str
    """A regular expression for whole names."""
    label: str
    """`{}` takes what the expression's group holds, with blanks for underscores."""
    colour: int | None = None
    """Of the page's nine; None for the next one. Given where a thing has the same colour in several figures."""
    verbatim: bool = False
    """Whether the group is a name of the user's own, whose underscores stay."""

    def label_of(self, match: re.Match[str]) -> str:
        """The label of a metric that the expression matches."""
        return self.label.format(*(part if self.verbatim else part.replace("_", " ") for part in match.groups()))


@dataclass(frozen=True, slots=True)
class Figure:
    id: str
    section: str
    title: str
    unit: Unit
    lines: tuple[Line, ...]
    reading: str
    """What to see in it, in a sentence."""
    kind: Kind = Kind.LINES
    may_be_log: bool = False
    """Whether a scale by powers of ten is taken where values lie far apart."""


@dataclass(frozen=True, slots=True)
class DataLine:
    """A line with its values."""

    label: str
    series: Series
    colour: int


def lines_of(figure: Figure, history: History) -> list[DataLine]:
    """The lines that a run has values for; of a family that is too large the first ones."""
    found = []
    for line in figure.lines:
        matches = [match for name in history.names if (match := re.fullmatch(line.metric, name))]
        for match in sorted(matches, key=lambda match: _natural(match[0])):
            colour = len(found) % COLOURS if line.colour is None else line.colour
            found.append(DataLine(line.label_of(match), history.series(match[0]), colour))
    if figure.kind is Kind.STACK:
        found = [line for line in found if any(point.value for point in line.series)]
    return found[:MOST_LINES]


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts `turn 9` before `turn 10`."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)]
