"""The worker's end of the server's frames: their content goes from the socket to a file by way of unforked memory."""

import os
import socket

from sandbox_server.frames import SIZES, Disconnected, Order, decode
from sandbox_server.unforked import Unforked

_BYTES = 1 << 20  # content beyond this comes in several parts


class Inlet:
    """Reads one frame at a time, and never further: what follows must stay in the socket to wake who waits there."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._memory = Unforked(_BYTES)
        self._start = self._end = 0  # what of the memory has been received and not yet been taken
        self._coming = 0  # bytes of the frame that are still to be received

    def order(self) -> Order:
        """Wait for the next order; what was not taken of the frame before it is dropped. Raises Disconnected."""
        while True:
            self._drop()
            self._coming = SIZES.size
            header_bytes, content_bytes = SIZES.unpack(self._taken(SIZES.size))
            self._coming = header_bytes + content_bytes
            frame = decode(self._taken(header_bytes))
            if isinstance(frame, Order):
                return frame

    def pour(self, size: int, fd: int) -> None:
        """Write the next `size` bytes of content to `fd`. Raises OSError when that fails, and Disconnected."""
        while size > 0:
            if self._start == self._end:
                self._receive()
            stop = min(self._end, self._start + size)
            written = os.write(fd, self._memory.view[self._start : stop])
            self._start += written
            size -= written

    def empty(self) -> None:
        """Forget the content that has been taken. Call when all of it has."""
        self._memory.empty()

    def _drop(self) -> None:
        self._start = self._end
        while self._coming:
            self._receive()
            self._start = self._end

    def _taken(self, size: int) -> bytes:
        """The next `size` bytes as an object: for headers only."""
        taken = bytearray()
        while len(taken) < size:
            if self._start == self._end:
                self._receive()
            stop = min(self._end, self._start + size - len(taken))
            taken += self._memory.view[self._start : stop]
            self._start = stop
        return bytes(taken)

    def _receive(self) -> None:
        try:
            self._end = self._sock.recv_into(self._memory.view[: min(self._coming, _BYTES)])
        except ConnectionError as error:
            raise Disconnected from error
        if self._end == 0:
            raise Disconnected
        self._start = 0
        self._coming -= self._end
