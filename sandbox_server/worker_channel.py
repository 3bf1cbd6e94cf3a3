"""The worker's end of its socket to the server: orders come in, output and outcomes go out.

What is freed on the heap stays there until it is overwritten, and a fork copies it. A program could then read in its
own memory what the one before it was sent and printed. Hence no content becomes a Python object in a worker: it is
received into memory that the programs forked from it do not get, and written from there. The worker's objects are
sizes, numbers and names.
"""

import contextlib
import mmap
import os
import socket

from sandbox_server.frames import SIZES, Disconnected, Fetched, Order, OrderOutcome, decode, pack

_RECEIVED_BYTES = 1 << 20  # content beyond this comes in several parts
_DROPPED_BYTES = 1 << 16  # of output beyond the cap, read and dropped at a time
_SENT_BYTES = 1 << 18  # of a file, at a time


class UnforkedMemory:
    """A fixed number of bytes, taken from the machine only as they are used."""

    def __init__(self, size: int) -> None:
        """Raises OSError when the kernel refuses."""
        self._memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._memory.madvise(mmap.MADV_DONTFORK)
        with contextlib.suppress(OSError):  # a kernel without huge pages; with them, few bytes would cost a whole one
            self._memory.madvise(mmap.MADV_NOHUGEPAGE)
        self.view = memoryview(self._memory)
        """The bytes. Parts of it are views too; `bytes(view)` would be a copy on the heap."""

    def empty(self) -> None:
        """Forget the content and give the pages back."""
        self._memory.madvise(mmap.MADV_DONTNEED)


class OrderReader:
    """Reads one frame at a time, and never further: what follows must stay in the socket to wake who waits there."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._memory = UnforkedMemory(_RECEIVED_BYTES)
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
            self._end = self._sock.recv_into(self._memory.view[: min(self._coming, _RECEIVED_BYTES)])
        except ConnectionError as error:
            raise Disconnected from error
        if self._end == 0:
            raise Disconnected
        self._start = 0
        self._coming -= self._end


class OutcomeWriter:
    """Sends frames with content."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._memory = UnforkedMemory(_SENT_BYTES)

    def send_outcome(self, outcome: OrderOutcome, outputs: tuple[memoryview, ...], fds: tuple[int, ...]) -> None:
        """Send `outcome` with its content: first `outputs`, then from each of `fds` as much as `outcome` says.

        Raises Disconnected.
        """
        sizes = outcome.sizes()
        pieces = list(zip(fds, sizes[len(outputs) :], strict=False))
        recorded = sum(size for _, size in pieces)
        views = (memoryview(pack(outcome, sum(sizes))), *outputs)
        try:
            if 0 < recorded <= _SENT_BYTES:
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
            part = self._memory.view[: min(size - at, _SENT_BYTES)]
            read = os.preadv(fd, [part], at)
            if read == 0:
                raise Disconnected
            self._sock.sendall(part[:read])
            at += read
        if size:
            self._memory.empty()


class OutputCapture:
    """Keeps up to a fixed number of bytes of each program in turn."""

    def __init__(self, cap: int) -> None:
        self._cap = cap
        self._memory = UnforkedMemory(cap)
        self._beyond = UnforkedMemory(_DROPPED_BYTES)
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
