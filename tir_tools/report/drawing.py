"""The geometry of a figure: lines, areas and scales as the coordinates and paths of an SVG. Colours are the page's.

Drawn here and not by a charting library, because the page must be small and is read on phones: a whole page takes some
200 kB, where plotly's script alone takes 4.9 MB; and because they follow light and dark by themselves, need no script
to be seen, and let the page forbid every script but its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tir_tools.report.figure import DataLine, Kind
from tir_tools.report.history import Point, Series
from tir_tools.report.words import Unit, spell

WIDTH, HEIGHT = 420, 220
LEFT, RIGHT, TOP, BOTTOM = 52, 412, 10, 196
MOST_POINTS = 240
"""Of a line. Of more, each stretch of steps keeps its lowest and its highest."""
_FEW = 40
"""Up to so many points are drawn as dots too."""
_DECADES = 2
"""Powers of ten over which values must be spread for a scale by powers of ten."""


@dataclass(frozen=True, slots=True)
class Tick:
    at: float
    """In the drawing's units, along its axis."""
    label: str


@dataclass(frozen=True, slots=True)
class Stroke:
    """One line or area."""

    label: str
    colour: int
    """Of the page's."""
    path: str
    """The `d` of an SVG path."""
    dots: tuple[tuple[float, float], ...]
    last: str
    """The value that it ends with, in words."""
    points: Series
    """As they are drawn, for reading values off."""


