"""What a client has seen and is doing, at one moment."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from sandbox_client.breaker import BreakerState
from sandbox_client.endpoint import Endpoint
from sandbox_client.stats import ClientStats, Percentiles


@dataclass(frozen=True)
class EndpointSnapshot:
    """One endpoint of the client's list."""

    endpoint: str
    """Its base URL."""

    state: BreakerState
    """What its breaker lets through."""

    outstanding: int
    """Attempts under way."""

    attempts: int
    """Attempts made there since it is in the list."""

    faults: Mapping[str, int]
    """Those that ended in a fault, by the fault's class."""

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
    """A client at one moment. Percentiles are in seconds, over the latest 4096 results."""

    stats: ClientStats
    """Counts since the client was made."""

    in_flight: int
    """Calls with an attempt under way."""

    waiting: int
    """Calls that wait for a turn, for an endpoint, or between two attempts."""

    endpoints: tuple[EndpointSnapshot, ...]
    """Those in the client's list."""

    latency: Percentiles
    """From call to result."""

    wait: Percentiles
    """For a turn and an endpoint."""

    connect: Percentiles
    """For a connection."""

    queue: Percentiles
    """In the server beyond the run, and on the way."""

    run: Percentiles
    """Of the program, as the server reports."""

    def to_record(self) -> dict[str, float | int | str]:
        """Plain values under flat names, such as `latency/p50`, for JSON and for metrics."""
        record: dict[str, float | int | str] = dict(asdict(self.stats))
        record |= {"in_flight": self.in_flight, "waiting": self.waiting}
        for name in ("latency", "wait", "connect", "queue", "run"):
            record |= {f"{name}/{rank}": seconds for rank, seconds in asdict(getattr(self, name)).items()}
        for one in self.endpoints:
            record |= {
                f"endpoint/{one.endpoint}/state": one.state.value,
                f"endpoint/{one.endpoint}/outstanding": one.outstanding,
                f"endpoint/{one.endpoint}/attempts": one.attempts,
                f"endpoint/{one.endpoint}/faults": sum(one.faults.values()),
            }
        return record
