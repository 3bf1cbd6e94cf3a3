"""Two runs side by side, as one HTML file: key figures with their difference, curves over each other, settings "
"apart."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tir_tools.report.catalogue import SECTIONS
from tir_tools.report.drawing import draw
from tir_tools.report.figure import DataLine, Figure, Kind
from tir_tools.report.history import Series, trend
from tir_tools.report.key_figures import NOTICED, Good, KeyFigure, key_figures
from tir_tools.report.page import Chart, by_section, chart_data, render
from tir_tools.report.run_data import Run
from tir_tools.report.words import Unit, spell

_MORE = (
    ("tir/turn/2/log_prob/p1", "Lowest 1% of log-probability, turn 2", Unit.NATS, SECTIONS[2]),
    ("actor/entropy", "Entropy", Unit.NATS, SECTIONS[2]),
    ("tir/tokens/response/mean", "Response length", Unit.COUNT, SECTIONS[2]),
    ("tir/aborted_ratio", "Aborted trajectories", Unit.SHARE, SECTIONS[3]),
    ("dump/void_trained", "Void and trained on", Unit.SHARE, SECTIONS[4]),
    ("dump/behaviour/self-correction", "Self-correction", Unit.SHARE, SECTIONS[1]),
    ("dump/behaviour/cross-check", "Cross-check", Unit.SHARE, SECTIONS[1]),
    ("dump/behaviour/progressive", "Progressive", Unit.SHARE, SECTIONS[1]),
    ("dump/groups/mixed", "Mixed groups", Unit.SHARE, SECTIONS[0]),
)
"""Beside the key figures."""
_SECTION_OF = {"reward": 0, "correct": 0, "validation": 0, "void": 1, "turns": 1, "code": 1, "calls": 3, "latency": 3}
_SECTION_OF |= {"grad_norm": 2, "log_probs": 2, "ratio": 2, "faults": 3, "phases": 5}


@dataclass(frozen=True, slots=True)
class ComparedRow:
    """A key figure of both runs, each the mean of its last steps."""

    name: str
    first: str
    second: str
    difference: str
    direction: str
    """`better`, `worse` or `same`: the second run beside the first."""


def comparison_page(first: Run, second: Run) -> str:
    """The comparison of two runs."""
    labels = _labels(first, second)
    charts = _charts(first, second, labels)
    return render(
        "compare.html",
        title=f"{labels[0]} and {labels[1]} - verl-tir report",
        charts_data=chart_data(charts),
        refresh=None,
        runs=tuple(zip(labels, (first, second), strict=True)),
        rows=_rows(first, second),
        sections=by_section(charts),
        differences=first.settings.differences(second.settings),
        trajectories=None,
        scripts=("charts.js",),
    )


def _labels(first: Run, second: Run) -> tuple[str, str]:
    """Their names, told apart where they are the same."""
    return (first.name, second.name) if first.name != second.name else (f"{first.name} (A)", f"{second.name} (B)")


def _rows(first: Run, second: Run) -> list[ComparedRow]:
    others = {figure.name: figure for figure in key_figures(second.history)}
    rows = []
    for mine in key_figures(first.history):
        theirs = others.pop(mine.name, None)
        rows.append(_row(mine, theirs))
    return rows + [
        ComparedRow(figure.name, "-", spell(_late(figure.series), figure.unit), "", "same")
        for figure in others.values()
    ]


def _row(mine: KeyFigure, theirs: KeyFigure | None) -> ComparedRow:
    value = _late(mine.series)
    if theirs is None:
        return ComparedRow(mine.name, spell(value, mine.unit), "-", "", "same")
    other = _late(theirs.series)
    change = other - value
    direction = "same"
    if mine.good is not Good.NEITHER and abs(change) > max(NOTICED * max(abs(value), 0.02), 2 * _noise(mine, theirs)):
        direction = "better" if (change > 0) == (mine.good is Good.UP) else "worse"
    sign = "+" if change > 0 else ""
    # A share that grew from 30% to 32% grew by two points, and by seven percent.
    words = spell(change, mine.unit).replace("%", " points")
    return ComparedRow(mine.name, spell(value, mine.unit), spell(other, mine.unit), sign + words, direction)


def _noise(mine: KeyFigure, theirs: KeyFigure) -> float:
    """The standard deviation of their difference, if what jitters from step to step is all there is."""
    return math.hypot(*(math.inf if found.trend is None else found.trend.noise for found in (mine, theirs)))


def _late(series: Series) -> float:
    found = trend(series)
    return series[-1].value if found is None else found.late


def _charts(first: Run, second: Run, labels: tuple[str, str]) -> list[Chart]:
    pairs = [
        (
            mine.figure + "-" + mine.name.lower().replace(" ", "-").replace(",", ""),
            mine.name,
            mine.unit,
            mine.figure,
            mine.series,
        )
        for mine in key_figures(first.history)
    ]
    others = {figure.name: figure.series for figure in key_figures(second.history)}
    charts = [
        _chart(name, title, unit, SECTIONS[_SECTION_OF[figure]], labels, series, others.get(title, ()))
        for name, title, unit, figure, series in pairs
    ]
    charts += [
        _chart(metric, title, unit, section, labels, first.history.series(metric), second.history.series(metric))
        for metric, title, unit, section in _MORE
    ]
    order = {section: place for place, section in enumerate(SECTIONS)}
    return sorted((chart for chart in charts if chart is not None), key=lambda chart: order[chart.figure.section])


def _chart(
    name: str, title: str, unit: Unit, section: str, labels: tuple[str, str], mine: Series, theirs: Series
) -> Chart | None:
    lines = [DataLine(label, series, at) for at, (label, series) in enumerate(zip(labels, (mine, theirs), strict=True))]
    figure = Figure(name, section, title, unit, (), "", Kind.LINES, may_be_log=unit in (Unit.NUMBER, Unit.SECONDS))
    drawing = draw(lines, figure.kind, unit, may_be_log=figure.may_be_log)
    return None if drawing is None else Chart(figure, drawing, None)
