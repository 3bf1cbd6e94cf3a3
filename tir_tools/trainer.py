"""verl's trainer as a subprocess: started, followed through its start-up, and ended with all that it started."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from uuid import uuid4

import psutil

logger = logging.getLogger(__name__)

ENGINE = "start vLLM"
"""The phase after which the engine is there."""

PHASES = (
    ("start Ray", "Started a local Ray instance"),
    ("start verl's task runner", "train and validate dataloader initialized"),
    ("start the FSDP trainer", "actor and ref model engine initialized"),
    ("start the reward worker", "reward loop manager initialized"),
    (ENGINE, "all initialize finished"),
    ("start the agent loop", "Creating file logger"),
    ("validate before training", "Initial validation metrics"),
)
"""Start-up phases in order, each with the words in verl's log that end it."""

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


@dataclass(slots=True)
class StartUp:
    """Seconds that each phase of the start took."""

    seconds: dict[str, float] = field(default_factory=dict)
    _last: float = 0.0

    def read(self, line: str, now: float) -> None:
        """Take one line of the log, seen `now` seconds after the launch."""
        for name, words in PHASES:
            if name not in self.seconds and words in line:
                self.seconds[name] = now - self._last
                self._last = now

    @property
    def current(self) -> str:
        """The phase under way."""
        return next((name for name, _ in PHASES if name not in self.seconds), "first step")


def last_lines(log: Path, count: int = 40) -> str:
    """The end of a log."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-count:])
