"""The circuit breaker of the sandbox client, and what else decides by numbers alone: balance, rate."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox_client import BreakerPolicy, BreakerState, SandboxOverloaded, SandboxUnreachable
from sandbox_client._balancer import Balancer
from sandbox_client._breaker import Breaker
from sandbox_client._caller import TokenBucket
from sandbox_client._transport import Exchange

CLOSED, OPEN, HALF_OPEN = BreakerState
POLICY = BreakerPolicy(
    consecutive_faults=3,
    error_rate=0.5,
    window=10.0,
    minimum_attempts=8,
    cool_down=1.0,
    cool_down_max=4.0,
    cool_down_jitter=0.5,
)


def play(script, policy=POLICY):
    """A breaker after a script of (time, event), and the state after each event."""
    breaker, states = Breaker(policy), []
    for now, event in script:
        match event:
            case "ok":
                breaker.succeeded(now)
            case "fault":
                breaker.faulted(now, 0.0)
            case "trip":
                breaker.trip(now, 0.0)
            case "begin":
                breaker.begin_probe(now)
            case "probe ok":
                breaker.probe_succeeded()
            case "probe fault":
                breaker.probe_failed(now, 0.0)
            case "probe busy":
                breaker.probe_failed(now, 0.0, lengthen=False)
        states.append(breaker.state)
    return breaker, states


OPENED = [(0, "trip")]

SCRIPTS = {
    "faults in a row open it": ([(0, "fault"), (1, "fault"), (2, "fault")], [CLOSED, CLOSED, OPEN]),
    "a success between starts the row anew": (
        [(0, "fault"), (0, "fault"), (0, "ok"), (0, "fault"), (0, "fault")],
        [CLOSED] * 5,
    ),
    "half of enough attempts opens it": ([(0, "ok"), (0, "fault")] * 4, [CLOSED] * 7 + [OPEN]),
    "half of too few does not": ([(0, "ok"), (0, "fault")] * 3, [CLOSED] * 6),
    "less than half does not": ([(0, "ok"), (0, "ok"), (0, "fault")] * 10, [CLOSED] * 30),
    "what left the window does not count": ([(0, "ok"), (0, "fault")] * 3 + [(11, "ok"), (11, "fault")], [CLOSED] * 8),
    "no probe before the cool-down is over": ([*OPENED, (0.9, "begin"), (1.0, "begin")], [OPEN, OPEN, HALF_OPEN]),
    "a probe's success closes it": ([*OPENED, (1, "begin"), (1, "probe ok")], [OPEN, HALF_OPEN, CLOSED]),
    "a probe's fault opens it for twice as long": (
        [*OPENED, (1, "begin"), (1, "probe fault"), (2.9, "begin"), (3, "begin")],
        [OPEN, HALF_OPEN, OPEN, OPEN, HALF_OPEN],
    ),
    "a full queue opens it for as long as before": (
        [*OPENED, (1, "begin"), (1, "probe busy"), (1.9, "begin"), (2, "begin")],
        [OPEN, HALF_OPEN, OPEN, OPEN, HALF_OPEN],
    ),
    "the row starts anew after a probe": (
        [*OPENED, (1, "begin"), (1, "probe ok"), (1, "fault"), (1, "fault"), (1, "fault")],
        [OPEN, HALF_OPEN, CLOSED, CLOSED, CLOSED, OPEN],
    ),
    "the cool-down stays long without a call's success": (
        [*OPENED, (1, "begin"), (1, "probe ok"), (1, "trip"), (2.9, "begin"), (3, "begin")],
        [OPEN, HALF_OPEN, CLOSED, OPEN, OPEN, HALF_OPEN],
    ),
    "a call's success makes it short again": (
        [*OPENED, (1, "begin"), (1, "probe ok"), (1, "ok"), (1, "trip"), (2, "begin")],
        [OPEN, HALF_OPEN, CLOSED, CLOSED, OPEN, HALF_OPEN],
    ),
    "what ends late changes nothing": (
        [*OPENED, (0, "ok"), (0, "fault"), (1, "begin"), (1, "ok"), (1, "fault"), (1, "begin")],
        [OPEN, OPEN, OPEN, HALF_OPEN, HALF_OPEN, HALF_OPEN, HALF_OPEN],
    ),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_breaker_follows_its_rules(name):
    """Each rule of the breaker, as events in time and the state after each."""
    script, states = SCRIPTS[name]
    assert play(script)[1] == states


def test_cool_down_has_a_bound_and_jitter():
    """However long an outage lasts, the cool-down grows to its maximum and no further, jitter added."""
    breaker, now, waits = Breaker(POLICY), 0.0, []
    breaker.trip(now, 1.0)
    for _ in range(100):
        waits.append(breaker.probe_at - now)
        now = breaker.probe_at
        assert breaker.begin_probe(now)
        breaker.probe_failed(now, 1.0)
    assert waits[:3] == [1.5, 3.0, 6.0]
    assert set(waits[3:]) == {6.0}


def test_opening_says_why():
    """The fault that opens the breaker returns the reason, the others nothing."""
    breaker = Breaker(POLICY)
    assert [breaker.faulted(0.0, 0.0) for _ in range(4)] == [None, None, "3 faults in a row", None]


EVENTS = ["ok", "fault", "trip", "begin", "probe ok", "probe fault", "probe busy"]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.floats(0.0, 3.0), st.sampled_from(EVENTS)), max_size=60))
def test_breaker_never_admits_calls_without_a_probe(steps):
    """Whatever happens in whatever order, an open breaker closes only by a probe that began after its cool-down."""
    breaker, now, script = Breaker(POLICY), 0.0, []
    for pause, event in steps:
        now += pause
        script.append((now, event))
        before, due = breaker.state, breaker.probe_at
        breaker, states = play(script)
        allowed = {
            CLOSED: {CLOSED, OPEN},
            OPEN: {OPEN, HALF_OPEN} if now >= due and event == "begin" else {OPEN},
            HALF_OPEN: {
                "probe ok": {CLOSED},
                "probe fault": {OPEN},
                "probe busy": {OPEN},
            }.get(event, {HALF_OPEN}),
        }
        assert states[-1] in allowed[before]
        if breaker.state is OPEN and before is not OPEN:
            assert now + 1.0 <= breaker.probe_at <= now + 4.0


async def test_balancer_keeps_endpoints_level():
    """The endpoint with the fewest attempts outstanding comes first; among equals, they take turns."""
    balancer = Balancer(("a", "b", "c"), POLICY)
    chosen = []
    for _ in range(7):
        endpoint = balancer.choose()
        endpoint.begin(Exchange(1.0), 1.0)
        chosen.append(endpoint.base)
    assert chosen == ["a", "b", "c", "a", "b", "c", "a"]


def test_balancer_takes_turns_when_idle():
    """Idle endpoints share one-at-a-time calls."""
    balancer = Balancer(("a", "b", "c"), POLICY)
    assert [balancer.choose().base for _ in range(6)] == ["a", "b", "c", "a", "b", "c"]


def test_balancer_avoids_the_unwanted_unless_there_is_no_other():
    """What just failed, or asked to be left alone, comes last; what is out does not come at all."""
    balancer = Balancer(("a", "b"), POLICY)
    a, b = balancer.endpoints
    assert [balancer.choose(avoid=a).base for _ in range(2)] == ["b", "b"]
    b.faulted(SandboxOverloaded("later", endpoint="b", retry_after=60.0), 10.0)
    assert [balancer.choose().base for _ in range(2)] == ["a", "a"]
    assert (balancer.has_another(a), balancer.has_another(b)) == (False, True)
    a.give_up("wedged")
    assert balancer.choose(avoid=b) is b
    b.give_up("wedged")
    assert balancer.choose() is None


def test_overload_is_neutral_to_the_breaker():
    """However often an endpoint is full, its breaker stays closed."""
    (endpoint,) = Balancer(("a",), POLICY).endpoints
    for _ in range(100):
        endpoint.faulted(SandboxOverloaded("full", endpoint="a"), 10.0)
    assert endpoint.breaker.state is CLOSED
    for _ in range(3):
        endpoint.faulted(SandboxUnreachable("refused", endpoint="a"), 10.0)
    assert endpoint.breaker.state is OPEN


def test_a_new_list_keeps_what_stays():
    """An endpoint that stays in the list keeps its state; one that comes back after it left begins anew."""
    balancer = Balancer(("a", "b"), POLICY)
    a, b = balancer.endpoints
    balancer.set_endpoints(("b", "c"))
    assert balancer.endpoints[0] is b
    assert (a.removed, b.removed) == (True, False)
    balancer.set_endpoints(("a",))
    assert balancer.endpoints[0] is not a


@pytest.mark.parametrize(
    ("rate", "calls", "waits"),
    [
        (10.0, [0.0, 0.0, 0.0], [0.0, 0.1, 0.2]),
        (10.0, [0.0, 5.0, 5.0], [0.0, 0.0, 0.1]),
        (100.0, [0.0] * 12, [0.0] * 10 + [0.01, 0.02]),
        (0.5, [0.0, 1.0, 1.0], [0.0, 1.0, 3.0]),
    ],
)
def test_rate_is_bounded(rate, calls, waits):
    """A tenth of a second's calls begin together, further ones at the rate and in their order."""
    bucket = TokenBucket(rate)
    assert [bucket.take(now) for now in calls] == pytest.approx(waits)
