"""Where the time of a call went."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Timed:
    """What a result says of its call. Seconds, as the caller saw them.

    `latency` is `wait`, `connect`, `queue`, the run itself, and, after a fault, the failed attempts and their pauses.
    """

    execution_time: float | None
    """Seconds that the program ran, as the server reports."""

    wait: float = 0.0
    """Waiting in the client, for a turn and for an endpoint that takes calls."""

    connect: float = 0.0
    """Getting a connection in the attempt that succeeded; next to nothing when an open one was used."""

    queue: float = 0.0
    """The rest of that attempt: the server's queue, what it adds to the program, the network."""

    latency: float = 0.0
    """From the call to the result: waiting for a turn, every attempt, every pause."""

    attempts: int = 1
    """How many attempts the call took."""

    endpoint: str = ""
    """Base URL of the endpoint that ran it."""

    @property
    def run(self) -> float:
        """Seconds that the program ran, 0 when the server does not say."""
        return self.execution_time or 0.0


def stamp(result: Timed, *, wait: float, connect: float, queue: float, latency: float, attempts: int) -> None:
    """Write the times into a result that nobody else has seen yet; a copy would cost as much as reading the answer."""
    write = object.__setattr__
    write(result, "wait", wait)
    write(result, "connect", connect)
    write(result, "queue", queue)
    write(result, "latency", latency)
    write(result, "attempts", attempts)
