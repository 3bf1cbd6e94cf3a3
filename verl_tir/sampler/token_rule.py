"""The token rule: which tokens of a trajectory that trains are masked all the same, and which one has its reward."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from verl_tir.sampler.finished_row import FinishedRow
from verl_tir.sampler.loss_plan import MaskedTokens, VoidPolicy
from verl_tir.sampler.storage import read_tokens, write_masks


@dataclass(frozen=True, slots=True)
class TokenMask:
    """What is left of one row's mask."""

    mask: torch.Tensor
    """(response length,), of the same type as before; 1 for a token in the loss."""
    low_probability: int
    """Tokens taken out for their probability alone."""


@dataclass(frozen=True, slots=True)
class TokenRule:
    """SimpleTIR's ablations on parts of trajectories: the suffix from the void turn on, and improbable tokens."""

    void: VoidPolicy = VoidPolicy.MASK
    min_probability: float | None = None
    """Tokens that the rollout sampled with a lower probability leave the loss; None for all."""

    def applies_to(self, row: FinishedRow) -> bool:
        """Whether the rule may take a token of the row out."""
        return self.min_probability is not None or (row.void and self.void is VoidPolicy.SUFFIX)

    def mask(self, row: FinishedRow, mask: torch.Tensor, log_probs: torch.Tensor | None) -> TokenMask:
        """The row's new mask.

        Args:
            row: a row that trains.
            mask: (response length,); what the agent loop made.
            log_probs: (response length,), in nats, of the tokens under the policy that sampled them; None only where
                there is no `min_probability`.
        """
        kept = mask.clone()
        if row.void and self.void is VoidPolicy.SUFFIX:
            kept[row.void_from :] = 0
        if self.min_probability is None:
            return TokenMask(kept, 0)
        assert log_probs is not None, "the launch is refused without rollout.calculate_log_probs"
        low = kept.bool() & (log_probs < math.log(self.min_probability))
        return TokenMask(kept.masked_fill(low, 0), int(low.sum()))


def reward_at_last_token(mask: torch.Tensor, reward: float) -> torch.Tensor:
    """A row's `rm_scores`: its reward at its last token in the loss, where every advantage estimator of verl sees it.

    verl puts the reward at the last token of all. Where that is the tool's, or left the loss, an estimator that goes
    back from the end skips it, and the reward with it; those that sum a row's rewards get the same sum.

    Args:
        mask: (response length,), 1 for a token in the loss; at least one is.
        reward: the row's reward.

    Returns:
        (response length,), float32, zero but for that token.
    """
    scores = torch.zeros(len(mask), dtype=torch.float32)
    scores[mask.nonzero()[-1]] = reward
    return scores


_ROWS_AT_ONCE = 256
"""Rows of 16k tokens, masks and log-probabilities, then take about 50 MB of the driver's memory."""


def mask_tokens(rows: Sequence[FinishedRow], rule: TokenRule, partition_id: str) -> MaskedTokens:
    """Overwrite the masks of the rows, each of which trains, with what the rule leaves of them.

    The reward of a row whose last token is not in the loss moves to its last one that is.
    """
    concerned = [row for row in rows if row.ends_in_observation or rule.applies_to(row)]
    shortened = tokens = low_probability = 0
    empty_rows: set[str] = set()
    for start in range(0, len(concerned), _ROWS_AT_ONCE):
        part = concerned[start : start + _ROWS_AT_ONCE]
        stored = read_tokens([row.key for row in part], partition_id, log_probs=rule.min_probability is not None)
        masks, rewards = {}, {}
        for row, before in zip(part, stored, strict=True):
            after = rule.mask(row, before.mask, before.log_probs)
            lost = int(before.mask.sum() - after.mask.sum())
            shortened += lost > 0
            tokens += lost
            low_probability += after.low_probability
            if not after.mask.any():
                empty_rows.add(row.key)
            elif lost or not after.mask[-1]:
                masks[row.key] = after.mask
                rewards[row.key] = reward_at_last_token(after.mask, row.reward)
        write_masks(masks, rewards, partition_id)
    return MaskedTokens(shortened, tokens, low_probability, frozenset(empty_rows))
