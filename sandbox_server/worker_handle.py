"""The server's end of one worker."""

import asyncio
import fcntl
import sys
import termios
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sandbox_server.frames import Cancel, Hello, Job, Malformed, ProgramReport, ProgramStatus, pack
from sandbox_server.job_codec import ReplyBounds, pack_job, receive_async, receive_report

_Answer = TypeVar("_Answer")

_HELLO_PATIENCE = 10.0  # seconds for a fork and a handful of system calls
_HELLO_BYTES = 1 << 16
# Seconds beyond a job's own limit after which its worker counts as lost: more than what killing may take it, and less
# than the five by which a client, unless told otherwise, waits for longer than the program may run.
_OVERTIME = 4.0


class WorkerLost(Exception):
    """A worker, or the zygote that should make one, ended or fell silent."""


class OrderNotTaken(WorkerLost):
    """A worker ended or fell silent before it had all of its order, so that no program has run."""


class WorkerHandle:
    """The server's end of one worker."""

    def __init__(
        self, index: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, bounds: ReplyBounds
    ) -> None:
        self.index = index
        self._reader = reader
        self._writer = writer
        self._bounds = bounds

    async def run(self, job: Job) -> ProgramReport:
        """Run `job` and return its report; raises WorkerLost, and of these OrderNotTaken.

        A worker that has taken the job and is silent long after its time limit is held up by the program: that is the
        program's time limit, and a residue.
        """
        started = time.monotonic()
        try:
            return await self._exchange(
                pack_job(job), lambda: receive_report(self._reader, job, self._bounds), job.run_timeout + _OVERTIME
            )
        except TimeoutError as error:
            if self._unread_bytes():
                raise OrderNotTaken("it does not take orders") from error
            return ProgramReport(
                ProgramStatus.TIME_LIMIT, execution_time=time.monotonic() - started, residue="it fell silent"
            )
        except ConnectionError as error:
            # Not the end of the stream: the kernel resets a connection when what was sent has not been read.
            raise OrderNotTaken(_words(error)) from error
        except (EOFError, OSError, Malformed) as error:
            raise WorkerLost(_words(error)) from error

    async def hello(self) -> None:
        """Wait for the worker's first frame; raises WorkerLost when it is not a good one."""
        try:
            frame, _ = await self._exchange(b"", lambda: receive_async(self._reader, _HELLO_BYTES), _HELLO_PATIENCE)
        except (EOFError, OSError, Malformed) as error:  # TimeoutError is an OSError
            raise WorkerLost(_words(error)) from error
        if not (isinstance(frame, Hello) and frame.ready):
            raise WorkerLost(getattr(frame, "detail", "") or "it did not say hello")

    @property
    def alive(self) -> bool:
        """Whether the worker has not hung up."""
        return not self._reader.at_eof()

    def cancel(self) -> None:
        """Have the running program killed; the report still comes."""
        self._writer.write(pack(Cancel()))

    def close(self) -> None:
        """End the worker, and with it the program that it runs."""
        self._writer.close()

    async def _exchange(self, message: bytes, receive: Callable[[], Awaitable[_Answer]], patience: float) -> _Answer:
        self._writer.write(message)
        async with asyncio.timeout(patience):
            await self._writer.drain()
            return await receive()

    def _unread_bytes(self) -> int:
        """How much of what was sent the worker has not read."""
        sock = self._writer.get_extra_info("socket")
        queued = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4))
        return self._writer.transport.get_write_buffer_size() + int.from_bytes(queued, sys.byteorder)


def _words(error: Exception) -> str:
    return f"{type(error).__name__} {error}".strip()
