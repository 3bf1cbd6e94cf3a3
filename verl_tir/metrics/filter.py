"""What gates and rules did to one batch, as `tir/filter/...` metrics.

Counts end in `total`, which verl adds up where it makes several updates in a step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from verl_tir.metrics.summary import PREFIX
from verl_tir.sampler.finished_row import FinishedRow
from verl_tir.sampler.gates import UNTRAINABLE
from verl_tir.sampler.groups import Groups
from verl_tir.sampler.loss_plan import LossPlan, LossRule, MaskCause, MaskedTokens


def filter_metrics(
    rows: Sequence[FinishedRow],
    rule: LossRule,
    plan: LossPlan,
    tokens: MaskedTokens,
    groups: Groups,
    replaced: Sequence[FinishedRow],
    failed: int,
) -> dict[str, float]:
    """The metrics of one batch.

    Args:
        rows: of the batch, before anything was dropped.
        rule: what the plan was made by.
        plan: what was done with the rows.
        tokens: what was done with tokens of rows that train.
        groups: with the gates and the count of what was refused and refilled.
        replaced: rows of the groups that were replaced for the batch.
        failed: groups whose agent loop raised.
    """
    causes = plan.causes(rows, rule)
    counts = Counter(causes.values())
    sampled = [row for row in (*rows, *replaced) if not row.excluded]
    train = set(plan.train) - causes.keys()
    in_loss = sum(row.model_tokens for row in rows if row.key in train)
    names = (*(gate.name for gate in groups.gates), UNTRAINABLE)
    values: dict[str, float] = {
        "masked_rows/total": len(plan.mask),
        **{f"masked_rows/{cause}/total": counts[cause] for cause in MaskCause},
        "dropped_rows/total": len(plan.drop) + len(replaced),
        "loss_anchors/total": len(plan.loss_anchors),
        "updates_without_signal/total": plan.placeholder_row is not None,
        "failed_groups/total": failed,
        "refills/total": groups.budget.refilled,
        **{f"evicted_groups/{name}/total": groups.budget.refused[name] for name in names},
        "trimmed_rows/total": tokens.rows,
        "trimmed_tokens/total": tokens.tokens,
        "low_probability_ratio": tokens.low_probability / in_loss if in_loss else 0.0,
    }
    if sampled:
        # Of all that was rolled out: the gates leave another mean in the batch, and in verl's own reward metrics.
        values["sampled/reward_mean"] = sum(row.reward for row in sampled) / len(sampled)
        values["sampled/void_ratio"] = sum(row.void for row in sampled) / len(sampled)
    return {f"{PREFIX}filter/{name}": float(value) for name, value in values.items()}
