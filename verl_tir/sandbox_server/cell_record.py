"""The worker's side of a notebook: where its cells leave their results, and what of that can be believed."""

import fcntl
import json
import os
from dataclasses import replace
from typing import NoReturn

from verl_tir.sandbox_server.cells import Notebook
from verl_tir.sandbox_server.frames import CellResult, Report, RunStatus
from verl_tir.sandbox_server.nameless import nameless_file

_DEPTH = 64  # levels of nesting in one display; far from where encoding it again would fail


class CellRecord:
    """Three files in memory that a notebook's process writes and that outlive it. To be closed."""

    def __init__(self, cells: list[str], cell_timeout: float, max_output_bytes: int) -> None:
        """Raises OSError when the machine is out of descriptors or memory."""
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
        self.notebook = Notebook(tuple(cells), cell_timeout, *fds, max_output_bytes)

    def added_to(self, report: Report) -> Report:
        """`report` with the results of the cells. Call when no process of the program is left.

        A cell that did not end is the last one, with what it has printed. What is not as `cells.py` writes it ends the
        record: only the program can have written it, and nothing after it is sure.
        """
        if report.status is RunStatus.ERROR:
            return report
        notebook = self.notebook
        cells: list[CellResult] = []
        for line in os.pread(notebook.record_fd, notebook.record_bytes, 0).splitlines()[: len(notebook.cells)]:
            cell = _cell(line)
            if cell is None:
                break
            cells.append(cell)
        finished = len(cells)
        if finished < len(notebook.cells):
            out = sum(len(cell.stdout.encode(errors="replace")) for cell in cells)
            err = sum(len(cell.stderr.encode(errors="replace")) for cell in cells)
            cells.append(
                CellResult(
                    stdout=_text(notebook.stdout_fd, notebook.max_output_bytes - out),
                    stderr=_text(notebook.stderr_fd, notebook.max_output_bytes - err),
                )
            )
        return replace(report, cells=cells, cells_finished=finished)

    def close(self) -> None:
        """Give the memory back."""
        for fd in self.notebook.fds:
            os.close(fd)


def _text(fd: int, cap: int) -> str:
    return os.pread(fd, max(0, cap), 0).decode("utf-8", errors="replace")


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
    raise ValueError(f"{name} is no JSON")
