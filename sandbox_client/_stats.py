"""What a client has seen so far, counted."""

from collections import Counter, deque
from dataclasses import dataclass

from sandbox_client.errors import (
    SandboxDeadlineExceeded,
    SandboxFault,
    SandboxInternalError,
    SandboxOverloaded,
    SandboxProtocolError,
    SandboxRequestRefused,
    SandboxUnavailable,
    SandboxUnreachable,
)
from sandbox_client.timing import Timed

_WINDOW = 4096  # results over which times are summed up


@dataclass(frozen=True)
class ClientStats:
    """Counts since the client was made. `calls` end in exactly one outcome; faults count every attempt."""

    calls: int = 0
    """Calls that have ended, one way or the other."""

    success: int = 0
    """Calls whose program succeeded."""

    failed: int = 0
    """Calls whose program failed."""

    time_limit: int = 0
    """Calls whose program ran out of time."""

    memory_limit: int = 0
    """Calls whose program ran out of memory."""

    faulted: int = 0
    """Calls that ended in a SandboxFault, after all retries."""

    cancelled: int = 0
    """Calls that their caller, or the closing of the client, broke off."""

    retries: int = 0
    """Attempts beyond the first of their call."""

    probes: int = 0
    """Trivial programs sent to find out whether an endpoint works; they count nowhere else."""

    unreachable: int = 0
    """Attempts that ended in SandboxUnreachable."""

    overloaded: int = 0
    """Attempts that ended in SandboxOverloaded."""

    internal_error: int = 0
    """Attempts that ended in SandboxInternalError."""

    deadline_exceeded: int = 0
    """Attempts that ended in SandboxDeadlineExceeded."""

    protocol_error: int = 0
    """Attempts that ended in SandboxProtocolError and not in SandboxRequestRefused."""

    request_refused: int = 0
    """Attempts that ended in SandboxRequestRefused."""

    unavailable: int = 0
    """Calls that ended in SandboxUnavailable."""


_FAULT_FIELDS: dict[type[SandboxFault], str] = {
    SandboxUnreachable: "unreachable",
    SandboxOverloaded: "overloaded",
    SandboxInternalError: "internal_error",
    SandboxDeadlineExceeded: "deadline_exceeded",
    SandboxProtocolError: "protocol_error",
    SandboxRequestRefused: "request_refused",
    SandboxUnavailable: "unavailable",
}


@dataclass(frozen=True)
class Percentiles:
    """Seconds that a part of the calls took, over the latest 4096 results; all 0 before the first."""

    p50: float = 0.0
    """Half of the calls took no longer."""
    p90: float = 0.0
    """Nine tenths took no longer."""
    p99: float = 0.0
    """99 hundredths took no longer."""
    max: float = 0.0
    """The longest."""

    @classmethod
    def of(cls, seconds: list[float]) -> "Percentiles":
        """Those of a sample, each one of its members (nearest rank)."""
        if not seconds:
            return cls()
        ordered, count = sorted(seconds), len(seconds)
        # -(-a // b) rounds up, in integers, so that no rank is off for want of a bit.
        return cls(*(ordered[-(-count * percent // 100) - 1] for percent in (50, 90, 99, 100)))


class Recorder:
    """Counts what happens, and keeps the times of the latest results."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._times: deque[tuple[float, float, float, float, float]] = deque(maxlen=_WINDOW)

    def executed(self, status: str, result: Timed) -> None:
        """A call ended with a program that ran."""
        self._counts["calls"] += 1
        self._counts[status] += 1
        self._times.append((result.latency, result.wait, result.connect, result.queue, result.run))

    def faulted(self) -> None:
        """A call ended in a fault."""
        self._counts.update(("calls", "faulted"))

    def cancelled(self) -> None:
        """A call was broken off."""
        self._counts.update(("calls", "cancelled"))

    def fault(self, fault: SandboxFault) -> None:
        """An attempt, or the wait for one, ended in `fault`."""
        self._counts[_FAULT_FIELDS[type(fault)]] += 1

    def retried(self) -> None:
        """An attempt beyond the first began."""
        self._counts["retries"] += 1

    def probed(self) -> None:
        """A probe began."""
        self._counts["probes"] += 1

    def stats(self) -> ClientStats:
        """The counts so far."""
        return ClientStats(**self._counts)

    def times(self) -> tuple[Percentiles, Percentiles, Percentiles, Percentiles, Percentiles]:
        """Of the latest results: latency, wait, connect, queue, run."""
        columns = list(zip(*self._times, strict=True)) or [()] * 5
        latency, wait, connect, queue, run = (Percentiles.of(list(column)) for column in columns)
        return latency, wait, connect, queue, run
