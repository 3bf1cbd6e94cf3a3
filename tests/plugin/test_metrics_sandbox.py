"""The sandbox's share in one step's metrics."""

from typing import Any

import pytest

from verl_tir.metrics.sandbox import SandboxMeter, nearest_ranks
from verl_tir.trajectory import Outcome, SandboxCall, Turn, TurnEnd


def turn(outcome: Outcome | None, seconds: float = 0.0, call: SandboxCall | None = None) -> Turn:
    """A turn whose program took `seconds` as the rollout saw it."""
    return Turn(TurnEnd.CODE, 1, 1, 0, outcome is not None, False, outcome, False, 1.0, seconds, call)


def snapshot(client: str, retries: int = 0, state: str = "closed", **faults: int) -> dict[str, Any]:
    """What a trajectory carries of its client."""
    return {
        "client": client,
        "retries": retries,
        "probes": 0,
        "faults": {"unreachable": 0, "overloaded": 0, **faults},
        "endpoints": {"http://a:1": "closed", "http://b:1": state},
    }


def test_times_are_measured_apart() -> None:
    """Percentiles are of calls, by nearest rank; a call that ended in a fault has a latency and no parts."""
    calls = [
        turn(Outcome.SUCCESS, 0.1 * (i + 1), SandboxCall(0.01, 0.0, 0.02, 0.03 * (i + 1), 1 + (i == 3)))
        for i in range(4)
    ]
    metrics = SandboxMeter().measure([*calls, turn(Outcome.FAULT, 9.0), turn(None)], [])
    assert metrics == pytest.approx(
        {
            "tir/sandbox/latency/mean": 2.0,
            "tir/sandbox/run/mean": 0.075,
            **{f"tir/sandbox/latency/{rank}": value for rank, value in zip(RANKS, (0.3, 9.0, 9.0, 9.0), strict=True)},
            **{f"tir/sandbox/wait/{rank}": 0.01 for rank in ("mean", *RANKS)},
            **{f"tir/sandbox/connect/{rank}": 0.0 for rank in ("mean", *RANKS)},
            **{f"tir/sandbox/queue/{rank}": 0.02 for rank in ("mean", *RANKS)},
            **{f"tir/sandbox/run/{rank}": value for rank, value in zip(RANKS, (0.06, 0.12, 0.12, 0.12), strict=True)},
            "tir/sandbox/calls/total": 5,
            "tir/sandbox/calls/faulted/total": 1,
            "tir/sandbox/calls/retried/total": 1,
        }
    )


RANKS = ("p50", "p90", "p99", "max")


def test_counters_are_the_steps_own() -> None:
    """Clients count from their start; a step gets what was added, over all clients, whatever order rows come in."""
    meter = SandboxMeter()
    first = meter.measure([], [snapshot("a", 3, unreachable=3), snapshot("a", 1, unreachable=1), snapshot("b", 2)])
    assert (first["tir/sandbox/retries/total"], first["tir/sandbox/attempts/unreachable/total"]) == (5, 3)
    second = meter.measure([], [snapshot("a", 4, unreachable=3), snapshot("b", 2)])
    assert (second["tir/sandbox/retries/total"], second["tir/sandbox/attempts/unreachable/total"]) == (1, 0)


def test_a_client_that_starts_anew_counts_from_zero() -> None:
    """A worker that Ray restarted does not make a step's count negative."""
    meter = SandboxMeter()
    meter.measure([], [snapshot("a", 10)])
    assert meter.measure([], [snapshot("a", 2)])["tir/sandbox/retries/total"] == 2


def test_endpoints_that_some_client_holds_for_broken_are_counted() -> None:
    """One client is enough, and each endpoint counts once."""
    metrics = SandboxMeter().measure([], [snapshot("a"), snapshot("b", state="open"), snapshot("c", state="half_open")])
    assert (metrics["tir/sandbox/endpoints/max"], metrics["tir/sandbox/endpoints/broken/max"]) == (2, 1)


def test_a_step_without_programs_has_no_times() -> None:
    """What has no value is left out and not zero."""
    metrics = SandboxMeter().measure([turn(None)], [])
    assert metrics == {
        "tir/sandbox/calls/total": 0,
        "tir/sandbox/calls/faulted/total": 0,
        "tir/sandbox/calls/retried/total": 0,
    }


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ([], (0, 0, 0, 0)),
        ([3.0], (3, 3, 3, 3)),
        (list(range(100, 0, -1)), (50, 90, 99, 100)),
        ([1, 2, 3, 4], (2, 4, 4, 4)),
    ],
)
def test_percentiles_are_members_of_the_sample(seconds: list[float], expected: tuple[float, ...]) -> None:
    """The nearest rank, in any order of the sample."""
    assert nearest_ranks(seconds) == dict(zip(RANKS, expected, strict=True))
