"""What a client has seen so far."""

from collections import Counter
from dataclasses import dataclass

from sandbox_client.errors import (
    SandboxDeadlineExceeded,
    SandboxFault,
    SandboxInternalError,
    SandboxOverloaded,
    SandboxProtocolError,
    SandboxUnreachable,
)
from sandbox_client.wire import ExecutionStatus


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

    faulted: int = 0
    """Calls that ended in a SandboxFault, after all retries."""

    retries: int = 0
    """Attempts beyond the first of their call."""

    unreachable: int = 0
    """Attempts that ended in SandboxUnreachable."""

    overloaded: int = 0
    """Attempts that ended in SandboxOverloaded."""

    internal_error: int = 0
    """Attempts that ended in SandboxInternalError."""

    deadline_exceeded: int = 0
    """Attempts that ended in SandboxDeadlineExceeded."""

    protocol_error: int = 0
    """Attempts that ended in SandboxProtocolError."""


_FAULT_FIELDS: dict[type[SandboxFault], str] = {
    SandboxUnreachable: "unreachable",
    SandboxOverloaded: "overloaded",
    SandboxInternalError: "internal_error",
    SandboxDeadlineExceeded: "deadline_exceeded",
    SandboxProtocolError: "protocol_error",
}


class StatsRecorder:
    """Counts what happens; `snapshot` is what the outside sees."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def executed(self, status: ExecutionStatus) -> None:
        """A call ended with a program that ran."""
        self._counts.update(("calls", status.value))

    def faulted(self) -> None:
        """A call ended in a fault."""
        self._counts.update(("calls", "faulted"))

    def fault(self, fault: SandboxFault) -> None:
        """An attempt ended in `fault`."""
        self._counts[_FAULT_FIELDS[type(fault)]] += 1

    def retried(self) -> None:
        """An attempt beyond the first began."""
        self._counts["retries"] += 1

    def snapshot(self) -> ClientStats:
        """The counts so far."""
        return ClientStats(**self._counts)
