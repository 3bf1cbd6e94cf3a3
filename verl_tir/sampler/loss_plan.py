"""The loss plan: which rows of a batch train, which stay in the baseline only, and which leave the batch.

SimpleTIR, section 3.3: a trajectory with a void turn is removed from the policy update and kept in the advantage
estimation. verl computes GRPO's advantages from `rm_scores` without looking at `response_mask`, so a row whose mask is
all zero does exactly that. The other policies are the paper's ablations and its treatment of overlong trajectories.

An excluded trajectory is something else: it was aborted or is undecided, so its reward says nothing about the model. It
leaves the batch, and with it its group's baseline.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from verl_tir.sampler.finished_row import FinishedRow


class VoidPolicy(StrEnum):
    """What becomes of a void trajectory."""

    MASK = "mask"
    """Out of the loss, in the baseline."""
    SUFFIX = "suffix"
    """What it did before its first void turn trains; that turn and all after it leave the loss."""
    OFF = "off"
    """Trained on like any other (the paper's ablation "w/o filtering")."""


class OverlongPolicy(StrEnum):
    """What becomes of a trajectory that used up its response budget."""

    KEEP = "keep"
    """Trained on like any other."""
    MASK = "mask"
    """Out of the loss, in the baseline."""


class MaskCause(StrEnum):
    """Why a row has no loss; the first that applies, in this order."""

    VOID = "void"
    OVERLONG = "overlong"
    EMPTY = "empty"
    """Nothing was sampled, or every token was taken out one by one."""


@dataclass(frozen=True, slots=True)
class LossRule:
    """Which trajectories have a loss, and which have a part in their group's baseline."""

    void: VoidPolicy = VoidPolicy.MASK
    void_in_baseline: bool = True
    """Whether the reward of a void trajectory counts; if not, it leaves the batch."""
    overlong: OverlongPolicy = OverlongPolicy.KEEP

    def in_baseline(self, row: FinishedRow) -> bool:
        """Whether the row stays in the batch, and so its reward in its group's mean and standard deviation."""
        return not row.excluded and (self.void_in_baseline or not row.void)

    def mask_cause(self, row: FinishedRow) -> MaskCause | None:
        """Why a row that stays in the batch has no loss at all; None where it has one."""
        if row.void and (self.void is VoidPolicy.MASK or (self.void is VoidPolicy.SUFFIX and row.void_from == 0)):
            return MaskCause.VOID
        if row.overlong and self.overlong is OverlongPolicy.MASK:
            return MaskCause.OVERLONG
        return MaskCause.EMPTY if row.model_tokens == 0 else None

    def trains(self, row: FinishedRow) -> bool:
        """Whether some token of the row is in the loss."""
        return self.in_baseline(row) and self.mask_cause(row) is None


@dataclass(frozen=True, slots=True)
class MaskedTokens:
    """What the token rule took out of the loss of a batch's rows."""

    rows: int = 0
    """Rows that lost some of their tokens."""
    tokens: int = 0
    """Tokens that they lost."""
    low_probability: int = 0
    """Those of them that were too improbable."""
    empty_rows: frozenset[str] = frozenset()
    """Keys of rows of which nothing would be left; their masks are as they were."""


@dataclass(frozen=True, slots=True)
class LossPlan:
    """What to do with each row; every row is in exactly one of `train`, `mask` and `drop`."""

    train: tuple[str, ...]
    mask: tuple[str, ...]
    """Keys whose masks become all zero while their rewards stay in the baseline."""
    drop: tuple[str, ...]
    """Keys that leave the batch."""
    loss_anchors: tuple[str, ...]
    """Masked keys whose `loss_mask` keeps one token, see `plan_loss`."""
    placeholder_row: str | None
    """The masked row that is in `train` only because otherwise no token of the batch would be; it gets a group and a
    reward of its own, so that its advantage is zero."""

    def causes(self, rows: Sequence[FinishedRow], rule: LossRule) -> dict[str, MaskCause]:
        """Why rows have no loss, by key: the masked ones and the placeholder row.

        Args:
            rows: the batch.
            rule: what the plan was made by.
        """
        masked = {*self.mask, self.placeholder_row}
        return {row.key: rule.mask_cause(row) or MaskCause.EMPTY for row in rows if row.key in masked}


def plan_loss(
    rows: Sequence[FinishedRow],
    rule: LossRule,
    *,
    mini_batch_rows: int,
    rollout_n: int,
    empty_rows: Collection[str] = frozenset(),
) -> LossPlan:
    """Apply the rule to a batch.

    A group of which fewer than two rows stay has no baseline (verl gives the only row of a group its bare reward as
    advantage), so it leaves the batch whole, unless verl samples single rows anyway.

    Two guards keep verl from dividing by zero or raising, whatever is masked:

    - `loss_anchors`: verl divides a mini-batch's loss by the number of its `loss_mask` tokens. As long as fewer rows
      than a mini-batch are empty, every mini-batch, however verl cuts the batch and deals it to data-parallel ranks,
      holds one that is not. For each empty row beyond that, one token is kept in its `loss_mask`. It adds one to that
      number and has no loss itself, for `response_mask` decides that.
    - `placeholder_row`: verl raises when no token of the batch is in `response_mask`. The mask of one row is then left
      as it was, and its reward is taken out of its group: an update with zero gradient.

    Args:
        rows: the batch, whole groups.
        rule: what trains and what counts.
        mini_batch_rows: rows of one optimiser step: verl's `ppo_mini_batch_size` times `rollout.n`. verl wants it to
            be a multiple of the data-parallel size, so that it pads the batch to a multiple of it and no further.
        rollout_n: verl's `rollout.n`, the rows of a whole group.
        empty_rows: keys of rows of which the token rule left nothing.

    Returns:
        The plan. If every row is dropped, `train` and `mask` are both empty and there is nothing to update on.
    """
    staying = [row for row in rows if rule.in_baseline(row)]
    group_sizes = Counter(row.uid for row in staying)
    kept = [row for row in staying if group_sizes[row.uid] >= min(2, rollout_n)]
    kept_keys = {row.key for row in kept}
    masked = [row for row in kept if rule.mask_cause(row) is not None or row.key in empty_rows]
    signal = None
    if masked and len(masked) == len(kept):
        # With a reward of zero nothing of the logs changes either. A row without tokens carries nothing; among equals
        # the longest, so that verl's spread statistics over the batch's tokens are defined.
        signal = min(masked, key=lambda row: (row.model_tokens == 0, abs(row.reward), -row.model_tokens))
        masked.remove(signal)
    masked_keys = {row.key for row in masked}
    # verl pads the batch with rows of empty masks up to whole mini-batches; they count as empty too.
    padding = -len(kept) % mini_batch_rows
    anchors = max(0, len(masked) + padding - (mini_batch_rows - 1))
    return LossPlan(
        train=tuple(row.key for row in kept if row.key not in masked_keys),
        mask=tuple(row.key for row in masked),
        drop=tuple(row.key for row in rows if row.key not in kept_keys),
        loss_anchors=tuple(row.key for row in masked[:anchors]),
        placeholder_row=None if signal is None else signal.key,
    )


def plan_validation(rows: Sequence[FinishedRow]) -> LossPlan:
    """Validation masks nothing: a void row is a result like any other there, and a row is as good alone."""
    counted = tuple(row.key for row in rows if not row.excluded)
    excluded = tuple(row.key for row in rows if row.excluded)
    return LossPlan(counted, mask=(), drop=excluded, loss_anchors=(), placeholder_row=None)
