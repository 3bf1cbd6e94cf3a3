"""The void rule: which rows of a batch train, which stay in the baseline only, and which leave the batch.

SimpleTIR, section 3.3: a trajectory with a void turn is removed from the policy update and kept in the advantage
estimation. verl computes GRPO's advantages from `rm_scores` without looking at `response_mask`, so a row whose mask is
all zero does exactly that.

An aborted trajectory is something else: the sandbox or the engine failed, so its reward says nothing about the model.
It leaves the batch, and with it its group's baseline.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class VoidPolicy(StrEnum):
    """What becomes of a void trajectory."""

    MASK = "mask"
    """Out of the loss, in the baseline."""
    OFF = "off"
    """Trained on like any other (the paper's ablation "w/o filtering")."""


@dataclass(frozen=True, slots=True)
class Row:
    """One trajectory of the batch, as much as the rule needs of it."""

    key: str
    group: str
    """The prompt's `uid`: the rows of a GRPO group share it."""
    void: bool
    aborted: bool
    """The sandbox or the engine failed, or the answer could not be scored: the reward says nothing."""
    reward: float
    model_tokens: int
    """Tokens with mask 1 before the rule is applied."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do with each row; every row is in exactly one of `train`, `mask` and `drop`."""

    train: tuple[str, ...]
    mask: tuple[str, ...]
    """Keys whose masks become all zero while their rewards stay in the baseline."""
    drop: tuple[str, ...]
    """Keys that leave the batch."""
    loss_anchors: tuple[str, ...]
    """Masked keys whose `loss_mask` keeps one token, see `plan_batch`."""
    signal_anchor: str | None
    """The void key that is in `train` only because otherwise no token of the batch would be."""


def plan_batch(rows: Sequence[Row], policy: VoidPolicy, *, mini_batch_rows: int, rollout_n: int) -> Plan:
    """Apply the rule to a batch.

    A group of fewer than two sound rows has no baseline (verl gives the only row of a group its bare reward as
    advantage), so it leaves the batch whole, unless verl samples single rows anyway.

    Two guards keep verl from dividing by zero or raising, whatever is void:

    - `loss_anchors`: verl divides a mini-batch's loss by the number of its `loss_mask` tokens. As long as fewer rows
      than a mini-batch are empty, every mini-batch, however verl cuts the batch, holds one that is not. For each empty
      row beyond that, one token is kept in its `loss_mask`. It adds one to that number and has no loss itself, for
      `response_mask` decides that.
    - `signal_anchor`: verl raises when no token of the batch is in `response_mask`. The mask of one row is then left
      as it was, of the row whose reward is closest to its group's mean. Under a reward that a void trajectory cannot
      earn, the rows of a void group agree, so the row's advantage is zero and so is the whole gradient.

    Args:
        rows: the batch, whole groups.
        policy: what to do with void rows.
        mini_batch_rows: rows of one optimiser step: verl's `ppo_mini_batch_size` times `rollout.n`.
        rollout_n: verl's `rollout.n`, the rows of a whole group.

    Returns:
        The plan. If every row is dropped, `train` and `mask` are both empty and there is nothing to update on.
    """
    sound = [row for row in rows if not row.aborted]
    group_sizes = Counter(row.group for row in sound)
    kept = [row for row in sound if group_sizes[row.group] >= min(2, rollout_n)]
    kept_keys = {row.key for row in kept}
    masked = [row for row in kept if row.model_tokens == 0 or (row.void and policy is VoidPolicy.MASK)]
    signal = None
    if masked and len(masked) == len(kept):
        signal = _closest_to_mean(masked)
        masked.remove(signal)
    masked_keys = {row.key for row in masked}
    # verl pads the batch with rows of empty masks up to whole mini-batches; they count as empty too.
    padding = -len(kept) % mini_batch_rows
    anchors = max(0, len(masked) + padding - (mini_batch_rows - 1))
    return Plan(
        train=tuple(row.key for row in kept if row.key not in masked_keys),
        mask=tuple(row.key for row in masked),
        drop=tuple(row.key for row in rows if row.key not in kept_keys),
        loss_anchors=tuple(row.key for row in masked[:anchors]),
        signal_anchor=None if signal is None else signal.key,
    )


def _closest_to_mean(rows: Sequence[Row]) -> Row:
    rewards: dict[str, list[float]] = {}
    for row in rows:
        rewards.setdefault(row.group, []).append(row.reward)
    means = {group: sum(values) / len(values) for group, values in rewards.items()}
    # A row without tokens carries nothing. Among equals the longest, so that verl's spread statistics over the batch's
    # tokens are defined.
    return min(rows, key=lambda row: (row.model_tokens == 0, abs(row.reward - means[row.group]), -row.model_tokens))
