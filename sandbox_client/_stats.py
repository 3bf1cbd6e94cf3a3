"""What a client has seen so far and is doing now."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from sandbox_client._breaker import BreakerState
from sandbox_client._endpoint import Endpoint
from sandbox_client._errors import FAULT_KINDS, SandboxFault
from sandbox_client._execution import ExecutionStatus


def _no_faults() -> dict[str, int]:
    return dict.fromkeys(FAULT_KINDS, 0)


@dataclass(frozen=True)
class ClientStats:
    """Counts since the client was made. `calls` end in exactly one outcome; `faults` count every attempt."""

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

    faults: Mapping[str, int] = field(default_factory=_no_faults)
    """Attempts that ended in a fault, by each of `FAULT_KINDS`; `unavailable` counts calls, which had no attempt."""


class Recorder:
    """Counts what happens."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()

    def executed(self, status: ExecutionStatus) -> None:
        """A call ended with a program that ran."""
        self._counts["calls"] += 1
        self._counts[status] += 1

    def faulted(self) -> None:
        """A call ended in a fault."""
        self._counts.update(("calls", "faulted"))

    def cancelled(self) -> None:
        """A call was broken off."""
        self._counts.update(("calls", "cancelled"))

    def fault(self, fault: SandboxFault) -> None:
        """An attempt, or the wait for one, ended in `fault`."""
        self._faults[fault.kind] += 1

    def retried(self) -> None:
        """An attempt beyond the first began."""
        self._counts["retries"] += 1

    def probed(self) -> None:
        """A probe began."""
        self._counts["probes"] += 1

    def stats(self) -> ClientStats:
        """The counts so far."""
        return ClientStats(**self._counts, faults=_no_faults() | self._faults)


@dataclass(frozen=True)
class EndpointSnapshot:
    """One endpoint of the client's list, at one moment."""

    endpoint: str
    """Its base URL."""

    state: BreakerState
    """What its breaker lets through."""

    outstanding: int
    """Attempts under way."""

    attempts: int
    """Attempts made there since it is in the list."""

    faults: Mapping[str, int]
    """Those that ended in a fault, by its kind."""

    last_fault: str
    """The latest fault, of an attempt or a probe, in words."""

    @classmethod
    def of(cls, endpoint: Endpoint) -> "EndpointSnapshot":
        """The present state of an endpoint."""
        return cls(
            endpoint=endpoint.base,
            state=endpoint.breaker.state,
            outstanding=endpoint.outstanding,
            attempts=endpoint.attempts,
            faults=dict(endpoint.faults),
            last_fault=endpoint.last_fault,
        )


@dataclass(frozen=True)
class ClientSnapshot:
    """A client at one moment. `dataclasses.asdict` makes plain data of it."""

    stats: ClientStats
    """Counts since the client was made."""

    in_flight: int
    """Calls with an attempt under way."""

    waiting: int
    """Calls that wait for a turn, for an endpoint, or between two attempts."""

    endpoints: tuple[EndpointSnapshot, ...]
    """Those in the client's list."""
