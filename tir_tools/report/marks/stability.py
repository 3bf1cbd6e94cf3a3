"""Marks on gradients, tokens and what the filter leaves of a batch."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import ClassVar

from tir_tools.report.history import History, trend, where
from tir_tools.report.marks.mark import Level, RunFinding, share, sound, steps, whole
from tir_tools.report.words import Unit, spell


@dataclass(frozen=True, slots=True)
class GradientSpikes:
    name: ClassVar[str] = "gradient spikes"
    times: float = 5.0
    """Of the median of the steps so far."""

    def look(self, history: History) -> RunFinding | None:
        """Of six steps at least, for the first ones move a lot."""
        series = history.series("actor/grad_norm")
        spikes = []
        for at in range(5, len(series)):
            usual = statistics.median(point.value for point in series[max(0, at - 50) : at])
            if usual > 0 and series[at].value > self.times * usual:
                spikes.append(series[at])
        if not spikes:
            return None
        worst = max(spikes, key=lambda point: point.value)
        falling = trend(tuple(p for p in history.series("tir/log_prob/p1") if p.step <= worst.step))
        before = (
            f" The lowest 1% of log-probabilities fell from {spell(falling.early, Unit.NATS)} to "
            f"{spell(falling.late, Unit.NATS)} before it: improbable tokens are what SimpleTIR blames."
            if falling is not None and falling.change < -1
            else ""
        )
        return RunFinding(
            self.name,
            Level.WATCH,
            "The gradient norm spikes",
            f"{spell(worst.value, Unit.NUMBER)} at step {worst.step}, more than {self.times:g} times the steps before; "
            f"{len(spikes)} such {'step' if len(spikes) == 1 else 'steps'} in all.{before}",
            "Keep the void filter on; a lower learning rate, or tir.filter.max_importance_ratio, damps what is left.",
            "grad_norm",
            (spikes[0].step, spikes[-1].step),
        )


@dataclass(frozen=True, slots=True)
class LateTurnsImprobable:
    name: ClassVar[str] = "improbable late turns"
    fall: float = 2.0
    """Nats that the lowest 1% of a late turn's log-probabilities fell by."""
    reached: float = 0.05
    """Least share of trajectories that have such a turn: 1% of a handful's tokens is one token."""

    def look(self, history: History) -> RunFinding | None:
        """Of turns from the second on."""
        falls = []
        for turn in (*map(str, range(2, 9)), "9plus"):
            few = {p.step for p in history.series(f"tir/turn/{turn}/reached_ratio") if p.value < self.reached}
            found = trend(tuple(p for p in history.series(f"tir/turn/{turn}/log_prob/p1") if p.step not in few))
            if found is not None and found.change < -self.fall and len(history.training_steps) >= 6:
                falls.append((found.change, turn, found))
        if not falls:
            return None
        _, turn, found = min(falls)
        return RunFinding(
            self.name,
            Level.WATCH,
            "Tokens of late turns become improbable",
            f"In turn {turn.replace('9plus', '9 and later')} the lowest 1% of log-probabilities fell from "
            f"{spell(found.early, Unit.NATS)} to {spell(found.late, Unit.NATS)}: after tool output the model writes "
            "what it holds for unlikely, and such tokens have large gradients.",
            "Watch the gradient norm. The void filter takes the worst of them out of the loss; shorter observations "
            "(tir.observation.max_tokens) or tir.filter.min_token_probability take out more.",
            "log_probs_turn",
            whole(history),
        )


@dataclass(frozen=True, slots=True)
class ImportanceRatio:
    name: ClassVar[str] = "importance ratio"
    bound: float = 20.0

    def look(self, history: History) -> RunFinding | None:
        """Of any step."""
        series = history.series("actor/importance_ratio_max")
        span = where(series, lambda value: value > self.bound)
        if span is None:
            return None
        return RunFinding(
            self.name,
            Level.WATCH,
            "Importance ratios explode",
            f"Up to {spell(max(point.value for point in series), Unit.NUMBER)} ({steps(span)}): single tokens became "
            "many times as probable within one step.",
            "Fewer updates per batch, a lower learning rate, or tir.filter.max_importance_ratio. Where engine and "
            "trainer disagree too (training/rollout_probs_diff_max), see docs/filters.md on rollout correction.",
            "ratio",
            span,
        )


