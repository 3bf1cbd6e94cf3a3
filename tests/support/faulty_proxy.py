"""A TCP proxy in front of a sandbox that spoils some of the answers, for tests. Runs in the test's event loop."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable
from enum import StrEnum
from urllib.parse import urlsplit


class Spoil(StrEnum):
    """What becomes of an answer."""

    RESET = "reset"
    """The connection is reset in place of it."""
    HALF = "half"
    """Half of it arrives, and the connection ends."""
    ERROR_500 = "error_500"
    ERROR_503 = "error_503"
    WRONG_JSON = "wrong_json"
    """A good status with a body that is not JSON."""
    HANG = "hang"
    """Nothing arrives, and the connection stays open."""


def _http(status: str, body: bytes) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


ANSWERED = tuple(kind for kind in Spoil if kind is not Spoil.HANG)
"""Without the one that is waited for to its end."""

_ANSWERS = {
    Spoil.ERROR_500: _http("500 Internal Server Error", b'{"detail": "spoilt"}'),
    Spoil.ERROR_503: _http("503 Service Unavailable", b'{"detail": "spoilt"}'),
    Spoil.WRONG_JSON: _http("200 OK", b"<html>spoilt</html>"),
}


class FaultyProxy:
    """Passes bytes on to `target`; `choose()` says for each piece of an answer whether, and how, it is spoilt."""

    def __init__(self, target: str, choose: Callable[[], Spoil | None]) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname, parts.port)
        self._choose = choose
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.spoilt: Counter[Spoil] = Counter()
        """How often each way was used."""
        self.down = False
        """While true, connections are reset and nothing is passed on."""

    @property
    def endpoint(self) -> str:
        """Base URL of the proxy."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def take_down(self) -> None:
        """Reset every connection from now on, those that are open included."""
        self.down = True
        for task in self._tasks:
            task.cancel()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[FaultyProxy]:
        """The proxy, listening on a free loopback port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield self
        finally:
            self._server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._pass_on(reader, writer)
        except asyncio.CancelledError:
            _reset(writer)
        except OSError:
            writer.transport.abort()
        finally:
            self._tasks.discard(task)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.down:
            _reset(writer)
            return
        try:
            from_target, to_target = await asyncio.open_connection(*self._target)
        except OSError:
            _reset(writer)
            return
        requests = asyncio.create_task(_copy(reader, to_target))
        try:
            while data := await from_target.read(1 << 16):
                spoil = self._choose()
                if spoil is None:
                    writer.write(data)
                    await writer.drain()
                    continue
                self.spoilt[spoil] += 1
                await self._spoil(spoil, data, writer, requests)
                return
        finally:
            requests.cancel()
            to_target.close()
            writer.close()

    async def _spoil(
        self, spoil: Spoil, data: bytes, writer: asyncio.StreamWriter, requests: asyncio.Task[None]
    ) -> None:
        match spoil:
            case Spoil.RESET:
                _reset(writer)
            case Spoil.HALF:
                writer.write(data[: len(data) // 2])
            case Spoil.HANG:
                # Until the caller has had enough.
                await requests
            case _:
                writer.write(_ANSWERS[spoil])


def sometimes(share: float, seed: int, *kinds: Spoil) -> Callable[[], Spoil | None]:
    """Spoils `share` of the answers, each in one of `kinds`."""
    draw = random.Random(seed)
    return lambda: draw.choice(kinds) if draw.random() < share else None


def _reset(writer: asyncio.StreamWriter) -> None:
    # With a linger time of zero, closing sends RST and not FIN.
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        # The caller has hung up; so does the proxy.
        writer.close()
