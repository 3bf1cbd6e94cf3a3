"""What a trajectory's programs keep from one turn to the next: `tir.sandbox.session`.

A sandbox runs every program in a process of its own. A session gives the programs of one trajectory a state all the
same, by running the earlier ones again before the new one: no process outlives its call, so a trajectory needs no
server of its own, and one that is retried elsewhere finds its state there. The price is program time that grows with
the square of the turns; docs/sessions.md says what is kept and what it costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

from sandbox_client import JupyterExecution
from verl_tir.rollout.notebook import NotebookSession
from verl_tir.rollout.observation import ProgramRun
from verl_tir.rollout.replay import ReplaySession


class SessionKind(StrEnum):
    """What the next program finds of the earlier ones."""

    NONE = "none"
    """Nothing: each program is a fresh process (SimpleTIR, ToRL)."""
    REPLAY = "replay"
    """The names that successful programs have left; they run again, unheard, in the new program's process."""
    JUPYTER = "jupyter"
    """A notebook: all cells so far run again in a new kernel, and the value of a last expression is shown."""


class Session(Protocol):
    """The programs of one trajectory."""

    async def run(self, program: str) -> ProgramRun:
        """Run the next program. Raises SandboxFault when the service failed; the session is then as it was before."""
        ...


class Backend(Session, Protocol):
    """A sandbox without memory."""

    async def run_cells(self, cells: Sequence[str]) -> JupyterExecution:
        """Run cells in a new kernel. Raises SandboxFault when the service failed."""
        ...


def open_session(kind: SessionKind, sandbox: Backend) -> Session:
    """A session for one trajectory."""
    match kind:
        case SessionKind.NONE:
            return sandbox
        case SessionKind.REPLAY:
            return ReplaySession(sandbox.run)
        case SessionKind.JUPYTER:
            return NotebookSession(sandbox.run_cells)
