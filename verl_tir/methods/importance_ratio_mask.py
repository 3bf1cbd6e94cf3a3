"""The policy loss `tir`: any of verl's, with the importance ratio logged and, if asked for, bounded.

Registered with verl when the recipe's `policy_loss._target_` is instantiated, which every training worker does before
its first update.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from verl.trainer.ppo.core_algos import get_policy_loss_fn, register_policy_loss
from verl.workers.config import ActorConfig, PolicyLossConfig

LOSS_MODE = "tir"


@dataclass
class TirPolicyLossConfig(PolicyLossConfig):
    """verl's settings of the policy loss, with those of `tir`."""

    loss_mode: str = LOSS_MODE
    inner_loss_mode: str = "vanilla"
    """The loss that is computed: a name registered with verl, such as `vanilla` or `bypass_mode`."""
    max_importance_ratio: float | None = None
    """Tokens with a higher ratio of the trained policy to the old one leave the loss; None for none."""

    def __post_init__(self) -> None:
        if self.inner_loss_mode == LOSS_MODE:
            raise ValueError("actor_rollout_ref.actor.policy_loss.inner_loss_mode=tir: name another loss")
        get_policy_loss_fn(self.inner_loss_mode)  # raises for a name that is not registered


@register_policy_loss(LOSS_MODE)
def tir_policy_loss(
    old_log_prob: torch.Tensor,
    log_prob: torch.Tensor,
    advantages: torch.Tensor,
    response_mask: torch.Tensor,
    loss_agg_mode: str = "token-mean",
    config: ActorConfig | None = None,
    rollout_is_weights: torch.Tensor | None = None,
) -> tuple[torch.Tensor, dict[str, Any]]:
    """The inner loss over the tokens within the bound.

    Tokens beyond it leave the numerator. verl counted the denominator of `token-mean` before, over the whole
    mini-batch, so it keeps them; a sequence mean counts what is left of its sequence.

    A micro-batch without any token, of void rows and padding, has no loss. Some of verl's losses raise on it
    (`bypass_mode`): they are then shown one token with no advantage and no change, so that they report what they
    always report and the loss is zero.

    Args:
        old_log_prob: (rows, response length), in nats, under the policy before the update.
        log_prob: the same under the policy that is trained.
        advantages: (rows, response length).
        response_mask: (rows, response length), boolean.
        loss_agg_mode: verl's.
        config: the actor's; its `policy_loss` is a `TirPolicyLossConfig`.
        rollout_is_weights: verl's rollout correction, (rows, response length).

    Returns:
        The loss, and the inner loss's metrics with `actor/importance_ratio_...`. verl averages them over the
        micro-batches and ranks of a mini-batch, and keeps the largest of its mini-batches for a name with `max`.
    """
    assert config is not None, "verl always passes it"
    settings = config.policy_loss
    mask = response_mask.bool()
    with torch.no_grad():
        # Clamped as in verl's losses.
        ratio = torch.exp(torch.clamp(log_prob - old_log_prob, min=-20.0, max=20.0))
        largest = ratio[mask].max().item() if mask.any() else 1.0
        metrics = {"actor/importance_ratio_max": largest}
        if settings.max_importance_ratio is not None:
            within = mask & (ratio <= settings.max_importance_ratio)
            masked = mask.sum() - within.sum()
            metrics["actor/importance_ratio_masked"] = (masked / mask.sum().clamp(min=1)).item()
            mask = within
    if not mask.any():
        mask = torch.zeros_like(mask)
        mask[0, 0] = True
        advantages = torch.zeros_like(advantages)
        old_log_prob = log_prob.detach()
    loss, inner = get_policy_loss_fn(settings.inner_loss_mode)(
        old_log_prob=old_log_prob,
        log_prob=log_prob,
        advantages=advantages,
        response_mask=mask,
        loss_agg_mode=loss_agg_mode,
        config=config,
        rollout_is_weights=rollout_is_weights,
    )
    return loss, inner | metrics
