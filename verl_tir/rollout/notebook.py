"""Programs as the cells of a notebook: all cells so far run again in a new kernel, and the last one is looked at."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from sandbox_client import CellError, CellExecution, Execution, ExecutionStatus, JupyterExecution
from verl_tir.rollout.observation import ProgramRun
from verl_tir.trajectory import Outcome, SandboxCall

logger = logging.getLogger(__name__)

# IPython draws tracebacks with colours for a terminal.
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_ENDED = "KernelDied: the notebook's kernel ended in this program"


def sandbox_call(execution: Execution | JupyterExecution) -> SandboxCall:
    """Where the time of a call went."""
    return SandboxCall(
        wait=execution.wait,
        connect=execution.connect,
        queue=execution.queue,
        run=execution.run,
        attempts=execution.attempts,
    )


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
    it would do so again. When an earlier cell ends the kernel, the new one runs by itself, and the session goes on from
    there.
    """

    run_cells: Callable[[Sequence[str]], Awaitable[JupyterExecution]]
    """Runs cells in a new kernel; raises SandboxFault."""
    _cells: list[str] = field(default_factory=list)

    async def run(self, program: str) -> ProgramRun:
        """Run the next cell. Raises SandboxFault; the session is then as it was before."""
        cells = [*self._cells, program]
        execution = await self.run_cells(cells)
        if execution.status is ExecutionStatus.TIME_LIMIT:
            return last_cell(execution, len(cells))
        # A cell that ends the kernel is still answered; those behind it are not.
        if self._cells and len(execution.cells) < len(cells):
            logger.warning("%d earlier cells ended the kernel: starting afresh", len(self._cells))
            cells = [program]
            execution = await self.run_cells(cells)
        run = last_cell(execution, len(cells))
        self._cells = [] if run.outcome is Outcome.TIME_LIMIT else cells
        return run
