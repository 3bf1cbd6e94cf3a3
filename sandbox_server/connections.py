"""The server's connections: how many there may be, and which of them must go.

Without a bound, connections that say nothing would take every descriptor, and a worker that is lost could not be
replaced. One is safe only while a program of its own waits or runs; for the rest of the time it can be made again.
"""

import asyncio
import os
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

_UNLIMITED = 1 << 16  # connections, where there is no limit of open files
_DESCRIPTORS_EACH = 2  # of a worker: a pair has two sockets
_KEPT_BACK = 16  # for a worker or zygote that is started again, and for a burst of logging and reading
_BACKLOG = 128  # connections that wait to be accepted; asyncio accepts as many at once before it looks at any
_QUIET = 75.0  # seconds that a connection may be idle; proxies close theirs after 60
_RECEIVING = 60.0  # seconds from the first byte of a request to the last, and from the end of a program to the next
_SWEEP = 5.0  # seconds between two looks at all of them


class TooFewDescriptors(OSError):
    """The limit of open files leaves the server no connections."""


@dataclass(frozen=True)
class ConnectionLimits:
    """How many connections fit under the limit of open files."""

    most: int
    """Connections that are kept."""

    backlog: int
    """Further ones that may be accepted at once, before the oldest are closed for them."""

    @classmethod
    def of_this_process(cls) -> "ConnectionLimits":
        """What is left when all else is open; call when the workers run. Raises TooFewDescriptors."""
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if limit < 0:
            return cls(_UNLIMITED, _BACKLOG)
        used = len(os.listdir("/proc/self/fd"))
        backlog = max(1, min(_BACKLOG, limit // 8))
        most = limit - used - _KEPT_BACK - backlog
        if most < 1:
            raise TooFewDescriptors(
                f"the limit of {limit} open files is too low: {used} are open, and none is left for callers; "
                "raise it (ulimit -n), or start fewer --workers"
            )
        return cls(most, backlog)


def make_room(workers: int, callers: int) -> None:
    """Raise the limit of open files, as far as this user may, to what so many workers and callers need.

    No further: programs without the kernel's help close every descriptor below it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _DESCRIPTORS_EACH * workers + callers + _KEPT_BACK + 2 * _BACKLOG
    # No limit is a negative number.
    if 0 <= soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed if hard < 0 else min(hard, needed), hard))


class Connections:
    """All connections of a server. Beyond the limit the one that has waited longest is closed."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: seconds, for tests."""
        self.most = _UNLIMITED
        """How many are kept."""
        self._clock = clock
        self._known: dict[asyncio.BaseTransport, _Connection] = {}
        self._sweep: asyncio.TimerHandle | None = None

    def guard(self, make: Callable[[], asyncio.Protocol]) -> Callable[[], asyncio.Protocol]:
        """A factory of the protocols that `make` makes, which are counted."""
        return lambda: _Connection(self, make())

    def start(self, most: int) -> None:
        """Keep at most `most`, and look for those that take too long. Call inside a running event loop."""
        self.most = most
        self._sweep = asyncio.get_running_loop().call_later(_SWEEP, self._look)

    def stop(self) -> None:
        """No longer look; connections stay."""
        if self._sweep is not None:
            self._sweep.cancel()

    def set_working(self, transport: asyncio.BaseTransport | None, working: bool) -> None:
        """Whether a program of this connection waits or runs now. Harmless for one that is gone."""
        connection = None if transport is None else self._known.get(transport)
        if connection is not None:
            connection.working, connection.quiet, connection.since = working, not working, self._clock()

    def made(self, transport: asyncio.Transport, connection: "_Connection") -> None:
        """A connection was accepted."""
        connection.since = self._clock()
        self._known[transport] = connection
        if len(self._known) > self.most:
            waiting = [known for known, one in self._known.items() if not one.working]
            self._drop(min(waiting, key=lambda known: self._known[known].since))

    def lost(self, transport: asyncio.BaseTransport) -> None:
        """A connection is closed."""
        self._known.pop(transport, None)

    def heard(self, connection: "_Connection") -> None:
        """The first byte after a silence came in."""
        connection.quiet, connection.since = False, self._clock()

    def _look(self) -> None:
        now = self._clock()
        late = [
            transport
            for transport, one in self._known.items()
            if not one.working and now - one.since > (_QUIET if one.quiet else _RECEIVING)
        ]
        for transport in late:
            self._drop(transport)
        self._sweep = asyncio.get_running_loop().call_later(_SWEEP, self._look)

    def _drop(self, transport: asyncio.BaseTransport) -> None:
        self._known.pop(transport, None)
        cast(asyncio.Transport, transport).abort()


class _Connection(asyncio.Protocol):
    """Passes everything on to the protocol that it stands for."""

    def __init__(self, connections: Connections, protocol: asyncio.Protocol) -> None:
        self.working = False
        """Whether a program of it waits or runs."""
        self.quiet = True
        """Whether no request has begun to come in."""
        self.since = 0.0
        """When its present state began."""
        self._connections = connections
        self._protocol = protocol
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._protocol.connection_made(transport)
        self._connections.made(cast(asyncio.Transport, transport), self)

    def data_received(self, data: bytes) -> None:
        if self.quiet:
            self._connections.heard(self)
        self._protocol.data_received(data)

    def eof_received(self) -> bool | None:
        return self._protocol.eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        if self._transport is not None:
            self._connections.lost(self._transport)
        self._protocol.connection_lost(error)

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()
