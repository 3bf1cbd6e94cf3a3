"""The token rule: which tokens of a trajectory that trains are masked all the same, and which one has its reward."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from verl_tir.sampler.finished_row import FinishedRow
from verl_tir.sampler.loss_plan import VoidPolicy


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
