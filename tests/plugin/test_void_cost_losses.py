"""verl's losses and advantages on the same rows with masked ones cut and whole: nothing changes for the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from tensordict import TensorDict
from verl.protocol import DataProto
from verl.trainer.config import AlgoConfig
from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY, POLICY_LOSS_REGISTRY
from verl.trainer.ppo.v1.utils import compute_advantage_for_multi_trajectories
from verl.utils import tensordict_utils as tu
from verl.workers.config import FSDPActorConfig
from verl.workers.utils.losses import ppo_loss

from verl_tir.methods.importance_ratio_mask import TirPolicyLossConfig

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
        policy_loss=TirPolicyLossConfig(
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


ESTIMATORS = sorted(ADV_ESTIMATOR_REGISTRY.keys() - {"gdpo"})
"""Those that take the reward as it is; the other one reads named parts of it, which verl's V1 trainer does not pass."""


def advantages_of(estimator: str, *, cut: bool) -> torch.Tensor:
    """Those of the rows that train, each of the width of the widest of these."""
    generator = torch.Generator().manual_seed(1)
    lengths = [6, 11, 5, 9]
    rows: dict[str, list[torch.Tensor]] = {}
    for index, length in enumerate(lengths):
        mask = torch.full((length,), float(index not in MASKED))
        rewards = torch.zeros(length)
        rewards[-1] = [0.1, -1.0, 0.7, 0.3][index]
        noise = {
            name: torch.rand(length, generator=generator) for name in ("values", "sum_pi_squared", "old_log_probs")
        }
        fields = {"response_mask": mask, "token_level_rewards": rewards, **noise, "rollout_is_weights": mask.clone()}
        fields["old_log_probs"] = -3 * fields["old_log_probs"]
        kept = slice(-1, None) if cut and index in MASKED else slice(None)
        for name, value in fields.items():
            rows.setdefault(name, []).append(value[kept])
    batch = {name: torch.nn.utils.rnn.pad_sequence(parts, batch_first=True) for name, parts in rows.items()}
    if estimator == "remax":
        batch["reward_baselines"] = torch.tensor([0.2] * len(lengths))
    data = DataProto.from_dict(tensors=batch, non_tensors={"uid": np.array(["a"] * len(lengths), dtype=object)})
    done = compute_advantage_for_multi_trajectories(
        data,
        batch_keys=[f"a_{index}_0" for index in range(len(lengths))],
        adv_estimator=estimator,
        num_repeat=len(lengths),
        config=AlgoConfig(),
    )
    return done.batch["advantages"][[0, 2], : lengths[0]]


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_no_estimator_gives_the_other_rows_another_advantage(estimator: str) -> None:
    """GRPO's sums the reward; the others, also those that go token by token, leave out what is masked."""
    whole = advantages_of(estimator, cut=False)
    torch.testing.assert_close(advantages_of(estimator, cut=True), whole)
    assert whole.any()
