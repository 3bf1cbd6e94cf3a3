"""Everything that stands out in a run."""

from __future__ import annotations

from tir_tools.report.history import History
from tir_tools.report.marks import learning, sandbox, stability
from tir_tools.report.marks.mark import Level, Mark, RunFinding, look
from tir_tools.report.status import RunProgress, RunState

MARKS: tuple[Mark, ...] = (
    sandbox.SandboxFaults(),
    sandbox.Aborted(),
    stability.Undecided(),
    stability.NoSignal(),
    learning.VoidTrained(),
    learning.RewardFalls(),
    learning.OneTurn(),
    learning.ToolDecay(),
    learning.VoidRising(),
    stability.GradientSpikes(),
    stability.LateTurnsImprobable(),
    stability.ImportanceRatio(),
    stability.Overlong(),
    sandbox.EndpointsOut(),
    sandbox.SandboxSlow(),
    sandbox.CodeFails(),
    stability.GroupsAlike(),
    stability.FilterTakesGoodWork(),
    sandbox.OutputCut(),
)
"""All rules; of findings that are equally bad, those named first come first."""

_ADVICE = {
    "OutageError": "The sandbox or the engine lost too many trajectories. Repair it, check with verl-tir doctor and "
    "the launch's overrides, and resume from the last checkpoint.",
    "DataCannotFillBatchError": "The gates refused too many groups: the problems are too hard or too easy for this "
    "model. The message names the counts and the settings.",
    "OutOfMemoryError": "Lower the micro-batch, the response length or the engine's share of the memory.",
}


def findings_of(history: History, status: RunProgress) -> list[RunFinding]:
    """What stands out, the worst first; that a run ended with an error before all else."""
    found = look(history, MARKS)
    if status.state is not RunState.FAILED:
        return found
    error = status.error or "Its log names no error."
    name = error.partition(":")[0]
    after = "before its first step" if status.last_step is None else f"after step {status.last_step}"
    last = (status.last_step, status.last_step) if status.last_step is not None else None
    failed = RunFinding(
        "run failed",
        Level.PROBLEM,
        f"The run ended with an error {after}",
        error[:600],
        _ADVICE.get(
            name, "The traceback is in the run's log; docs/troubleshooting.md explains the plugin's own errors."
        ),
        "stop",
        last,
    )
    return [failed, *found]
