"""Marks on the sandbox, and on programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sandbox_client import FAULT_KINDS
from tir_tools.report.history import History, Series, trend, where
from tir_tools.report.marks.mark import Level, RunFinding, share, steps, whole
from tir_tools.report.words import Unit, spell

_CALLS, _FAULTED = "tir/sandbox/calls/total", "tir/sandbox/calls/faulted/total"


@dataclass(frozen=True, slots=True)
class SandboxFaults:
    name: ClassVar[str] = "sandbox faults"
    most: float = 0.01
    """Share of a step's calls."""

    def look(self, history: History) -> RunFinding | None:
        """Of any step."""
        series = history.ratio(_FAULTED, _CALLS)
        span = where(series, lambda value: value > self.most)
        if span is None:
            return None
        worst = max(series, key=lambda point: point.value)
        kinds = _kinds(history, span)
        return RunFinding(
            self.name,
            Level.PROBLEM if worst.value > 0.05 else Level.WATCH,
            "The sandbox failed",
            f"In {steps(span)} up to {share(worst.value)} of the calls failed after all retries (worst at step "
            f"{worst.step}{kinds}). Their trajectories are left out, never scored as wrong; but what is left of the "
            "batch leans towards those that used no code.",
            "Run verl-tir doctor with the launch's overrides; look at the service's own log and at its load. "
            "tir.sandbox.retry_total_seconds and patience_seconds let calls wait longer for it.",
            "faults",
            span,
        )


@dataclass(frozen=True, slots=True)
class Aborted:
    name: ClassVar[str] = "aborted trajectories"
    most: float = 0.01
    """Share of a step's trajectories."""

    def look(self, history: History) -> RunFinding | None:
        """Of any step; the reasons are named."""
        series = history.series("tir/aborted_ratio")
        span = where(series, lambda value: value > self.most)
        if span is None:
            return None
        worst = max(series, key=lambda point: point.value)
        values = history.values(worst.step)
        why = {
            "the sandbox failed": values.get("tir/stop/sandbox_fault", 0.0),
            "the engine gave up": values.get("tir/stop/engine_abort", 0.0),
            "the prompt was too long": values.get("tir/stop/prompt_too_long", 0.0),
        }
        reasons = ", ".join(f"{name}: {share(value)}" for name, value in why.items() if value)
        return RunFinding(
            self.name,
            Level.PROBLEM if worst.value > 0.05 else Level.WATCH,
            "Trajectories were given up",
            f"Up to {share(worst.value)} of a step's trajectories, in {steps(span)}; at step {worst.step} {reasons}. "
            "They count neither in the loss nor in their group's baseline.",
            "Above tir.filter.max_aborted_ratio (0.2) a run stops by itself. For prompts, raise "
            "data.max_prompt_length; for the rest, repair the service and resume from the last checkpoint.",
            "stop",
            span,
        )


@dataclass(frozen=True, slots=True)
class SandboxSlow:
    name: ClassVar[str] = "sandbox slow"
    share_of_time: float = 0.5
    """Of the time of the slowest trajectory."""
    least_seconds: float = 10.0
    """Of its tool calls: what is short does not matter."""

    def look(self, history: History) -> RunFinding | None:
        """At the end of the run."""
        tool = trend(history.series("tir/agent_loop/slowest/tool_calls"))
        engine = trend(history.series("tir/agent_loop/slowest/generate_sequences"))
        if tool is None or engine is None or tool.late < self.least_seconds:
            return None
        part = tool.late / (tool.late + engine.late)
        if part < self.share_of_time:
            return None
        parts: list[tuple[float, str]] = []
        for name in ("wait", "queue", "run"):
            mean = trend(history.series(f"tir/sandbox/{name}/mean"))
            parts.append((0.0 if mean is None else mean.late, name))
        _, longest = max(parts)
        advice = {
            "wait": "Calls wait in the client: raise tir.sandbox.max_concurrency, or add endpoints.",
            "queue": "Calls wait in the service: give it more workers or machines.",
            "run": "The programs themselves are slow: lower tir.sandbox.run_timeout.",
        }[longest]
        return RunFinding(
            self.name,
            Level.WATCH,
            "Steps wait for the sandbox",
            "The slowest trajectory spends "
            f"{share(part)} of its time in tool calls ({spell(tool.late, Unit.SECONDS)}).",
            advice,
            "latency_parts",
            whole(history),
        )


@dataclass(frozen=True, slots=True)
class EndpointsOut:
    name: ClassVar[str] = "endpoints out"
    most_steps: int = 2

    def look(self, history: History) -> RunFinding | None:
        """For more than a step or two: a restart is not an event."""
        series = history.series("tir/sandbox/endpoints/broken/max")
        out = [point for point in series if point.value > 0]
        if len(out) < self.most_steps:
            return None
        known = max((point.value for point in history.series("tir/sandbox/endpoints/max")), default=0)
        return RunFinding(
            self.name,
            Level.WATCH,
            "Endpoints got no calls",
            f"In {len(out)} steps some workers gave no calls to {max(p.value for p in out):g} of {known:g} endpoints.",
            "Look at that service; verl-tir doctor names it. It is taken back by itself once a probe program runs "
            "there.",
            "faults",
            (out[0].step, out[-1].step),
        )


@dataclass(frozen=True, slots=True)
class CodeFails:
    name: ClassVar[str] = "programs fail"
    least: float = 0.5
    """Share of programs that should pass."""

    def look(self, history: History) -> RunFinding | None:
        """At the end of the run, where programs are more than a handful."""
        passed, calls = trend(history.series("tir/code_pass_ratio")), trend(history.series("tir/tool/calls/total"))
        if passed is None or calls is None or passed.late >= self.least or calls.late < 10:
            return None
        slow = trend(_ratio(history, "tir/tool/time_limit/total"))
        too_slow = slow is not None and slow.late > 0.5 * (1 - passed.late)
        return RunFinding(
            self.name,
            Level.WATCH,
            "Most programs fail",
            f"Only {share(passed.late)} pass"
            + (f"; {share(slow.late)} run out of time." if too_slow and slow is not None else "."),
            "Raise tir.sandbox.run_timeout, and see whether imports alone take it."
            if too_slow
            else "Read some in the browser below: a missing package, a prompt that shows another format, or a model "
            "that cannot code yet look alike in the numbers.",
            "code",
            whole(history),
        )


@dataclass(frozen=True, slots=True)
class OutputCut:
    name: ClassVar[str] = "output cut"
    most: float = 0.2
    """Share of programs."""

    def look(self, history: History) -> RunFinding | None:
        """At the end of the run."""
        found = trend(history.series("tir/observation/truncated_ratio"))
        if found is None or found.late < self.most:
            return None
        return RunFinding(
            self.name,
            Level.NOTE,
            "Outputs are cut",
            f"{share(found.late)} of the outputs are longer than the model is shown.",
            "Raise tir.observation.max_chars and max_tokens, or ask in the prompt for less output.",
            "code",
            whole(history),
        )


def _ratio(history: History, metric: str) -> Series:
    return history.ratio(metric, "tir/tool/calls/total")


def _kinds(history: History, span: tuple[int, int]) -> str:
    """The most frequent kind of failed attempt in these steps."""
    counts = {
        kind: sum(
            point.value
            for point in history.series(f"tir/sandbox/attempts/{kind}/total")
            if span[0] <= point.step <= span[1]
        )
        for kind in FAULT_KINDS
    }
    most = max(FAULT_KINDS, key=lambda kind: (counts[kind], kind))
    return f"; mostly {most.replace('_', ' ')}" if counts[most] else ""
