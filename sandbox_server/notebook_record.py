"""What a notebook's process left of its cells, on the server's side: how much it may be, and what can be believed."""

import json
from dataclasses import replace
from typing import NoReturn

from sandbox_server.frames import CellResult, Report, RunStatus

_DEPTH = 64  # levels of nesting in one display; far from where encoding it again would fail


def shown_bytes(max_output_bytes: int) -> int:
    """Bytes of JSON that displays and errors may take, of all cells together."""
    return 4 * max_output_bytes


def record_bytes(cells: int, max_output_bytes: int) -> int:
    """Bytes that an honest record takes at most: in JSON, a byte of output may become six."""
    return 12 * max_output_bytes + shown_bytes(max_output_bytes) + 1024 * cells


def with_cells(
    report: Report, asked: int, max_output_bytes: int, record: bytes, stdout: bytes, stderr: bytes
) -> Report:
    """`report` on a notebook of `asked` cells with their results.

    A cell that did not end is the last one, with what it has printed: `stdout` and `stderr`. What in the record is not
    as `cells.py` writes it ends it: only the program can have written it, and nothing after it is sure.
    """
    if report.status is RunStatus.ERROR:
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
    raise ValueError(f"{name} is no JSON")