@dataclass(frozen=True, slots=True)
class Drawing:
    strokes: tuple[Stroke, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    band: tuple[float, float] | None
    """Left end and width of the steps that a mark is about."""
    first_step: int
    last_step: int
    thinned: bool
    """Whether points were left out."""
    logarithmic: bool


@dataclass(frozen=True, slots=True)
class _Scale:
    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log10(low), math.log10(high), math.log10(max(value, low))
        share = 0.5 if high == low else (value - low) / (high - low)
        return round(self.start + share * (self.end - self.start), 1)


def draw(
    lines: Sequence[DataLine],
    kind: Kind,
    unit: Unit,
    *,
    may_be_log: bool = False,
    marked: tuple[int, int] | None = None,
) -> Drawing | None:
    """Draw lines, or areas on top of each other; None where there is no point.

    Args:
        lines: in the order of the legend; the first area lies at the bottom.
        kind: how.
        unit: of the values.
        may_be_log: whether a scale by powers of ten may be taken.
        marked: the first and the last step that a mark is about.
    """
    lines = [line for line in lines if line.series]
    if not lines:
        return None
    steps = sorted({point.step for line in lines for point in line.series})
    thinned = any(len(line.series) > MOST_POINTS for line in lines)
    across = _Scale(steps[0], steps[-1], LEFT, RIGHT)
    if kind is Kind.STACK:
        tops = _stack(lines, _thin_steps(steps))
        bounds = [point.value for _, top in tops for point in top]
        up = _vertical([0.0, *bounds], unit, log=False)
        strokes = _areas(lines, tops, across, up, unit)
    else:
        values = [point.value for line in lines for point in line.series]
        log = may_be_log and min(values) > 0 and math.log10(max(values) / min(values)) >= _DECADES
        up = _vertical(values, unit, log=log)
        strokes = [_line(line, across, up, unit) for line in lines]
    return Drawing(
        tuple(strokes),
        tuple(Tick(across.at(step), f"{step:,}") for step in _step_ticks(steps[0], steps[-1])),
        tuple(Tick(up.at(value), spell(value, unit)) for value in _ticks(up)),
        None if marked is None else _band(marked, across),
        steps[0],
        steps[-1],
        thinned,
        up.log,
    )


def sparkline(series: Series, width: int = 120, height: int = 28) -> str:
    """The path of a line without scales."""
    if not series:
        return ""
    points = thin(series)
    low, high = min(p.value for p in points), max(p.value for p in points)
    across = _Scale(points[0].step, points[-1].step, 2, width - 2)
    up = _Scale(low, high, height - 3, 3)
    return _path((across.at(point.step), up.at(point.value)) for point in points)


def thin(series: Series) -> Series:
    """Of a long series the lowest and the highest point of each stretch, and both ends."""
    if len(series) <= MOST_POINTS:
        return series
    stretches = MOST_POINTS // 2
    kept = {series[0], series[-1]}
    for number in range(stretches):
        part = series[number * len(series) // stretches : (number + 1) * len(series) // stretches]
        kept |= {min(part, key=lambda point: point.value), max(part, key=lambda point: point.value)}
    return tuple(sorted(kept))


def _thin_steps(steps: Sequence[int]) -> list[int]:
    if len(steps) <= MOST_POINTS:
        return list(steps)
    return [steps[round(number * (len(steps) - 1) / (MOST_POINTS - 1))] for number in range(MOST_POINTS)]


def _line(line: DataLine, across: _Scale, up: _Scale, unit: Unit) -> Stroke:
    points = thin(line.series)
    places = tuple((across.at(point.step), up.at(point.value)) for point in points)
    dots = places if len(points) <= _FEW else ()
    return Stroke(line.label, line.colour, _path(places), dots, spell(line.series[-1].value, unit), points)


def _stack(lines: Sequence[DataLine], steps: Sequence[int]) -> list[tuple[Series, Series]]:
    """Of each area its lower and its upper edge."""
    level = dict.fromkeys(steps, 0.0)
    edges = []
    for line in lines:
        known = {point.step: point.value for point in line.series}
        below = tuple(Point(step, level[step]) for step in steps)
        for step in steps:
            level[step] += known.get(step, 0.0)
        edges.append((below, tuple(Point(step, level[step]) for step in steps)))
    return edges


def _areas(
    lines: Sequence[DataLine], edges: Sequence[tuple[Series, Series]], across: _Scale, up: _Scale, unit: Unit
) -> list[Stroke]:
    strokes = []
    for line, (below, above) in zip(lines, edges, strict=True):
        there = [(across.at(point.step), up.at(point.value)) for point in above]
        back = [(across.at(point.step), up.at(point.value)) for point in reversed(below)]
        if len(there) == 1:
            # One step has no width of its own.
            there, back = [(LEFT, there[0][1]), (RIGHT, there[0][1])], [(RIGHT, back[0][1]), (LEFT, back[0][1])]
        known = {point.step: point for point in line.series}
        drawn = tuple(known.get(point.step, Point(point.step, 0.0)) for point in above)
        path = _path([*there, *back]) + "Z"
        strokes.append(Stroke(line.label, line.colour, path, (), spell(line.series[-1].value, unit), drawn))
    return strokes


def _path(places: Iterable[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in places)


def _vertical(values: Sequence[float], unit: Unit, *, log: bool) -> _Scale:
    low, high = min(values), max(values)
    if log:
        return _Scale(10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high)), BOTTOM, TOP, log=True)
    # Zero belongs to the picture unless the values are far from it, as those of a learning rate never are.
    low, high = min(low, 0.0), max(high, 0.0)
    if unit is Unit.SHARE and high > 0.5:
        high = max(high, 1.0)
    if low == high:
        high = low + 1
    step = _nice((high - low) / 4)
    return _Scale(math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step, BOTTOM, TOP)


def _nice(rough: float) -> float:
    """The round number next above."""
    power = 10 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9))


def _ticks(scale: _Scale) -> list[float]:
    if scale.log:
        low, high = round(math.log10(scale.low)), round(math.log10(scale.high))
        return [10.0**power for power in range(low, high + 1, max(1, -(-(high - low) // 5)))]
    step = _nice((scale.high - scale.low) / 5)
    count = round((scale.high - scale.low) / step)
    first = math.ceil(scale.low / step - 1e-9)
    return [
        (first + number) * step for number in range(count + 1) if (first + number) * step <= scale.high * (1 + 1e-9)
    ]


def _step_ticks(first: int, last: int) -> list[int]:
    if first == last:
        return [first]
    every = max(1, math.ceil(_nice((last - first) / 5)))
    inner = range(-(-first // every) * every, last + 1, every)
    # A label too close to an end would lie over the end's own.
    return [first, *(step for step in inner if (step - first) > 0.4 * every and (last - step) > 0.4 * every), last]


def _band(marked: tuple[int, int], across: _Scale) -> tuple[float, float]:
    start, end = (across.at(min(max(step, across.low), across.high)) for step in marked)
    return (round(max(LEFT, start - 4), 1), round(min(RIGHT, end + 4) - max(LEFT, start - 4), 1))
