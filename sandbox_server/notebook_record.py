"""A notebook as its process has it, and what it leaves of its cells: how much, and what to believe."""

import fcntl
import json
import os
from dataclasses import dataclass, replace
from typing import NoReturn

from sandbox_server.frames import CellResult, ProgramReport, ProgramStatus
from sandbox_server.scratch import unnamed_file

_DEPTH = 64  # levels of nesting in one display; far from where encoding it again would fail


def shown_bytes(max_output_bytes: int) -> int:
    """Bytes of JSON that displays and errors may take, of all cells together."""
    return 4 * max_output_bytes


def record_bytes(cells: int, max_output_bytes: int) -> int:
    """Bytes that an honest record takes at most: in JSON, a byte of output may become six."""
    return 12 * max_output_bytes + shown_bytes(max_output_bytes) + 1024 * cells


@dataclass(frozen=True)
class Notebook:
    """Cells, ready to run, and where their results go."""

    cells_fd: int
    """A file with the Python sources, a list in JSON. Not objects: those of the worker stay in its memory."""

    cell_timeout: float
    """Wall seconds after which a cell is interrupted; 0 for never."""

    record_fd: int
    """A file for the results of cells that have ended."""

    stdout_fd: int
    """A file for the standard output of the cell that runs."""

    stderr_fd: int
    """A file for the standard error of the cell that runs."""

    max_output_bytes: int
    """Bytes kept of each output stream, of all cells together."""

    @property
    def fds(self) -> tuple[int, ...]:
        """The descriptors that the program's process must keep."""
        return self.cells_fd, self.record_fd, self.stdout_fd, self.stderr_fd


class NotebookFiles:
    """Files that a notebook's process reads and writes and that outlive it. To be closed."""

    def __init__(self, count: int, cells_fd: int, cell_timeout: float, max_output_bytes: int) -> None:
        """`cells_fd`: the cells, of which there are `count`; stays the caller's.

        Raises OSError when the machine is out of descriptors or memory.
        """
        fds: list[int] = []
        try:
            for _ in ("record", "stdout", "stderr"):
                fds.append(unnamed_file("/tmp"))
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


def with_cells(
    report: ProgramReport, asked: int, max_output_bytes: int, record: bytes, stdout: bytes, stderr: bytes
) -> ProgramReport:
    """`report` on a notebook of `asked` cells with their results.

    A cell that did not end is the last one, with what it has printed: `stdout` and `stderr`. What in the record is not
    as `cells.py` writes it ends it: only the program can have written it, and nothing after it is sure.
    """
    if report.status is ProgramStatus.ERROR:
        return report
    cells: list[CellResult] = []
    for line in record.splitlines()[:asked]:
        cell = _cell(line)
        if cell is None:
            break
        cells.append(cell)
    finished = len(cells)
    if finished < asked:
        out = sum(len(cell.stdout.encode(errors="replace")) for cell in cells)
        err = sum(len(cell.stderr.encode(errors="replace")) for cell in cells)
        cells.append(
            CellResult(stdout=_text(stdout, max_output_bytes - out), stderr=_text(stderr, max_output_bytes - err))
        )
    return replace(report, cells=cells, cells_finished=finished)


def _text(content: bytes, cap: int) -> str:
    return content[: max(0, cap)].decode("utf-8", errors="replace")


def _cell(line: bytes) -> CellResult | None:
    try:
        value = json.loads(line, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    if not (isinstance(value, list) and len(value) == 4):
        return None
    stdout, stderr, display, error = value
    honest = (
        isinstance(stdout, str)
        and isinstance(stderr, str)
        and isinstance(display, list)
        and all(isinstance(item, dict) and _shallow(item, _DEPTH) for item in display)
        and isinstance(error, list)
        and all(_is_error(item) for item in error)
    )
    return CellResult(stdout, stderr, display, error) if honest else None


def _is_error(item: object) -> bool:
    if not (isinstance(item, dict) and item.keys() == {"ename", "evalue", "traceback"}):
        return False
    texts = [item["ename"], item["evalue"], *(item["traceback"] if isinstance(item["traceback"], list) else [None])]
    return all(isinstance(text, str) for text in texts)


def _shallow(value: object, depth: int) -> bool:
    if depth == 0:
        return False
    if isinstance(value, dict):
        return all(_shallow(item, depth - 1) for item in value.values())
    return all(_shallow(item, depth - 1) for item in value) if isinstance(value, list) else True


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
