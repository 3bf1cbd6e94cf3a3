"""When a run stops: beyond their shares, trajectories that were aborted, loops that raise and groups that are refused.

Answers that could not be compared are an alarm in the log: they leave the batch one by one, and the rest is as fair a
sample as before.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

from verl_tir.sampler.config import FilterConfig
from verl_tir.sampler.finished_row import FinishedRow
from verl_tir.sampler.groups import Groups
from verl_tir.sampler.loss_plan import LossPlan

logger = logging.getLogger(__name__)

_REMEDY = (
    "raise reward.custom_reward_function.reward_kwargs.timeout or .memory_limit_mb, or give the reward more processors"
)
_EXAMPLES = 3
"""Answers that the alarm shows."""


class OutageError(RuntimeError):
    """So many trajectories were aborted that the rest is not a fair sample of the policy."""


class DataCannotFillBatchError(RuntimeError):
    """So many prompt groups were refused that the data, as the model solves it now, will not fill a batch."""


class FailedRolloutsError(RuntimeError):
    """Too many agent loops raised: a programming or installation error, not a bad rollout."""


def check_aborted(rows: Sequence[FinishedRow], expected: int, allowed: float) -> None:
    """A dead sandbox aborts those that write code: training on the others would teach the model not to.

    An answer that could not be compared is not a fault of sandbox or engine, and does not count here.

    Args:
        rows: the trajectories so far.
        expected: the number of trajectories that the allowed share is a share of.
        allowed: `tir.filter.max_aborted_ratio`.

    Raises:
        OutageError: more were aborted, or all.
    """
    aborted = sum(row.aborted for row in rows)
    if aborted > allowed * expected or 0 < aborted == expected:
        raise outage(rows, expected, allowed)


def outage(rows: Sequence[FinishedRow], expected: int, allowed: float) -> OutageError:
    """The error that says which faults there were."""
    excluded = [row.trajectory for row in rows if row.excluded]
    reasons = Counter(str(item.stop_reason) if item.aborted else "undecided reward" for item in excluded)
    faults = [item.fault for item in excluded if item.fault is not None]
    last = f"; last fault: {faults[-1]}" if faults else ""
    remedies = []
    aborted = sum(item.aborted for item in excluded)
    if aborted or not excluded:
        remedies.append("Check the sandbox with verl-tir doctor")
    if aborted < len(excluded):
        remedies.append(f"For undecided rewards {_REMEDY}")
    return OutageError(
        f"{len(excluded)} of the batch's {expected} trajectories say nothing about the model ({aborted} aborted, where "
        f"tir.filter.max_aborted_ratio={allowed} allows {int(allowed * expected)}): {dict(reasons)}{last}. "
        f"{'. '.join(remedies)}. "
        "Then resume from the last checkpoint"
    )


def alarm_of_undecided(rows: Sequence[FinishedRow], allowed: float) -> bool:
    """Log an error where too many answers could not be compared with their ground truth; the run continues without.

    Args:
        rows: the batch, and those of groups that were replaced for it.
        allowed: `tir.filter.max_undecided_ratio`, a share of the trajectories with an answer.

    Returns:
        Whether there was reason to.
    """
    undecided = [row for row in rows if row.undecided]
    answered = sum(row.trajectory.answer is not None for row in rows)
    if len(undecided) <= allowed * max(answered, len(undecided)):
        return False
    longest = sorted(undecided, key=lambda row: len(row.trajectory.answer or ""), reverse=True)
    examples = [f"{row.key}: {row.trajectory.answer!r:.80}" for row in longest[:_EXAMPLES]]
    logger.error(
        "%d of %d answers could not be compared within the reward's bounds and left the batch (%.3f, allowed share: "
        "tir.filter.max_undecided_ratio=%g). Look at them: %s. If they are in order, %s",
        len(undecided),
        answered,
        len(undecided) / max(answered, len(undecided)),
        allowed,
        "; ".join(examples),
        _REMEDY,
    )
    return True


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


def check_plan(plan: LossPlan) -> LossPlan:
    """The plan, if it leaves a row.

    Raises:
        OutageError: every row is dropped.
    """
    if not plan.train and not plan.mask:
        raise OutageError("no prompt group of the batch has two trajectories left that can be used")
    return plan


def check_replaced(groups: Groups, filters: FilterConfig, batch_size: int, rollout_n: int) -> None:
    """A run does not replace groups for ever: what was replaced for a batch that is still collected is counted.

    Args:
        groups: with what was replaced since the last batch.
        filters: the allowed shares.
        batch_size: prompts of the batch.
        rollout_n: verl's `rollout.n`, the trajectories of a whole group.

    Raises:
        FailedRolloutsError: too many agent loops raised.
        OutageError: too many trajectories were aborted, or nothing but faults used up the refills.
        DataCannotFillBatchError: more groups were refused than `tir.filter.max_refills` allows.
    """
    check_failures(len(groups.raised), batch_size, filters.max_failed_groups)
    # The batch is still being collected: the share is that of the whole batch.
    expected = max(len(groups.replaced), batch_size * rollout_n)
    check_aborted(groups.replaced, expected, filters.max_aborted_ratio)
    if groups.budget.allows(0, batch_size):
        return
    if groups.budget.only_unsound():
        raise outage(groups.replaced, expected, filters.max_aborted_ratio)
    sound = [row.reward for row in groups.replaced if not row.excluded]
    raise DataCannotFillBatchError(groups.budget.complaint(groups.gates, batch_size, sum(sound) / len(sound)))
