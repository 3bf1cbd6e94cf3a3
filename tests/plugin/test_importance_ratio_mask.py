"""The policy loss `tir`: verl's own loss, number by number, with the importance ratio logged and bounded."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from verl.trainer.config.algorithm import RolloutCorrectionConfig
from verl.trainer.ppo.core_algos import get_policy_loss_fn
from verl.workers.config import FSDPActorConfig, PolicyLossConfig

from verl_tir.methods.importance_ratio_mask import TirPolicyLossConfig

SETTINGS = {"strategy": "fsdp2", "rollout_n": 2, "use_dynamic_bsz": True, "clip_ratio_high": 0.28}


def actor(loss: PolicyLossConfig, **batch: Any) -> FSDPActorConfig:
    """The actor's settings, with what verl's engine fills in for a mini-batch."""
    config = FSDPActorConfig(policy_loss=loss, **SETTINGS)
    config.global_batch_info.update({"dp_size": 1, "batch_num_tokens": 20, "global_batch_size": 3} | batch)
    return config


def batch(seed: int = 0) -> dict[str, torch.Tensor]:
    """Rows of six tokens, the last row masked throughout, with ratios around one."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.tensor([[1, 1, 0, 1, 1, 0], [1, 1, 1, 0, 0, 0], [0] * 6]).bool()
    return {
        "old_log_prob": -torch.rand(3, 6, generator=generator),
        "log_prob": (-torch.rand(3, 6, generator=generator)).requires_grad_(),
        "advantages": torch.randn(3, 1, generator=generator) * mask,
        "response_mask": mask,
    }


def computed(mode: str, config: FSDPActorConfig, tensors: dict[str, Any], agg: str) -> tuple[Any, Any, dict[str, Any]]:
    """Loss, gradient of the log-probabilities, and metrics."""
    loss, metrics = get_policy_loss_fn(mode)(**tensors, loss_agg_mode=agg, config=config)
    (slopes,) = torch.autograd.grad(loss, tensors["log_prob"])
    return loss.item(), slopes, metrics


@pytest.mark.parametrize("agg", ["token-mean", "seq-mean-token-mean", "seq-mean-token-sum"])
@pytest.mark.parametrize("weighted", [False, True])
def test_without_a_bound_it_is_verls_vanilla_loss(agg: str, weighted: bool) -> None:
    """Loss, gradient and metrics are equal bit by bit, rollout correction's weights included."""
    tensors = batch()
    if weighted:
        tensors["rollout_is_weights"] = torch.rand(3, 6)
    loss, slopes, metrics = computed("tir", actor(TirPolicyLossConfig()), tensors, agg)
    verls, verls_slopes, verls_metrics = computed("vanilla", actor(PolicyLossConfig()), tensors, agg)
    assert loss == verls
    assert torch.equal(slopes, verls_slopes)
    assert slopes.any()
    ratio = torch.exp(tensors["log_prob"] - tensors["old_log_prob"])[tensors["response_mask"]]
    assert metrics == verls_metrics | {"actor/importance_ratio_max": ratio.max().item()}


@pytest.mark.parametrize("agg", ["token-mean", "seq-mean-token-mean"])
def test_tokens_beyond_the_bound_have_no_loss(agg: str) -> None:
    """It is the loss of a mask without them, under the same denominator of the mini-batch; their share is logged."""
    tensors = batch()
    bound = 1.2
    ratio = torch.exp(tensors["log_prob"] - tensors["old_log_prob"]).detach()
    within = tensors["response_mask"] & (ratio <= bound)
    assert 0 < within.sum() < tensors["response_mask"].sum()
    loss, slopes, metrics = computed("tir", actor(TirPolicyLossConfig(max_importance_ratio=bound)), tensors, agg)
    masked, masked_slopes, _ = computed("vanilla", actor(PolicyLossConfig()), tensors | {"response_mask": within}, agg)
    assert loss == masked
    assert torch.equal(slopes, masked_slopes)
    assert not slopes[~within].any()
    assert metrics["actor/importance_ratio_masked"] == pytest.approx(1 - within.sum().item() / 7)
    # The largest ratio is logged as it was, not as it is bounded.
    assert metrics["actor/importance_ratio_max"] > bound


@pytest.mark.parametrize(
    ("inner", "kind"), [("vanilla", "ppo_clip"), ("bypass_mode", "ppo_clip"), ("bypass_mode", "reinforce")]
)
def test_a_micro_batch_without_tokens_has_no_loss(inner: str, kind: str) -> None:
    """verl's bypass loss raises on a micro-batch of void rows and padding; here its loss and gradient are zero, with
    the metrics that every other micro-batch has."""
    correction = RolloutCorrectionConfig(
        rollout_is="sequence", rollout_rs="token_k1", rollout_rs_threshold="0.5_2.0", bypass_mode=True, loss_type=kind
    )
    config = actor(TirPolicyLossConfig(inner_loss_mode=inner, rollout_correction=correction))
    tensors = batch()
    _, _, usual = computed("tir", config, tensors, "token-mean")
    empty = tensors | {"response_mask": torch.zeros(3, 6).bool()}
    if inner == "bypass_mode":
        with pytest.raises(ValueError, match="at least one valid token"):
            get_policy_loss_fn(inner)(**empty, config=config)
    loss, slopes, metrics = computed("tir", config, empty, "token-mean")
    assert loss == 0
    assert not slopes.any()
    assert metrics.keys() == usual.keys()
    assert all(math.isfinite(value) for value in metrics.values())


def test_a_bound_that_takes_every_token_leaves_no_loss() -> None:
    """Nothing is divided by zero where all tokens of a micro-batch are beyond the bound."""
    tensors = batch()
    tensors["old_log_prob"] = tensors["log_prob"].detach() - 1.0
    loss, slopes, metrics = computed("tir", actor(TirPolicyLossConfig(max_importance_ratio=2.0)), tensors, "token-mean")
    assert (loss, slopes.any().item(), metrics["actor/importance_ratio_masked"]) == (0, False, 1)
    assert metrics["actor/importance_ratio_max"] == pytest.approx(math.e, rel=1e-5)


def test_the_recipes_settings_make_the_loss_known_to_verl() -> None:
    """verl instantiates `_target_` in every training worker, which imports the module that registers the loss."""
    node = {
        "_target_": "verl_tir.methods.importance_ratio_mask.TirPolicyLossConfig",
        "loss_mode": "tir",
        "inner_loss_mode": "vanilla",
        "clip_cov_ratio": 0.1,
        "max_importance_ratio": 3.0,
    }
    config = instantiate(node, _convert_="partial")
    assert (config.loss_mode, config.max_importance_ratio, config.clip_cov_ratio) == ("tir", 3.0, 0.1)
    assert config.get("inner_loss_mode") == "vanilla"


@pytest.mark.parametrize(("inner", "reason"), [("tir", "name another loss"), ("ppo", "Unsupported loss mode: ppo")])
def test_an_inner_loss_that_there_is_not_is_refused(inner: str, reason: str) -> None:
    """The worker stops before the first update."""
    with pytest.raises(ValueError, match=reason):
        TirPolicyLossConfig(inner_loss_mode=inner)
