"""Marks on void trajectories, tool use and reward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tir_tools.report.history import History, Series, trend, where
from tir_tools.report.marks.mark import Level, RunFinding, share, sound, steps, whole
from tir_tools.report.words import Unit, spell


@dataclass(frozen=True, slots=True)
class VoidRising:
    """Void trajectories become more."""

    name: ClassVar[str] = "void rising"
    rise: float = 0.1
    """Between the ends of the run."""

    def look(self, history: History) -> RunFinding | None:
        found = trend(sound(history, "tir/void_ratio"))
        if found is None or found.change < self.rise:
            return None
        return RunFinding(
            self.name,
            Level.WATCH if found.late < 0.5 else Level.PROBLEM,
            "Void trajectories are rising",
            f"Their share went from {share(found.early)} to {share(found.late)}: more and more turns end with neither "
            "code nor an answer. SimpleTIR sees this before training collapses.",
            "See in the browser below in which turn they go void. In the first: the prompt or the model. In later "
            "ones: the context after tool output. Keep tir.filter.void=mask, and try a lower learning rate or "
            "temperature.",
            "void",
            whole(history),
        )


@dataclass(frozen=True, slots=True)
class VoidTrained:
    """Void trajectories are in the loss."""

    name: ClassVar[str] = "void trained on"
    least: float = 0.02
    """Share of a step's trajectories."""

    def look(self, history: History) -> RunFinding | None:
        series = history.series("dump/void_trained") or _void_and_unmasked(history)
        span = where(series, lambda value: value > self.least)
        if span is None or _suffixes_are_cut(history):
            return None
        worst = max(point.value for point in series)
        return RunFinding(
            self.name,
            Level.PROBLEM if worst > 0.1 else Level.WATCH,
            "Void trajectories are trained on",
            f"Up to {share(worst)} of a step's trajectories had a turn with neither code nor an answer and were in the "
            f"loss nevertheless ({steps(span)}): the void filter was off.",
            "ToRL does so by its own rule. If that is not the experiment, leave out tir.filter.void=off (or the "
            "ablation): the default, mask, keeps their reward in the baseline and their tokens out of the loss.",
            "fate",
            span,
        )


def _suffixes_are_cut(history: History) -> bool:
    """Whether the void turn and what follows was taken out of such trajectories (`tir.filter.void=suffix`)."""
    trimmed = where(history.series("tir/filter/trimmed_rows/total"), lambda rows: rows > 0)
    return (
        trimmed is not None
        and where(history.series("tir/filter/low_probability_ratio"), lambda ratio: ratio > 0) is None
    )


def _void_and_unmasked(history: History) -> Series:
    """From metrics alone: void, and neither masked nor left out."""
    found = []
    for point in history.series("tir/void_ratio"):
        values = history.values(point.step)
        total = values.get("tir/trajectories/total")
        masked, dropped = values.get("tir/filter/masked_rows/void/total"), values.get("tir/filter/dropped_rows/total")
        if total and masked is not None and dropped is not None:
            found.append(point._replace(value=max(0.0, point.value - (masked + dropped) / total)))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class ToolDecay:
    """The model stops writing code."""

    name: ClassVar[str] = "tool use decaying"
    kept: float = 0.75
    """Of the share of trajectories with code that the run began with."""

    def look(self, history: History) -> RunFinding | None:
        found = trend(sound(history, "tir/code_ratio"))
        if found is None or found.early < 0.1 or found.late > self.kept * found.early:
            return None
        return RunFinding(
            self.name,
            Level.PROBLEM if found.late < 0.5 * found.early else Level.WATCH,
            "The model unlearns the tool",
            f"Trajectories with code went from {share(found.early)} to {share(found.late)}.",
            "Look whether programs fail, are cut off or time out (a tool that does not pay is not used), whether the "
            "sandbox had faults at the time, and whether the problems need the tool at all.",
            "code",
            whole(history),
        )


@dataclass(frozen=True, slots=True)
class OneTurn:
    """Trajectories shrink to one turn."""

    name: ClassVar[str] = "one-turn collapse"
    above_one: float = 0.3
    """Turns beyond the first that it must have had, on average."""

    def look(self, history: History) -> RunFinding | None:
        found = trend(sound(history, "tir/turns/mean"))
        if found is None or found.early - 1 < self.above_one or found.late - 1 > 0.35 * (found.early - 1):
            return None
        return RunFinding(
            self.name,
            Level.PROBLEM,
            "Trajectories collapse to one turn",
            f"They had {spell(found.early, Unit.NUMBER)} turns on average and have {spell(found.late, Unit.NUMBER)} "
            "now: the model no longer builds on what its programs print.",
            "Look at why they stop (void: it gives up; answer: it guesses, or lets the first program answer), and at "
            "the lowest log-probabilities of turn 2. A smaller learning rate, or rewarding right answers alone, helps.",
            "turns",
            whole(history),
        )


@dataclass(frozen=True, slots=True)
class RewardFalls:
    """The reward collapses."""

    name: ClassVar[str] = "reward falling"
    kept: float = 0.7
    """Of the share of right answers that the run had at its best."""

    def look(self, history: History) -> RunFinding | None:
        series = sound(history, "tir/correct_ratio")
        if len(series) < 6:
            return None
        window = max(2, min(len(series) // 5, 10))
        means = [
            sum(point.value for point in series[at : at + window]) / window for at in range(len(series) - window + 1)
        ]
        best = max(range(len(means)), key=means.__getitem__)
        if means[best] < 0.05 or means[-1] > self.kept * means[best]:
            return None
        return RunFinding(
            self.name,
            Level.PROBLEM,
            "Right answers are falling",
            f"They were at {share(means[best])} around step {series[best].step} and are at {share(means[-1])} now.",
            "Resume from a checkpoint before that with a lower learning rate. Gradient norm, lowest log-probabilities "
            "and void ratio of the steps between say what came first; a sandbox with faults would show in its figures.",
            "correct",
            (series[best].step, series[-1].step),
        )
