"""How far a run is, and how it ended."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

EXIT_STATUS_FILE = "exit_status.txt"
"""Written by the demo when verl has ended: its exit status."""

_TAIL_BYTES = 1 << 18
_ERROR = re.compile(r"(?:^|[\s:)])(?:[\w.]+\.)?([A-Z]\w*(?:Error|Exception|Interrupt)): (.+)$")
_RAYS_OWN = ("RayTaskError", "ActorDiedError", "RayActorError")
"""What Ray wraps around the error of a task."""


class RunState(StrEnum):
    """Whether a run goes on."""

    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"
    """By Ctrl-C."""
    OPEN = "in progress"
    """Or ended without a word: its files do not say."""


@dataclass(frozen=True, slots=True)
class RunProgress:
    state: RunState
    last_step: int | None
    total_steps: int | None
    """None where the launch did not name them."""
    written: datetime | None
    """When its metrics were last written to (UTC)."""
    error: str | None
    """The last error in its log, where it failed."""


def read_status(
    folder: Path | None, log: Path | None, metrics: tuple[Path, ...], last_step: int | None, total_steps: int | None
) -> RunProgress:
    """From the exit status that the demo leaves, else from the log and the steps done.

    Args:
        folder: the run's.
        log: of verl's output; None or a missing file where there is none.
        metrics: files of verl's file logger.
        last_step: the last one in them.
        total_steps: how many were asked for.
    """
    times = [path.stat().st_mtime for path in metrics if path.exists()]
    written = datetime.fromtimestamp(max(times), UTC) if times else None
    code = _exit_status(folder)
    error = None
    if code is not None:
        state = {0: RunState.FINISHED, 130: RunState.STOPPED}.get(code, RunState.FAILED)
    elif last_step is not None and total_steps is not None and last_step >= total_steps:
        state = RunState.FINISHED
    else:
        error = _last_error(log) if _has_ended(log) else None
        state = RunState.OPEN if error is None else RunState.FAILED
    if state is RunState.FAILED and error is None:
        error = _last_error(log)
    return RunProgress(state, last_step, total_steps, written, error)


def _exit_status(folder: Path | None) -> int | None:
    path = None if folder is None else folder / EXIT_STATUS_FILE
    if path is None or not path.is_file():
        return None
    text = path.read_text(encoding="utf-8").strip()
    return int(text) if re.fullmatch(r"-?\d+", text) else None


def _tail(log: Path | None) -> list[str]:
    if log is None or not log.is_file():
        return []
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        return file.read().decode("utf-8", "replace").splitlines()


def _has_ended(log: Path | None) -> bool:
    """Hydra prints this last, where the main function raised."""
    return any("Set the environment variable HYDRA_FULL_ERROR" in line for line in _tail(log)[-20:])


def _last_error(log: Path | None) -> str | None:
    """The last error of the program's own, as `Name: message`."""
    found = [match for line in _tail(log) if (match := _ERROR.search(line))]
    own = [match for match in found if not match[1].startswith(_RAYS_OWN)]
    return f"{own[-1][1]}: {own[-1][2]}" if own else None
