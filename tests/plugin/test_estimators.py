"""Every advantage estimator of verl sees the reward, whoever answered, or is refused before anything starts."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf
from verl.protocol import DataProto
from verl.trainer.config import AlgoConfig
from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY, POLICY_LOSS_REGISTRY
from verl.trainer.ppo.v1.trainer_base import PPOTrainer
from verl.trainer.ppo.v1.utils import compute_advantage_for_multi_trajectories
from verl.workers.config import ActorConfig

from verl_tir.launch import validate
from verl_tir.methods.advantage_estimators import ALLOWED, REFUSED, estimator_problems
from verl_tir.sampler.token_rule import reward_at_last_token

FROM_THE_END = ("gae", "reinforce_plus_plus", "remax", "optimal_token_baseline", "tir_optimal_token_baseline")
"""verl's estimators that go back from a response's end and skip what is masked."""


def test_every_estimator_of_verl_is_allowed_or_refused() -> None:
    """A version of verl with another one has to be looked at before it is supported."""
    assert sorted(ADV_ESTIMATOR_REGISTRY) == sorted((*ALLOWED, *REFUSED))


MASKS = {
    # Model and tool, and at last the tool: what it wrote is not in the loss.
    "tool": [1, 1, 0, 0, 1, 1, 1, 0, 0],
    "model": [1, 1, 0, 0, 1, 1, 1],
}


def computed(
    estimator: str, masks: Sequence[list[int]], rewards: Sequence[float], *, moved: bool, gamma: float = 1.0
) -> DataProto:
    """verl's function on rows of which two follow one another in a group, with all that any estimator may ask for.

    Args:
        estimator: its name.
        masks: of each row.
        rewards: of each row.
        moved: whether the reward is at the row's last token in the loss, and not at its last token.
        gamma: what a reward is worth a token earlier.
    """
    width = max(map(len, masks))
    padded = torch.tensor([mask + [0] * (width - len(mask)) for mask in masks])
    scores = torch.zeros(len(masks), width)
    for row, (mask, reward) in enumerate(zip(masks, rewards, strict=True)):
        if moved:
            scores[row, : len(mask)] = reward_at_last_token(torch.tensor(mask), reward)
        else:
            scores[row, len(mask) - 1] = reward
    uids = [f"{row // 2}" for row in range(len(masks))]
    baselines = {"reward_baselines": torch.full((len(masks),), 0.25)} if estimator == "remax" else {}
    data = DataProto.from_dict(
        tensors=baselines
        | {
            "response_mask": padded,
            "token_level_rewards": scores,
            "values": torch.full(padded.shape, 0.25),
            "old_log_probs": torch.full(padded.shape, -0.5),
            "sum_pi_squared": torch.full(padded.shape, 0.5),
            "prompts": torch.ones(len(masks), 1, dtype=torch.long),
            "attention_mask": torch.tensor([[1] * (1 + len(mask)) + [0] * (width - len(mask)) for mask in masks]),
        },
        non_tensors={"uid": np.array(uids, dtype=object), "correct": np.array(rewards, dtype=object)},
    )
    return compute_advantage_for_multi_trajectories(
        data,
        batch_keys=[f"{uid}_{row}_0" for row, uid in enumerate(uids)],
        adv_estimator=estimator,
        gamma=gamma,
        config=OmegaConf.merge(OmegaConf.structured(AlgoConfig), {"gdpo_reward_keys": ["correct"], "gamma": gamma}),
    )


@pytest.mark.parametrize("estimator", sorted(ADV_ESTIMATOR_REGISTRY))
@pytest.mark.parametrize(("right", "wrong", "gamma"), [(1.0, 0.0, 1.0), (1.0, -1.0, 1.0), (1.0, 0.0, 0.9)])
def test_a_right_answer_is_worth_the_same_whoever_printed_it(
    estimator: str, right: float, wrong: float, gamma: float
) -> None:
    """Token by token the advantage through the tool is the model's, and more than that of a wrong answer."""
    masks = [MASKS["tool"], MASKS["tool"], MASKS["model"], MASKS["model"]]
    done = computed(estimator, masks, [right, wrong] * 2, moved=True, gamma=gamma)
    mask = torch.tensor(MASKS["model"]).bool()
    for name in ("advantages", "returns"):
        tool, tool_wrong, model, model_wrong = done.batch[name][:, : len(mask)][:, mask]
        torch.testing.assert_close(tool, model)
        torch.testing.assert_close(tool_wrong, model_wrong)
        assert (tool > tool_wrong).all()


@pytest.mark.parametrize("estimator", sorted(ADV_ESTIMATOR_REGISTRY))
def test_where_verl_puts_the_reward_some_estimators_skip_it(estimator: str) -> None:
    """Why it is moved: at a masked token, a right answer has the return of a wrong one. Fails where verl mends it."""
    done = computed(estimator, [MASKS["tool"]] * 2, [1.0, 0.0], moved=False)
    right, wrong = done.batch["returns"][:, torch.tensor(MASKS["tool"]).bool()]
    assert torch.equal(right, wrong) is (estimator in FROM_THE_END)