@dataclass(frozen=True, slots=True)
class Overlong:
    name: ClassVar[str] = "out of room"
    most: float = 0.15
    """Share of trajectories."""

    def look(self, history: History) -> RunFinding | None:
        """At the end of the run."""
        found = trend(history.series("tir/stop/response_budget"))
        if found is None or found.late < self.most:
            return None
        return RunFinding(
            self.name,
            Level.WATCH,
            "Trajectories run out of room",
            f"{share(found.late)} of them stop because data.max_response_length is used up.",
            "Raise data.max_response_length (SimpleTIR's second stage does), lower tir.observation.max_tokens, or set "
            "tir.filter.overlong=mask so that what was cut off is not taken for wrong.",
            "stop",
            whole(history),
        )


@dataclass(frozen=True, slots=True)
class NoSignal:
    name: ClassVar[str] = "updates without signal"

    def look(self, history: History) -> RunFinding | None:
        """Of any step."""
        series = history.series("tir/filter/updates_without_signal/total")
        span = where(series, lambda value: value > 0)
        if span is None:
            return None
        return RunFinding(
            self.name,
            Level.PROBLEM,
            "Updates in which nothing could train",
            f"In {sum(point.value > 0 for point in series)} of {len(series)} steps every trajectory was out of the "
            f"loss ({steps(span)}).",
            "See why they were masked: void throughout means that the model does not act at all. A warm start, or a "
            "prompt that shows the format, comes before RL.",
            "reasons",
            span,
        )


@dataclass(frozen=True, slots=True)
class GroupsAlike:
    name: ClassVar[str] = "groups alike"
    most: float = 0.6
    """Share of a step's groups."""

    def look(self, history: History) -> RunFinding | None:
        """At the end of the run."""
        mixed = trend(sound(history, "dump/groups/mixed"))
        if mixed is None or 1 - mixed.late < self.most:
            return None
        wrong = trend(sound(history, "dump/groups/all wrong"))
        too_hard = wrong is not None and wrong.late > 0.5 * (1 - mixed.late)
        return RunFinding(
            self.name,
            Level.NOTE,
            "Most groups teach nothing",
            f"{share(1 - mixed.late)} of the prompts are answered alike by all their samples, mostly "
            f"{'wrong' if too_hard else 'right'}.",
            f"{'Easier' if too_hard else 'Harder'} problems, or more samples per prompt. tir.filter.min_reward_std and "
            "tir.filter.accuracy_window replace such groups, at the price of more rollouts.",
            "groups",
            whole(history),
        )


@dataclass(frozen=True, slots=True)
class Undecided:
    name: ClassVar[str] = "rewards undecided"
    most: float = 0.01
    """Share of trajectories."""

    def look(self, history: History) -> RunFinding | None:
        """Of any step."""
        series = history.series("dump/undecided")
        span = where(series, lambda value: value > self.most)
        if span is None:
            return None
        worst = max(point.value for point in series)
        return RunFinding(
            self.name,
            Level.PROBLEM if worst > 0.1 else Level.WATCH,
            "Rewards could not be decided",
            f"For up to {share(worst)} of a step's trajectories comparing the answer ran out of time or memory "
            f"({steps(span)}). They leave the batch: they are neither right nor wrong.",
            "Raise reward.custom_reward_function.reward_kwargs.{timeout,memory_limit_mb} or its workers; look at the "
            "answers in the browser (outcome: undecided).",
            "reasons",
            span,
        )


@dataclass(frozen=True, slots=True)
class FilterTakesGoodWork:
    name: ClassVar[str] = "void but right"
    most: float = 0.1
    """Share of the void trajectories."""

    def look(self, history: History) -> RunFinding | None:
        """At the end of the run, where void trajectories are more than a few."""
        right, void = trend(history.series("tir/void_correct_ratio")), trend(history.series("tir/void_ratio"))
        if right is None or void is None or right.late < self.most or void.late < 0.05:
            return None
        return RunFinding(
            self.name,
            Level.NOTE,
            "The void filter takes good work",
            f"{share(right.late)} of the void trajectories nevertheless have the right answer.",
            "tir.filter.void=suffix keeps what came before the void turn; tir.rollout.on_void_turn=continue samples "
            "on.",
            "void",
            whole(history),
        )
