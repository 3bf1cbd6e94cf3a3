"""The few numbers that say how a run goes: on top of the page, in the terminal, and in a comparison of two runs."""

from __future__ import annotations

import statistics
from collections import defaultdict
from dataclasses import dataclass
from enum import StrEnum

from tir_tools.report.history import History, Point, Series, Trend, trend
from tir_tools.report.words import Unit, spell

NOTICED = 0.1
"""Change, as a share of the value, above which it is said to be for the better or the worse."""


class Good(StrEnum):
    """Which way a number should go."""

    UP = "up"
    DOWN = "down"
    NEITHER = "neither"


@dataclass(frozen=True, slots=True)
class KeyFigure:
    name: str
    unit: Unit
    good: Good
    figure: str
    """The figure that shows more of it."""
    series: Series

    @property
    def now(self) -> str:
        """The value of the last step, in words."""
        return spell(self.series[-1].value, self.unit) if self.series else "-"

    @property
    def trend(self) -> Trend | None:
        return trend(self.series)

    @property
    def span(self) -> str:
        """How it began and how it goes now, in words; empty where one point is all there is."""
        found = self.trend
        return "" if found is None else f"{spell(found.early, self.unit)} → {spell(found.late, self.unit)}"

    @property
    def direction(self) -> str:
        """`better`, `worse` or `same`: which way it went, where it went further than it jitters."""
        found = self.trend
        if found is None or self.good is Good.NEITHER:
            return "same"
        if abs(found.change) < max(NOTICED * max(abs(found.early), 0.02), 2 * found.noise):
            return "same"
        return "better" if (found.change > 0) == (self.good is Good.UP) else "worse"


_METRICS = (
    ("Reward, sampled", "tir/filter/sampled/reward_mean", Unit.NUMBER, Good.UP, "reward"),
    ("Right answers", "tir/correct_ratio", Unit.SHARE, Good.UP, "correct"),
    ("Void trajectories", "tir/void_ratio", Unit.SHARE, Good.DOWN, "void"),
    ("Turns", "tir/turns/mean", Unit.NUMBER, Good.NEITHER, "turns"),
    ("With code", "tir/code_ratio", Unit.SHARE, Good.UP, "code"),
    ("Programs passed", "tir/code_pass_ratio", Unit.SHARE, Good.UP, "code"),
    ("Gradient norm", "actor/grad_norm", Unit.NUMBER, Good.NEITHER, "grad_norm"),
    ("Log-prob, lowest 1%", "tir/log_prob/p1", Unit.NATS, Good.NEITHER, "log_probs"),
    ("Importance ratio, max", "actor/importance_ratio_max", Unit.NUMBER, Good.NEITHER, "ratio"),
    ("Sandbox calls", "tir/sandbox/calls/total", Unit.COUNT, Good.NEITHER, "calls"),
    ("Call latency, p99", "tir/sandbox/latency/p99", Unit.SECONDS, Good.DOWN, "latency"),
    ("Seconds per step", "timing_s/step", Unit.SECONDS, Good.DOWN, "phases"),
)
_FAULTED, _CALLS = "tir/sandbox/calls/faulted/total", "tir/sandbox/calls/total"
_VALIDATION = "/correct/mean@"


def key_figures(history: History) -> list[KeyFigure]:
    """Those that a run has values for."""
    found = [
        KeyFigure(name, unit, good, figure, history.series(metric)) for name, metric, unit, good, figure in _METRICS
    ]
    found.insert(2, KeyFigure("Validation", Unit.SHARE, Good.UP, "validation", validation(history)))
    faults = history.ratio(_FAULTED, _CALLS)
    found.insert(-2, KeyFigure("Sandbox faults", Unit.SHARE, Good.DOWN, "faults", faults))
    return [figure for figure in found if figure.series]


def validation(history: History) -> Series:
    """Share of right answers in each validation, the mean over its benchmarks."""
    shares: defaultdict[int, list[float]] = defaultdict(list)
    for name in history.names:
        if name.startswith("val-aux/") and _VALIDATION in name:
            for point in history.series(name):
                shares[point.step].append(point.value)
    return tuple(Point(step, statistics.fmean(values)) for step, values in sorted(shares.items()))
