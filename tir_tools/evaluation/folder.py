"""The folder of an evaluation: one process at a time works in it, and what a killed one left running is ended."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tir_tools.evaluation.command import DUMP
from tir_tools.files import replacing
from tir_tools.trainer import end_marked
from verl_tir.dump.format import DumpedTrajectory
from verl_tir.dump.reader import read_dump

_RUNNING = "running"
"""Holds the mark of the run of verl that is under way."""


class FolderInUseError(RuntimeError):
    """Another process evaluates in this folder."""


@contextmanager
def in_folder(folder: Path) -> Iterator[None]:
    """Work in a folder, made where it is not there.

    Raises:
        FolderInUseError: another process does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderInUseError(f"another verl-tir eval is at work in {folder}; wait for it, or stop it") from None
        running = folder / _RUNNING
        if running.is_file():
            # Whoever started it is gone, or would hold the lock; it would still write beside the next one.
            end_marked(running.read_text(encoding="utf-8"))
            running.unlink()
        yield


@contextmanager
def noted(folder: Path, mark: str) -> Iterator[None]:
    """Leave the mark of a run in the folder while it lasts."""
    (folder / _RUNNING).write_text(mark, encoding="utf-8")
    try:
        yield
    finally:
        (folder / _RUNNING).unlink()


def dumped(folder: Path) -> Iterator[DumpedTrajectory]:
    """The trajectories that the folder's runs have finished; none where there was no run."""
    dump = folder / DUMP
    return read_dump(dump) if any(dump.glob("val/*.jsonl")) else iter(())


def write_lines(file: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Write JSON lines, whole or not at all."""
    with replacing(file) as new, new.open("w", encoding="utf-8", errors="backslashreplace") as opened:
        for line in lines:
            opened.write(json.dumps(line, ensure_ascii=False) + "\n")
