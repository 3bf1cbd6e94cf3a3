"""What a trajectory's programs keep from one turn to the next: `tir.sandbox.session`.

A sandbox runs every program in a process of its own. A session gives the programs of one trajectory a state all the
same, by running the earlier ones again before the new one: no process outlives its call, so a trajectory needs no
server of its own, and one that is retried elsewhere finds its state there. The price is program time that grows with
the square of the turns; docs/sessions.md says what is kept and what it costs.

`replay` sends one program: a driver with the sources of the earlier programs and of the new one. It runs the earlier
ones with standard output and error on the null device, writes a mark, and runs the new one. What stands before the mark
is dropped, so that even a program that finds a way around the null device is not heard twice. `jupyter` sends all
programs as cells, and the last one is looked at.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from sandbox_client import CellError, CellExecution, Execution, ExecutionStatus, JupyterExecution
from verl_tir.rollout.observation import ProgramRun
from verl_tir.trajectory import Outcome, SandboxCall

logger = logging.getLogger(__name__)


class SessionKind(StrEnum):
    """What the next program finds of the earlier ones."""

    NONE = "none"
    """Nothing: each program is a fresh process (SimpleTIR, ToRL)."""
    REPLAY = "replay"
    """The names that successful programs have left; they run again, unheard, in the new program's process."""
    JUPYTER = "jupyter"
    """A notebook: all cells so far run again in a new kernel, and the value of a last expression is shown."""


RunProgram = Callable[[str], Awaitable[ProgramRun]]
"""Runs a program. Raises SandboxFault when the service, not the program, failed; a session is then as it was before."""
RunCells = Callable[[Sequence[str]], Awaitable[JupyterExecution]]
"""Runs cells in a new kernel; raises SandboxFault."""


def open_session(kind: SessionKind, run_program: RunProgram, run_cells: RunCells) -> RunProgram:
    """What runs the programs of one trajectory, given a sandbox without memory."""
    match kind:
        case SessionKind.NONE:
            return run_program
        case SessionKind.REPLAY:
            return ReplaySession(run_program).run
        case SessionKind.JUPYTER:
            return NotebookSession(run_cells).run


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


def replay_program(earlier: Sequence[str], newest: str, mark: str) -> str:
    """A program that runs `earlier` unheard, writes `mark`, and runs `newest`."""
    return (
        f"exec(compile({_DRIVER!a}, '<session>', 'exec'), {{'__builtins__': dict(vars(__import__('builtins'))), "
        f"'shared': globals(), 'earlier': {list(earlier)!a}, 'newest': {newest!a}, 'mark': {mark!a}}})\n"
    )


def find_mark(stdout: str, mark: str) -> re.Match[str] | None:
    """The line of the mark in a driver's output; None where it ended before the new program began. Its group has the
    numbers of the earlier programs that failed this time, counted from 1."""
    return re.search(rf"{mark}\[([\d, ]*)\]\n", stdout)


@dataclass(slots=True)
class ReplaySession:
    """The programs of one trajectory; those that succeeded run again before each later one.

    A program that fails when it is run again (it drew another random number, say) leaves what it did until then, is
    counted in the log, and is tried again next time. When the earlier programs end the process before the new one
    begins, the new program runs by itself, and the session continues from there. All share one time limit:
    earlier programs that use it up leave the new one none, and the model is told of a timeout.
    """

    run_program: RunProgram
    _earlier: list[str] = field(default_factory=list)

    async def run(self, program: str) -> ProgramRun:
        """Run the next program."""
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
        found = find_mark(run.stdout, mark)
        if found is not None:
            if found[1]:
                failed = found[1].count(",") + 1
                logger.warning("%d of %d replayed programs failed this time", failed, len(self._earlier))
            return replace(run, stdout=run.stdout[found.end() :])
        if run.outcome is Outcome.TIME_LIMIT:
            return replace(run, stdout="", stderr="")
        logger.warning("%d replayed programs ended the process (%s): starting afresh", len(self._earlier), run.outcome)
        fresh = await self.run_program(program)
        self._earlier.clear()
        return fresh


# IPython draws tracebacks with colours for a terminal.
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_ENDED = "KernelDied: the notebook's kernel ended in this program"


def sandbox_call(execution: Execution | JupyterExecution) -> SandboxCall:
    """Where the time of a call went."""
    return SandboxCall(execution.wait, execution.connect, execution.queue, execution.run, execution.attempts)


def last_cell(execution: JupyterExecution, cells: int) -> ProgramRun:
    """The run of the last of `cells` cells.

    stdout is what it printed and then what it displayed, the value of its last expression included, as text. stderr
    ends with the exception's own line, as a program's does.
    """
    call = sandbox_call(execution)
    if execution.status is ExecutionStatus.TIME_LIMIT:
        return ProgramRun(Outcome.TIME_LIMIT, "", "", None, call)
    if len(execution.cells) < cells:
        return ProgramRun(Outcome.FAILED, "", f"{_ENDED}\n", execution.return_code, call)
    cell = execution.cells[-1]
    outcome = _outcome(cell.error)
    return ProgramRun(outcome, _shown(cell), _errors(cell), 0 if outcome is Outcome.SUCCESS else 1, call)


def _outcome(errors: Sequence[CellError]) -> Outcome:
    if not errors:
        return Outcome.SUCCESS
    last = errors[-1]
    if last.ename == "SystemExit" and last.evalue in ("", "None", "0"):
        return Outcome.SUCCESS
    return Outcome.MEMORY_LIMIT if last.ename.endswith("MemoryError") else Outcome.FAILED


def _shown(cell: CellExecution) -> str:
    text = cell.stdout
    for content in cell.display:
        plain = content.get("text/plain")
        if isinstance(plain, str):
            text += ("" if not text or text.endswith("\n") else "\n") + f"{plain}\n"
    return text


def _errors(cell: CellExecution) -> str:
    lines = cell.stderr.splitlines()
    for error in cell.error:
        lines += _COLOUR.sub("", "\n".join(error.traceback)).splitlines()
        if not lines or not lines[-1].startswith(error.ename):
            lines.append(f"{error.ename}: {error.evalue}" if error.evalue else error.ename)
    return "".join(f"{line}\n" for line in lines)


@dataclass(slots=True)
class NotebookSession:
    """The cells of one trajectory.

    A cell that raised stays, as in a notebook, and so does what it did until then. One that ran out of time does not:
    it would do so again. When an earlier cell ends the kernel, the new one runs by itself, and the session continues
    from there.
    """

    run_cells: RunCells
    _cells: list[str] = field(default_factory=list)

    async def run(self, program: str) -> ProgramRun:
        """Run the next cell."""
        cells = [*self._cells, program]
        execution = await self.run_cells(cells)
        if execution.status is ExecutionStatus.TIME_LIMIT:
            return last_cell(execution, len(cells))
        # A cell that ends the kernel is still answered; those after it are not.
        if self._cells and len(execution.cells) < len(cells):
            logger.warning("%d earlier cells ended the kernel: starting afresh", len(self._cells))
            cells = [program]
            execution = await self.run_cells(cells)
        run = last_cell(execution, len(cells))
        self._cells = [] if run.outcome is Outcome.TIME_LIMIT else cells
        return run
