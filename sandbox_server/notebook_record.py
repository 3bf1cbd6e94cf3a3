"""A notebook as its process has it, and what it leaves of its cells: how much, and what to believe."""

import fcntl
import json
import math
import os
from dataclasses import dataclass, replace
from typing import NoReturn

from sandbox_server.frames import CellResult, ProgramReport, ProgramStatus
from sandbox_server.json_bounds import refuse_dear
from sandbox_server.scratch import unnamed_file

SHOWN_VALUES = 100_000
"""Values that displays and errors may hold, of all cells together."""

SHOWN_DEPTH = 64
"""Levels of nesting in what a cell shows; far from where encoding it again would fail."""

_LINE_VALUES = 16  # of a cell that shows nothing, or its error in brief
_REPLACED = 3  # bytes of the sign that stands for one that is not text


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
    values = SHOWN_VALUES + _LINE_VALUES * asked
    out = err = start = 0
    while len(cells) < asked and (end := record.find(b"\n", start)) >= 0:
        try:
            text = record[start:end].decode()
            values -= refuse_dear(text, values, SHOWN_DEPTH)
            cell = _cell(text)
        except (ValueError, RecursionError):
            break
        out_after = out + len(cell.stdout.encode(errors="replace"))
        err_after = err + len(cell.stderr.encode(errors="replace"))
        if max(out_after, err_after) > _REPLACED * max_output_bytes:
            break
        out, err = out_after, err_after
        cells.append(cell)
        start = end + 1
    finished = len(cells)
    if finished < asked:
        cells.append(
            CellResult(stdout=_text(stdout, max_output_bytes - out), stderr=_text(stderr, max_output_bytes - err))
        )
    return replace(report, cells=cells, cells_finished=finished)


def _text(content: bytes, cap: int) -> str:
    return content[: max(0, cap)].decode("utf-8", errors="replace")


def _cell(line: str) -> CellResult:
    """Raises ValueError for what `cells.py` does not write."""
    value = json.loads(line, parse_constant=_refuse, parse_float=_finite)
    if not (isinstance(value, list) and len(value) == 4):
        raise ValueError("it is not a cell")
    stdout, stderr, display, error = value
    honest = (
        isinstance(stdout, str)
        and isinstance(stderr, str)
        and isinstance(display, list)
        and all(isinstance(item, dict) for item in display)
        and isinstance(error, list)
        and all(_is_error(item) for item in error)
    )
    if not honest:
        raise ValueError("it is not a cell")
    return CellResult(stdout, stderr, display, error)


def _is_error(item: object) -> bool:
    if not (isinstance(item, dict) and item.keys() == {"ename", "evalue", "traceback"}):
        return False
    texts = [item["ename"], item["evalue"], *(item["traceback"] if isinstance(item["traceback"], list) else [None])]
    return all(isinstance(text, str) for text in texts)


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("it is beyond all floats")
    return number


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
