"""What gates and rules did to one batch, as `tir/filter/...` metrics.

Counts end in `total`, which verl adds up where it makes several updates in a step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from verl_tir.metrics.summary import PREFIX
from verl_tir.sampler.finished_row import FinishedRow
from verl_tir.sampler.gates import Gate
from verl_tir.sampler.loss_plan import LossPlan, LossRule, MaskCause
from verl_tir.sampler.refill import UNTRAINABLE, RefillBudget
from verl_tir.sampler.trim import Trimmed


def filter_metrics(
    rows: Sequence[FinishedRow],
    evicted: Sequence[FinishedRow],
    rule: LossRule,
    plan: LossPlan,
    trimmed: Trimmed,
    budget: RefillBudget,
    gates: Sequence[Gate],
    failed: int,
) -> dict[str, float]:
    """The metrics of one batch.

    Args:
        rows: of the batch, before anything was dropped.
        evicted: of the groups that were replaced for it.
        rule: what the plan was made by.
        plan: what was done with the rows.
        trimmed: what was done with tokens of rows that train.
        budget: the count of what was replaced.
        gates: those in force.
        failed: groups whose agent loop raised.
    """
    masked = set(plan.mask) | {plan.signal_anchor}
    causes = Counter(rule.mask_cause(row) or MaskCause.EMPTY for row in rows if row.key in masked)
    sampled = [row for row in (*rows, *evicted) if not row.excluded]
    train = set(plan.train) - masked
    in_loss = sum(row.model_tokens for row in rows if row.key in train)
    values: dict[str, float] = {
        "masked_rows/total": len(plan.mask),
        **{f"masked_rows/{cause}/total": causes[cause] for cause in MaskCause},
        "dropped_rows/total": len(plan.drop) + len(evicted),
        "loss_anchors/total": len(plan.loss_anchors),
        "updates_without_signal/total": plan.signal_anchor is not None,
        "failed_groups/total": failed,
        "refills/total": budget.submitted,
        **{f"evicted_groups/{name}/total": budget.evicted[name] for name in (*(g.name for g in gates), UNTRAINABLE)},
        "trimmed_rows/total": trimmed.rows,
        "trimmed_tokens/total": trimmed.tokens,
        "low_probability_ratio": trimmed.low_probability / in_loss if in_loss else 0.0,
    }
    if sampled:
        # Of all that was rolled out: the gates leave another mean in the batch, and in verl's own reward metrics.
        values["sampled/reward_mean"] = sum(row.reward for row in sampled) / len(sampled)
        values["sampled/void_ratio"] = sum(row.void for row in sampled) / len(sampled)
    return {f"{PREFIX}filter/{name}": float(value) for name, value in values.items()}


def reasons_of(
    rows: Sequence[FinishedRow],
    evicted: Sequence[FinishedRow],
    evicted_by: Mapping[str, str],
    rule: LossRule,
    plan: LossPlan,
) -> dict[str, str]:
    """Why trajectories are not trained on, by key: the gate that refused their group, or the cause of their mask.

    Args:
        rows: of the batch.
        evicted: of the groups that were replaced for it.
        evicted_by: what refused these groups, by `uid`.
        rule: what the plan was made by.
        plan: what was done with the rows.
    """
    masked = set(plan.mask)
    found = {row.key: evicted_by[row.uid] for row in evicted if row.uid in evicted_by}
    return found | {row.key: rule.mask_cause(row) or MaskCause.EMPTY for row in rows if row.key in masked}
