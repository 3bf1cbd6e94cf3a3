"""The worker's end of its frames to the server: their content goes out from unforked memory and from files."""

import os
import socket

from sandbox_server.frames import Disconnected, Fetched, Outcome, pack
from sandbox_server.unforked import Unforked

_BYTES = 1 << 18  # of a file, at a time


class Outlet:
    """Sends frames with content."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._memory = Unforked(_BYTES)

    def send_outcome(self, outcome: Outcome, outputs: tuple[memoryview, ...], fds: tuple[int, ...]) -> None:
        """Send `outcome` with its content: first `outputs`, then from each of `fds` as much as `outcome` says.

        Raises Disconnected.
        """
        sizes = outcome.sizes()
        pieces = list(zip(fds, sizes[len(outputs) :], strict=False))
        recorded = sum(size for _, size in pieces)
        views = (memoryview(pack(outcome, sum(sizes))), *outputs)
        try:
            if 0 < recorded <= _BYTES:
                # In one call, so that the server wakes up once.
                self._send_views((*views, self._collected(pieces, recorded)))
                self._memory.empty()
                return
            self._send_views(views)
            for fd, size in pieces:
                self._send_file(fd, size)
        except OSError as error:
            raise Disconnected from error

    def send_fetched(self, fetched: Fetched, paths: list[str]) -> None:
        """Send `fetched` with the content of the files at `paths`. Raises Disconnected, also when one cannot be read.

        The server knows only the sizes, and would take anything else for the missing bytes.
        """
        try:
            self._send_views((memoryview(pack(fetched, sum(size for _, size in fetched.files))),))
            for path, (_, size) in zip(paths, fetched.files, strict=True):
                fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
                try:
                    self._send_file(fd, size)
                finally:
                    os.close(fd)
        except OSError as error:
            raise Disconnected from error

    def _send_views(self, views: tuple[memoryview, ...]) -> None:
        sent = self._sock.sendmsg(views)
        for view in views:  # a signal can cut the call short
            if sent < len(view):
                self._sock.sendall(view[sent:])
            sent = max(0, sent - len(view))

    def _collected(self, pieces: list[tuple[int, int]], total: int) -> memoryview:
        at = 0
        for fd, size in pieces:
            if size and os.preadv(fd, [self._memory.view[at : at + size]], 0) < size:
                raise Disconnected
            at += size
        return self._memory.view[:total]

    def _send_file(self, fd: int, size: int) -> None:
        at = 0
        while at < size:
            part = self._memory.view[: min(size - at, _BYTES)]
            read = os.preadv(fd, [part], at)
            if read == 0:
                raise Disconnected
            self._sock.sendall(part[:read])
            at += read
        if size:
            self._memory.empty()
