"""What the sandbox did during one step, as `tir/sandbox/...` metrics.

Times come from the calls that the trajectories record. Retries, faults and breakers come from the clients themselves,
one in each agent-loop worker: a trajectory carries its client's counters, and the step's share is what they grew by.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sandbox_client import FAULT_KINDS, BreakerState
from verl_tir.trajectory import Outcome, Turn

_PREFIX = "tir/sandbox/"


class SandboxMeter:
    """Remembers the clients' counters between steps."""

    def __init__(self) -> None:
        self._seen: dict[str, Counter[str]] = {}

    def measure(self, turns: Sequence[Turn], snapshots: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """The metrics of one step.

        Args:
            turns: those of all its trajectories.
            snapshots: what the trajectories carry of their clients, in any order.

        Returns:
            Seconds of the calls (`latency` as the rollout saw them, and their parts): mean, three percentiles and the
            largest; and counts. What has no value is left out.
        """
        ran = [turn for turn in turns if turn.outcome is not None]
        calls = [turn.call for turn in ran if turn.call is not None]
        metrics = _times("latency", [turn.tool_seconds for turn in ran])
        for part in ("wait", "connect", "queue", "run"):
            metrics |= _times(part, [getattr(call, part) for call in calls])
        metrics["calls/total"] = float(len(ran))
        metrics["calls/faulted/total"] = float(sum(turn.outcome is Outcome.FAULT for turn in ran))
        metrics["calls/retried/total"] = float(sum(call.attempts > 1 for call in calls))
        latest = _latest(snapshots)
        if latest:
            metrics |= {f"{name}/total": float(count) for name, count in self._growth(latest).items()}
            metrics |= _endpoints(latest)
        return {_PREFIX + name: value for name, value in metrics.items()}

    def _growth(self, latest: Mapping[str, Mapping[str, Any]]) -> Counter[str]:
        grown: Counter[str] = Counter()
        for client, snapshot in latest.items():
            now = _counters(snapshot)
            before = self._seen.get(client, Counter())
            for name, count in now.items():
                # A counter that fell belongs to another client under the same name: a worker that was started again.
                grown[name] += count - before[name] if count >= before[name] else count
            self._seen[client] = now
        return grown


def _counters(snapshot: Mapping[str, Any]) -> Counter[str]:
    faults = {f"attempts/{kind}": snapshot["faults"].get(kind, 0) for kind in FAULT_KINDS}
    return Counter({"retries": snapshot["retries"], "probes": snapshot["probes"], **faults})


def _latest(snapshots: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The newest snapshot of each client: its counters only grow."""
    latest: dict[str, Mapping[str, Any]] = {}
    for snapshot in snapshots:
        known = latest.get(snapshot["client"])
        if known is None or _counters(snapshot).total() >= _counters(known).total():
            latest[snapshot["client"]] = snapshot
    return latest


def _endpoints(latest: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """How many endpoints there are, and how many that some client holds for broken."""
    states = [item for snapshot in latest.values() for item in snapshot["endpoints"].items()]
    known = {endpoint for endpoint, _ in states}
    broken = {endpoint for endpoint, state in states if state != BreakerState.CLOSED}
    return {"endpoints/max": float(len(known)), "endpoints/broken/max": float(len(broken))}


def _times(name: str, seconds: Sequence[float]) -> dict[str, float]:
    if not seconds:
        return {}
    ranks = nearest_ranks(seconds)
    return {f"{name}/mean": sum(seconds) / len(seconds)} | {f"{name}/{rank}": value for rank, value in ranks.items()}


def nearest_ranks(values: Sequence[float]) -> dict[str, float]:
    """The median, two high percentiles and the maximum of a sample, each one of its members; all 0 for none."""
    ordered, count = sorted(values), len(values)
    # -(-a // b) rounds up, in integers, so that no rank is off for want of a bit.
    return {
        rank: ordered[-(-count * percent // 100) - 1] if ordered else 0.0
        for rank, percent in (("p50", 50), ("p90", 90), ("p99", 99), ("max", 100))
    }
