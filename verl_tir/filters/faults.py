"""When what failed is too much to go on: trajectories that say nothing about the model, and loops that raise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from verl_tir.filters.groups import Judged


class OutageError(RuntimeError):
    """So many trajectories were aborted that the rest is no fair sample of the policy."""


class FailedRolloutsError(RuntimeError):
    """Too many agent loops raised: a programming or installation error, not a bad rollout."""


def check_aborted(items: Sequence[Judged], expected: int, allowed: float) -> None:
    """A dead sandbox aborts those that write code: training on the others would teach the model not to.

    Args:
        items: the trajectories so far.
        expected: the number of trajectories that the allowed share is a share of.
        allowed: `tir.filter.max_aborted_ratio`.

    Raises:
        OutageError: more were aborted, or all.
    """
    aborted = sum(item.row.aborted for item in items)
    if aborted > allowed * expected or 0 < aborted == expected:
        raise outage(items, expected, allowed)


def outage(items: Sequence[Judged], expected: int, allowed: float) -> OutageError:
    """The error that says which faults there were."""
    aborted = [item.stored.scored.trajectory for item in items if item.row.aborted]
    reasons = Counter(str(item.stop_reason) if item.aborted else "undecided reward" for item in aborted)
    faults = [item.fault for item in aborted if item.fault is not None]
    last = f"; last fault: {faults[-1]}" if faults else ""
    return OutageError(
        f"{len(aborted)} of the batch's {expected} trajectories say nothing about the model (allowed share: "
        f"tir.filter.max_aborted_ratio={allowed}): {dict(reasons)}{last}. Check the sandbox with "
        "verl-tir doctor, then resume from the last checkpoint"
    )


def check_failures(failed: int, batch_size: int, allowed: float) -> None:
    """Agent loops that raise are not trained around.

    Args:
        failed: prompt groups whose loop raised, of `batch_size`.
        batch_size: prompts of a batch.
        allowed: `tir.filter.max_failed_groups`.

    Raises:
        FailedRolloutsError: more raised than allowed.
    """
    if failed > allowed * batch_size:
        raise FailedRolloutsError(
            f"{failed} of {batch_size} prompt groups raised in the agent loop (allowed share: "
            f"tir.filter.max_failed_groups={allowed}). The traceback is in the log of "
            "AgentLoopWorkerTQ, at 'Error in _run_prompt'; 'Agent loop tir not registered' means that verl-tir is "
            "not installed on that worker's node"
        )
