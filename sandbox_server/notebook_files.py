"""The worker's side of a notebook: where its cells come from, and where they leave their results."""

import fcntl
import os

from sandbox_server.cell_record import record_bytes
from sandbox_server.cells import Notebook
from sandbox_server.nameless import nameless_file


class NotebookFiles:
    """Files that a notebook's process reads and writes and that outlive it. To be closed."""

    def __init__(self, count: int, cells_fd: int, cell_timeout: float, max_output_bytes: int) -> None:
        """`cells_fd`: the cells, of which there are `count`; stays the caller's.

        Raises OSError when the machine is out of descriptors or memory.
        """
        fds: list[int] = []
        try:
            for _ in ("record", "stdout", "stderr"):
                fds.append(nameless_file("/tmp"))
                # So that emptying the file between cells leaves no hole before what a subprocess writes next.
                fcntl.fcntl(fds[-1], fcntl.F_SETFL, os.O_APPEND)
        except OSError:
            for fd in fds:
                os.close(fd)
            raise
        self.fds = tuple(fds)
        """The record, and standard output and error of the cell that runs."""
        self.notebook = Notebook(cells_fd, cell_timeout, *fds, max_output_bytes)
        self._caps = (record_bytes(count, max_output_bytes), max_output_bytes, max_output_bytes)

    def sizes(self) -> tuple[int, ...]:
        """Bytes of each file, as far as the server wants them. Call when no process of the program is left."""
        return tuple(min(os.fstat(fd).st_size, cap) for fd, cap in zip(self.fds, self._caps, strict=True))

    def close(self) -> None:
        """Give the memory back."""
        for fd in self.fds:
            os.close(fd)
