"""Memory of a worker that the programs forked from it do not get: where content lies on its way in and out.

What is freed on the heap stays there until it is overwritten, and a fork copies it. A program could then read in its
own memory what the one before it was sent and printed. Hence no content becomes a Python object in a worker: it is
received into such memory and written from it, and the worker's objects are sizes, numbers and names.
"""

import contextlib
import mmap


class Unforked:
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