@pytest.mark.parametrize("estimator", sorted(ADV_ESTIMATOR_REGISTRY.keys() - set(FROM_THE_END)))
def test_estimators_that_sum_rewards_give_the_same_to_the_last_bit(estimator: str) -> None:
    """GRPO and its kin, on random masks and on rewards that no binary fraction is."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        lengths = torch.randint(1, 40, (8,), generator=generator).tolist()
        masks = [[1, *torch.randint(0, 2, (length,), generator=generator).tolist()] for length in lengths]
        rewards = [float(reward) for reward in torch.randn(8, generator=generator)]
        before, after = (computed(estimator, masks, rewards, moved=moved) for moved in (False, True))
        for name in ("advantages", "returns"):
            assert torch.equal(before.batch[name], after.batch[name])
        assert before.batch["advantages"].any()


def test_grpo_passk_raises_on_a_group_of_one() -> None:
    """As verl's padding is where a batch lacks one trajectory: one sandbox fault would end a run."""
    with pytest.raises(ValueError, match="at least 2 samples per group"):
        computed("grpo_passk", [MASKS["model"]], [1.0], moved=True)


def test_opo_leaves_the_gradient_of_a_masked_group_undefined() -> None:
    """Its NaN stands at masked tokens, and reaches the weights all the same."""
    done = computed("opo", [[0, 0], [0, 0]], [0.0, 0.0], moved=False)
    log_probs = torch.zeros(2, 2, requires_grad=True)
    loss, _ = POLICY_LOSS_REGISTRY["vanilla"](
        old_log_prob=torch.zeros(2, 2),
        log_prob=log_probs,
        advantages=done.batch["advantages"],
        response_mask=done.batch["response_mask"],
        loss_agg_mode="token-mean",
        config=ActorConfig(
            strategy="fsdp", rollout_n=2, use_dynamic_bsz=True, global_batch_info={"batch_num_tokens": 4}
        ),
    )
    loss.backward()
    assert log_probs.grad.isnan().all()


def test_verl_asks_a_reward_model_without_resources_of_its_own_after_the_sampler() -> None:
    """Why it is refused: nothing that the sampler decides could depend on the reward."""
    source = inspect.getsource(PPOTrainer._step_once)
    assert source.index("self.replay_buffer.sample(") < source.index("self._compute_reward_colocate(")


@functools.cache
def composed(*overrides: str) -> DictConfig:
    """A launch of the recipe."""
    import verl  # noqa: F401 - loading its plugins puts the recipes on Hydra's search path

    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose("ppo_trainer", overrides=["+tir=simpletir", *overrides])


@pytest.mark.parametrize("estimator", sorted(ADV_ESTIMATOR_REGISTRY))
def test_the_launch_knows_every_estimator(estimator: str) -> None:
    """What is refused is refused with the key, its value, the reason and what to choose; all others pass."""
    config = composed(f"algorithm.adv_estimator={estimator}")
    if estimator not in REFUSED:
        assert validate(config) == "simpletir"
        return
    (problem,) = estimator_problems(config)
    assert problem.startswith(f"algorithm.adv_estimator={estimator}: {REFUSED[estimator]}")
    assert "choose one of grpo, " in problem


GAE, RF = "algorithm.adv_estimator=gae", "algorithm.adv_estimator=reinforce_plus_plus"
REJECT = "algorithm.rollout_correction.rollout_rs=token_k1"
ALONE, NO_GATE = "actor_rollout_ref.rollout.n=1", "tir.filter.min_reward_std=null"

# overrides, and how the only problem begins; None for none
LAUNCHES = {
    (ALONE,): "actor_rollout_ref.rollout.n=1: the baseline of algorithm.adv_estimator=grpo needs",
    (ALONE, "algorithm.adv_estimator=rloo_vectorized"): "actor_rollout_ref.rollout.n=1: the baseline",
    (ALONE, RF): None,
    (ALONE, GAE): None,
    (GAE, "critic.enable=false"): "critic.enable=False: ",
    (GAE, "critic.ppo_mini_batch_size=64"): "critic.ppo_mini_batch_size=64: ",
    ("critic.ppo_mini_batch_size=64",): None,
    (GAE, "algorithm.use_pf_ppo=true"): "algorithm.use_pf_ppo=True: ",
    (GAE, REJECT): "algorithm.rollout_correction.rollout_rs=token_k1: ",
    (RF, REJECT): "algorithm.rollout_correction.rollout_rs=token_k1: ",
    (RF, "algorithm.rollout_correction.rollout_rs=seq_mean_k1"): None,
    (RF, REJECT, "algorithm.rollout_correction.bypass_mode=true"): None,
    (REJECT,): None,
    ("reward.reward_model.enable=true", "reward.reward_model.enable_resource_pool=false"): (
        "reward.reward_model.enable_resource_pool=False: "
    ),
    ("reward.reward_model.enable=true", "reward.reward_model.enable_resource_pool=true"): None,
    ("algorithm.adv_estimator=my_own", ALONE): None,
}


@pytest.mark.parametrize(("overrides", "expected"), LAUNCHES.items(), ids=lambda value: str(value)[:60])
def test_settings_that_take_a_reward_away(overrides: tuple[str, ...], expected: str | None) -> None:
    """Each is refused by its key, and what it is refused with alone is fine without it."""
    problems = estimator_problems(composed(*overrides))
    assert [problem[: len(expected or "")] for problem in problems] == ([] if expected is None else [expected])
