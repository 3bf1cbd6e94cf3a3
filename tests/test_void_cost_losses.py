"""verl's losses on the same rows with masked ones cut and whole: nothing but the masked rows' tokens changes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from tensordict import TensorDict
from verl.trainer.ppo.core_algos import POLICY_LOSS_REGISTRY
from verl.utils import tensordict_utils as tu
from verl.workers.config import FSDPActorConfig, PolicyLossConfig
from verl.workers.utils.losses import ppo_loss

MODES = ("token-mean", "token-sum", "seq-mean-token-sum", "seq-mean-token-sum-norm", "seq-mean-token-mean")
LENGTHS = [(4, 6), (4, 11), (3, 5), (3, 9)]
"""Prompt and response tokens of each row of the micro-batch."""
MASKED = (1, 3)
"""Rows out of the loss; one of them is the widest."""


def micro_batch(cut: bool, anchors: int = 0) -> tuple[dict[str, Any], TensorDict, torch.Tensor]:
    """The model's output, the rows as verl's engine hands them to the loss, and the log-probabilities as a leaf."""
    generator = torch.Generator().manual_seed(0)
    columns: dict[str, list[torch.Tensor]] = {name: [] for name in ("log_probs", "entropy")}
    rows: dict[str, list[torch.Tensor]] = {}
    for index, (prompt, response) in enumerate(LENGTHS):
        values = {name: -3 * torch.rand(prompt + response, generator=generator) for name in columns}
        mask = torch.ones(response, dtype=torch.int64)
        mask[2] = 0
        advantages = torch.randn(1, generator=generator) * mask
        old, ref = (-3 * torch.rand(response, generator=generator) for _ in range(2))
        weights = 2 * torch.rand(response, generator=generator)
        if index in MASKED:
            mask, advantages = torch.zeros_like(mask), torch.zeros(response)
            weights = torch.zeros(response)
            if cut:
                prompt, response = 1, 1
        loss_mask = mask.clone()
        if index in MASKED[:anchors]:
            loss_mask[0] = 1
        fields = {
            "prompts": torch.zeros(prompt),
            "responses": torch.zeros(response),
            "response_mask": mask,
            "loss_mask": loss_mask,
            "old_log_probs": old,
            "ref_log_prob": ref,
            "advantages": advantages,
            "rollout_is_weights": weights,
        }
        for name, value in fields.items():
            rows.setdefault(name, []).append(value[: prompt if name == "prompts" else response])
        for name, value in values.items():
            columns[name].append(value[: prompt + response])
    nested = {name: torch.nested.as_nested_tensor(parts, layout=torch.jagged) for name, parts in rows.items()}
    data = TensorDict(nested, batch_size=[len(LENGTHS)])
    tokens = int(data["loss_mask"].values().sum())
    tu.assign_non_tensor(data, dp_size=1, batch_num_tokens=tokens, global_batch_size=len(LENGTHS))
    leaf = torch.cat(columns["log_probs"]).requires_grad_()
    offsets = torch.tensor([0, *[len(part) for part in columns["log_probs"]]]).cumsum(0)
    output = {
        "log_probs": torch.nested.nested_tensor_from_jagged(leaf, offsets=offsets),
        "entropy": torch.nested.as_nested_tensor(columns["entropy"], layout=torch.jagged),
    }
    return output, data, leaf


def loss_of(mode: str, policy_loss: str, *, cut: bool, factor: int | None = 16, anchors: int = 0) -> tuple[Any, ...]:
    """The loss, its metrics, and its slope at each token's log-probability of each row."""
    config = FSDPActorConfig(
        strategy="fsdp2",
        rollout_n=4,
        use_dynamic_bsz=True,
        loss_agg_mode=mode,
        loss_scale_factor=factor,
        entropy_coeff=0.01,
        use_kl_loss=True,
        kl_loss_coef=0.1,
        policy_loss=PolicyLossConfig(
            dro_beta=0.1, loss_mode=policy_loss, rollout_correction=OmegaConf.create({"loss_type": "reinforce"})
        ),
    )
    output, data, leaf = micro_batch(cut, anchors)
    torch.manual_seed(0)  # one of the losses draws tokens at random
    loss, metrics = ppo_loss(config, output, data)
    loss.backward()
    sizes = output["log_probs"].offsets().diff().tolist()
    slopes = dict(enumerate(leaf.grad.split(sizes)))
    return loss.detach(), metrics, slopes


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("policy_loss", sorted(POLICY_LOSS_REGISTRY))
def test_a_loss_does_not_notice_the_cut(mode: str, policy_loss: str) -> None:
    """Every policy loss of verl, aggregated in every way, with entropy bonus, KL loss and importance weights."""
    whole, _, whole_slopes = loss_of(mode, policy_loss, cut=False)
    cut, _, cut_slopes = loss_of(mode, policy_loss, cut=True)
    torch.testing.assert_close(cut, whole)
    for index, slopes in whole_slopes.items():
        if index in MASKED:
            assert not slopes.any()
            assert not cut_slopes[index].any()
        else:
            torch.testing.assert_close(cut_slopes[index], slopes)
            assert slopes.any()


def test_an_anchor_counts_as_one_token_cut_or_whole() -> None:
    """It is one more in verl's number of tokens, and has no loss."""
    whole, _, _ = loss_of("token-mean", "vanilla", cut=False, anchors=2)
    cut, _, _ = loss_of("token-mean", "vanilla", cut=True, anchors=2)
    none, _, _ = loss_of("token-mean", "vanilla", cut=True)
    torch.testing.assert_close(cut, whole)
    tokens = sum(response - 1 for index, (_, response) in enumerate(LENGTHS) if index not in MASKED)
    torch.testing.assert_close(cut * (tokens + 2), none * tokens)


def test_the_padded_width_is_a_factor_of_one_aggregation() -> None:
    """Why it is refused without a factor of its own: verl divides by the widest row that is left."""
    whole, _, _ = loss_of("seq-mean-token-sum-norm", "vanilla", cut=False, factor=None)
    cut, _, _ = loss_of("seq-mean-token-sum-norm", "vanilla", cut=True, factor=None)
    torch.testing.assert_close(cut * 6, whole * 11)
