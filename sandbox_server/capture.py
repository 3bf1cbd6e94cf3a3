"""The kept part of one output stream of the program that runs."""

import os

from sandbox_server.unforked import Unforked

_BEYOND = 1 << 16  # bytes read and dropped at a time


class Capture:
    """Keeps up to a fixed number of bytes of each program in turn."""

    def __init__(self, cap: int) -> None:
        self._cap = cap
        self._memory = Unforked(cap)
        self._beyond = Unforked(_BEYOND)
        self._length = 0
        self.fd = -1
        self.open = False
        """Whether more may come."""

    def attach(self, fd: int) -> None:
        """Begin with the program whose output is read from `fd`."""
        os.set_blocking(fd, False)
        self.fd = fd
        self.open = True
        self._length = 0

    def read(self) -> None:
        """Take what is there. Beyond the cap it is read all the same, or the program would block on a full pipe."""
        room = self._memory.view[self._length :]
        try:
            got = os.readv(self.fd, [room or self._beyond.view])
        except BlockingIOError:
            return
        self.open = got > 0
        if room:
            self._length += got

    def drain(self) -> None:
        """Take what dead processes left in the pipe; bounded, for a pipe holds little and nobody writes."""
        before = -1
        while self.open and self._length != before and self._length < self._cap:
            before = self._length
            self.read()

    @property
    def kept(self) -> memoryview:
        """What was kept. Not to be looked at after `empty`."""
        return self._memory.view[: self._length]

    def empty(self) -> None:
        """Forget it."""
        if self._length == self._cap:
            self._beyond.empty()
        if self._length:
            self._memory.empty()
        self._length = 0
