"""How a client behaves, as values."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Timeouts:
    """Seconds that one attempt may take."""

    connect: float = 5.0
    """To resolve the name, open a connection and, with https, agree on keys."""

    total: float = 120.0
    """For the whole attempt: the server's queue, the program, the answer."""

    margin: float = 5.0
    """By how much `total` must at least exceed a program's run_timeout. With less, the client would give up on programs
    that the server is about to report as out of time, and an observation would turn into an outage."""

    def __post_init__(self) -> None:
        _require_positive(self, "connect", "total", "margin")


@dataclass(frozen=True)
class CallLimits:
    """How much a client asks of its endpoints. Both bounds are per client: with one client in each of 8 processes, the
    endpoints together see up to 8 times as much."""

    max_concurrency: int = 256
    """Calls in flight, and connections open for them; further calls wait in the client for their turn, and that wait
    counts against no timeout."""

    max_rate: float | None = None
    """Calls that may begin per second; None for no bound. Retries come on top. A tenth of a second's calls may begin
    together."""

    def __post_init__(self) -> None:
        _require_positive(self, "max_concurrency")
        if self.max_rate is not None:
            _require_positive(self, "max_rate")


@dataclass(frozen=True)
class RetryPolicy:
    """When to try again after a fault, and when to give up."""

    attempts: int = 10
    """Attempts of a call, the first included. The pauses between ten last at least 42 s: a proxy that answers 503 for a
    service that restarts is outlasted without any breaker."""

    total_timeout: float = 240.0
    """Seconds for all attempts, pauses and waits for an endpoint of a call, from its turn on."""

    wait_initial: float = 0.2
    """Seconds before the second attempt; doubled before each further one."""

    wait_max: float = 10.0
    """Seconds that a pause may take, also when the server asks for more with Retry-After."""

    wait_jitter: float = 0.5
    """Up to this many seconds are added at random, so that callers do not come back together."""

    patience: float = 120.0
    """Seconds that a call waits, between two attempts or before its first, while no endpoint takes calls; it resumes as
    soon as one does. Part of `total_timeout`."""

    def __post_init__(self) -> None:
        _require_positive(self, "attempts", "total_timeout", "wait_max")
        _require_not_negative(self, "wait_initial", "wait_jitter", "patience")


@dataclass(frozen=True)
class BreakerPolicy:
    """When an endpoint gets no more calls, and for how long. See `_breaker.py`."""

    consecutive_faults: int = 3
    """Faults in a row that open the breaker. Fewer than RetryPolicy.attempts: in an outage, even a call that is alone
    waits for the endpoint instead of using up its attempts."""

    error_rate: float = 0.5
    """Share of faults among the attempts of the window from which the breaker opens; above 1 never."""

    window: float = 30.0
    """Seconds that the error rate looks back."""

    minimum_attempts: int = 20
    """Attempts in the window below which the error rate means nothing."""

    cool_down: float = 1.0
    """Seconds from opening to the first probe; doubled after each probe that fails."""

    cool_down_max: float = 15.0
    """Seconds that a cool-down may take, jitter not counted."""

    cool_down_jitter: float = 0.2
    """Up to this share of the cool-down is added at random, so that the clients of many processes do not probe
    together."""

    def __post_init__(self) -> None:
        _require_positive(
            self, "consecutive_faults", "error_rate", "window", "minimum_attempts", "cool_down", "cool_down_max"
        )
        _require_not_negative(self, "cool_down_jitter")


@dataclass(frozen=True)
class ProbePolicy:
    """How an endpoint is tried with a trivial program. See `_health.py`."""

    quiet_seconds: float = 15.0
    """Seconds that an endpoint may leave all its calls unanswered before it is probed."""

    timeout: float = 10.0
    """Seconds that a probe may take. Before a closed endpoint is judged wedged, it is given at least as long as the
    longest program in flight may run, and Timeouts.margin."""

    def __post_init__(self) -> None:
        _require_positive(self, "quiet_seconds", "timeout")


def _require_positive(value: object, *names: str) -> None:
    for name in names:
        # Written so that NaN is refused as well.
        if not getattr(value, name) > 0:
            raise ValueError(f"{value}: {name} must be positive")


def _require_not_negative(value: object, *names: str) -> None:
    for name in names:
        if not getattr(value, name) >= 0:
            raise ValueError(f"{value}: {name} must not be negative")
