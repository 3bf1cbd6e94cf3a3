"""Starting verl's trainer so that everything it starts in turn can be found and ended again."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from uuid import uuid4

import psutil

logger = logging.getLogger(__name__)

_MARK = "VERL_TIR_RUN"
"""Environment variable that every process of a run inherits: Ray's daemons leave the trainer's process group."""
_GRACE_SECONDS = 10.0


class Launch:
    """A trainer and all that it started, as a context manager that leaves nothing behind."""

    def __init__(
        self, command: Sequence[str], log: Path, environment: Mapping[str, str], folder: Path | None = None
    ) -> None:
        """`environment` is added to this process's; the trainer runs in `folder`, or where this process does."""
        self.mark = uuid4().hex
        self.log = log
        self._command = list(command)
        self._folder = folder
        self._environment = {**os.environ, **environment, _MARK: self.mark}
        # Ray reads an empty value as "no accelerators at all", and then has no logical ones either.
        self._environment.pop("CUDA_VISIBLE_DEVICES", None)

    def __enter__(self) -> Launch:
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
                cwd=self._folder,
                # Ctrl-C goes to this process alone, which then ends the run in order.
                start_new_session=True,
            )
        return self

    def poll(self) -> int | None:
        """The trainer's exit status, or None while it runs."""
        return self._process.poll()

    def wait(self, seconds: float) -> int:
        """The trainer's exit status, once it has ended; raises subprocess.TimeoutExpired."""
        return self._process.wait(seconds)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            # Ray's driver shuts its cluster down on SIGINT.
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(_GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                logger.warning("the trainer did not stop within %.0f s and is killed", _GRACE_SECONDS)
        end_marked(self.mark)
        self._process.wait()


def end_marked(mark: str) -> int:
    """Kill every process of the run `mark`; returns how many there were."""
    marked = [process for process in psutil.process_iter() if _has_mark(process, mark)]
    for process in marked:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(marked, timeout=_GRACE_SECONDS)
    return len(marked)


def _has_mark(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get(_MARK) == mark
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return False
