"""Programs that find what the earlier ones of their trajectory left, because those run again before them.

One program is sent: a driver with the sources of the earlier programs and of the new one. It runs the earlier ones with
standard output and error on the null device, writes a mark, and runs the new one. What stands before the mark is
dropped, so that even a program that finds a way around the null device is not heard twice.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

from verl_tir.rollout.observation import ProgramRun
from verl_tir.trajectory import Outcome

logger = logging.getLogger(__name__)

# It runs with names and builtins of its own, for a program may call anything `len` or `open`. Every source is compiled
# by itself, so that its `from __future__` imports and its line numbers are its own.
_DRIVER = """\
import linecache, os, sys

me, streams, leave = os.getpid(), [sys.stdout, sys.stderr], os._exit


def run(number, source):
    name = f"<program {number}>"
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)
    exec(compile(source, name, "exec", dont_inherit=True), shared)


def quiet_leave(code):
    if os.getpid() != me:
        leave(code)
    raise SystemExit(code)


def restore_streams():
    for stream in (*streams, sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass
    for place, stream in enumerate(streams):
        if stream.closed:
            streams[place] = open(place + 1, "w", encoding="utf-8", closefd=False)
    sys.stdout, sys.stderr = streams


def replay():
    null, heard, failed = os.open(os.devnull, os.O_WRONLY), (os.dup(1), os.dup(2)), []
    for number, source in enumerate(earlier, 1):
        os.dup2(null, 1), os.dup2(null, 2)
        os._exit = quiet_leave
        try:
            run(number, source)
        except SystemExit as leaving:
            if leaving.code not in (None, 0):
                failed.append(number)
        except BaseException:
            failed.append(number)
        os._exit = leave
        if os.getpid() != me:
            leave(0)
        os.dup2(null, 1), os.dup2(null, 2)
        restore_streams()
    os.dup2(heard[0], 1), os.dup2(heard[1], 2)
    for fd in (null, *heard):
        os.close(fd)
    return failed


def report(kind, error, trace):
    while trace is not None and not trace.tb_frame.f_code.co_filename.startswith("<program "):
        trace = trace.tb_next
    sys.__excepthook__(kind, error.with_traceback(trace), trace)


failed = replay()
sys.excepthook = report
os.write(1, f"{mark}{failed}\\n".encode())
run(len(earlier) + 1, newest)
"""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What the output of a driver says."""

    stdout: str
    """Of the new program."""
    failed: tuple[int, ...]
    """Which of the earlier programs failed this time, counted from 1."""


def replay_program(earlier: Sequence[str], newest: str, mark: str) -> str:
    """A program that runs `earlier` unheard, writes `mark`, and runs `newest`."""
    return (
        f"exec(compile({_DRIVER!a}, '<session>', 'exec'), {{'__builtins__': dict(vars(__import__('builtins'))), "
        f"'shared': globals(), 'earlier': {list(earlier)!a}, 'newest': {newest!a}, 'mark': {mark!a}}})\n"
    )


def read_replay(stdout: str, mark: str) -> Replayed | None:
    """Take a driver's output apart; None where it ended before the new program began."""
    _, found, rest = stdout.partition(mark)
    numbers, newline, shown = rest.partition("\n")
    if not found or not newline:
        return None
    return Replayed(shown, tuple(int(number) for number in numbers.strip("[]").split(",") if number))


@dataclass(slots=True)
class ReplaySession:
    """The programs of one trajectory; those that succeeded run again before each later one.

    A program that fails when it is run again (it drew another random number, say) leaves what it did until then, is
    counted in the log, and is tried again next time. When the earlier programs end the process before the new one
    begins, the new program runs by itself, and the session goes on from there. The time limit is that of all together:
    earlier programs that use it up leave the new one none, and the model is told of a timeout.
    """

    run_program: Callable[[str], Awaitable[ProgramRun]]
    """Runs a program in a process of its own; raises SandboxFault."""
    _earlier: list[str] = field(default_factory=list)

    async def run(self, program: str) -> ProgramRun:
        """Run the next program. Raises SandboxFault; the session is then as it was before."""
        run = await self._run(program)
        if run.outcome is Outcome.SUCCESS:
            self._earlier.append(program)
        return run

    async def _run(self, program: str) -> ProgramRun:
        if not self._earlier:
            return await self.run_program(program)
        # Drawn for each call, so that no program can write it.
        mark = f"session {secrets.token_hex(16)} "
        run = await self.run_program(replay_program(self._earlier, program, mark))
        seen = read_replay(run.stdout, mark)
        if seen is not None:
            if seen.failed:
                logger.warning("%d of %d replayed programs failed this time", len(seen.failed), len(self._earlier))
            return replace(run, stdout=seen.stdout)
        if run.outcome is Outcome.TIME_LIMIT:
            return replace(run, stdout="", stderr="")
        logger.warning("%d replayed programs ended the process (%s): starting afresh", len(self._earlier), run.outcome)
        fresh = await self.run_program(program)
        self._earlier.clear()
        return fresh
