"""One scoring worker, seen from the pool: start it, ask it, end it."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass

from math_answers.verdict import Verdict

READY = "ready"
"""What a worker sends first."""
MAX_WORKERS = 1024
"""Of one pool; each is a process."""
# Seconds. Importing sympy takes one or two; a cold network file system under load can take a minute.
START_TIMEOUT = 120.0
# An address space below this does not hold the imports alone.
MIN_MEMORY_LIMIT_MB = 256
# 16 TiB, more than a machine has; the kernel does not take every number.
MAX_MEMORY_LIMIT_MB = 2**24
# Seconds; a day. Timers do not take every number.
MAX_TIMEOUT = 86_400.0


class ScoringError(RuntimeError):
    """Scoring is not possible, whatever the answer."""


class WorkerStartError(ScoringError):
    """The worker program does not come up here."""


class WorkerLostError(ScoringError):
    """A worker gave no verdict, and is of no more use."""


class WorkerDiedError(WorkerLostError):
    """It died: by what it compared, or by no fault of that."""


class OutOfTimeError(WorkerLostError):
    """It did not come to an end in time."""


@dataclass(frozen=True)
class PoolLimits:
    """What a pool and each of its comparisons may use."""

    workers: int = 1
    """Comparisons at the same time, one process each."""

    timeout: float = 5.0
    """Wall time of one comparison, in seconds. The worker's start-up does not count."""
    memory_limit_mb: int = 2048
    """Address space of the worker process, in MiB."""

    def __post_init__(self) -> None:
        """Raises ValueError where one is not a number or out of range; the message begins with its name."""
        if isinstance(self.workers, bool) or not isinstance(self.workers, int) or not 1 <= self.workers <= MAX_WORKERS:
            raise ValueError(f"workers={self.workers!r} must be a whole number from 1 to {MAX_WORKERS}")
        if isinstance(self.timeout, bool) or not isinstance(self.timeout, int | float):
            raise ValueError(f"timeout={self.timeout!r} must be a number, of seconds for one comparison")
        if not 0 < self.timeout <= MAX_TIMEOUT:
            raise ValueError(
                f"timeout={self.timeout!r} (seconds for one comparison) must be above 0 and at most {MAX_TIMEOUT:g}"
            )
        if isinstance(self.memory_limit_mb, bool) or not isinstance(self.memory_limit_mb, int):
            raise ValueError(f"memory_limit_mb={self.memory_limit_mb!r} must be a whole number, of MiB")
        if not MIN_MEMORY_LIMIT_MB <= self.memory_limit_mb <= MAX_MEMORY_LIMIT_MB:
            raise ValueError(
                f"memory_limit_mb={self.memory_limit_mb!r} must be at least {MIN_MEMORY_LIMIT_MB} and at most "
                f"{MAX_MEMORY_LIMIT_MB}"
            )


class WorkerProcess:
    """A running worker and its socket. Belongs to one event loop."""

    def __init__(self, process: "subprocess.Popen[bytes]", reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self._process = process
        self._reader = reader
        self._writer = writer
        self.served = 0
        """Comparisons that this worker has answered."""

    @classmethod
    async def start(cls, limits: PoolLimits) -> "WorkerProcess":
        """Start a worker and wait until it is ready.

        Raises:
            WorkerStartError: it exited or stayed silent; what it had to say is on this process's stderr.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            # The process last: whatever ends this coroutine before, there is nothing yet to end.
            reader, writer = await asyncio.open_connection(sock=ours)
            try:
                process = _spawn(theirs.fileno(), limits)
            except OSError as error:
                writer.close()
                raise WorkerStartError(f"scoring worker cannot be started: {error}") from error
        worker = cls(process, reader, writer)
        ready = False
        try:
            async with asyncio.timeout(START_TIMEOUT):
                ready = await worker._receive() == READY
        except (TimeoutError, ConnectionError) as error:
            raise WorkerStartError(f"scoring worker not ready after {START_TIMEOUT} s: {error!r}") from error
        finally:
            if not ready:
                worker.end()
        if not ready:
            raise WorkerStartError(
                f"scoring worker {process.pid} exited at start-up; its error is above in this process's stderr "
                "(is math-verify installed for this interpreter?)"
            )
        return worker

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None and not self._reader.at_eof()

    async def compare(self, answer: str, accepted: list[str] | None, timeout: float) -> Verdict:
        """The worker's verdict, within `timeout` seconds. After an exception the worker is of no more use.

        Raises:
            OutOfTimeError: no verdict came in time.
            WorkerDiedError: none will come.
        """
        try:
            async with asyncio.timeout(timeout):
                self._writer.write(json.dumps([answer, accepted]).encode() + b"\n")
                await self._writer.drain()
                reply = await self._receive()
        except TimeoutError as error:
            raise OutOfTimeError(f"no verdict within {timeout} s") from error
        except ConnectionError as error:
            raise WorkerDiedError(f"worker {self.pid} died") from error
        if reply is None:
            raise WorkerDiedError(f"worker {self.pid} died")
        self.served += 1
        return Verdict(reply)

    def end(self) -> None:
        """Kill the process and close the socket."""
        self._writer.close()
        self._process.kill()
        # Reaped in a thread: a large process takes its time to go.
        asyncio.get_running_loop().run_in_executor(None, self._process.wait)

    async def _receive(self) -> str | None:
        line = await self._reader.readline()
        return json.loads(line) if line.endswith(b"\n") else None


def _spawn(descriptor: int, limits: PoolLimits) -> "subprocess.Popen[bytes]":
    command = [
        sys.executable,
        "-m",
        "math_answers.worker",
        f"--socket={descriptor}",
        f"--parent={os.getpid()}",
        f"--timeout={limits.timeout}",
        f"--memory-limit-mb={limits.memory_limit_mb}",
    ]
    # Ray puts a job's packages on sys.path, not in the environment; a worker must find what its parent finds.
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=[descriptor],
        env={**os.environ, "PYTHONPATH": path},
    )
