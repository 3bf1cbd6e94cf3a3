"""What gates, rules and loss rely on in verl, pinned: an upgrade that breaks one of these fails here."""

from __future__ import annotations

import inspect
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from verl.protocol import DataProto
from verl.trainer.ppo.core_algos import agg_loss, compute_grpo_outcome_advantage
from verl.trainer.ppo.rollout_corr_helper import compute_rollout_correction_and_add_to_batch
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer, ReplayBufferAsync
from verl.trainer.ppo.v1.trainer_base import PPOTrainer
from verl.utils.metric import AggregationType, Metric, reduce_metrics
from verl.workers.engine.fsdp.transformer_impl import FSDPEngine
from verl.workers.engine_workers import TrainingWorker
from verl.workers.utils.losses import ppo_loss

from verl_tir.sampler import verl_buffer
from verl_tir.sampler.verl_buffer import TirReplayBuffer, TirReplayBufferAsync


def words_of(passage: str) -> set[str]:
    """The names that a passage of the sampler's docstring lists, each at the start of a line or after two spaces."""
    return set(re.findall(r"(?:^ {4}|  )(\w+)(?=  |$)", passage, re.MULTILINE))


OVERRIDDEN, READ = map(words_of, verl_buffer.__doc__.split("They also read"))

SIGNATURES = {
    "sample": ["self", "global_steps", "partition_id", "batch_size"],
    "wait_for_sampleable": ["self", "global_steps", "partition_id", "target_count"],
    "_terminal_eviction_reasons": ["self", "global_steps", "partition_id"],
    "_select_prompt_uids": ["self", "partition_id", "sampleable_keys", "batch_size"],
    "_evict_terminal_groups": ["self", "global_steps", "partition_id", "eviction_reasons"],
    "_sampleable_terminal_keys": ["self", "partition_id", "eviction_reasons"],
    "_metrics_prefix": ["partition_id"],
}


def test_every_override_is_listed() -> None:
    """The docstring of the adapter names all that it overrides of verl's buffers, and nothing else."""
    ours = {**vars(TirReplayBuffer), **vars(TirReplayBufferAsync)}
    verls = {**vars(ReplayBuffer), **vars(ReplayBufferAsync)}
    overridden = {name for name, value in ours.items() if name in verls and inspect.isfunction(value)}
    assert overridden == OVERRIDDEN


def test_what_the_sampler_reads_is_listed_and_there() -> None:
    """The names of verl's that the adapter uses and does not override are those of its docstring."""
    source = inspect.getsource(verl_buffer)
    inherited = {name for name in dir(ReplayBufferAsync) if not name.startswith("__")} - OVERRIDDEN
    inherited |= set(re.findall(r"self\.(\w+)(?:: [^=]+)? = ", inspect.getsource(ReplayBuffer.__init__)))
    assert set(re.findall(r"self\.(\w+)", source)) & inherited == READ


@pytest.mark.parametrize("name", sorted((OVERRIDDEN | READ) & {*dir(ReplayBuffer), *dir(ReplayBufferAsync)}))
def test_verls_methods_take_what_the_sampler_passes_on(name: str) -> None:
    """Each in both modes, where it is there in both."""
    if name == "__init__":
        parameters = inspect.signature(ReplayBuffer).parameters
        assert {"trainer_mode", "sampler_kwargs", "poll_interval", "refill_fn"} <= parameters.keys()
        assert {"sync_refill_failed_groups", "gen_batch_size"} <= parameters.keys()
        return
    for buffer in (ReplayBuffer, ReplayBufferAsync):
        if hasattr(buffer, name):
            assert list(inspect.signature(getattr(buffer, name)).parameters) == SIGNATURES[name]


def test_a_refill_is_asked_for_in_the_look_that_found_the_refusals() -> None:
    """By both buffers, with the number of groups that failed."""
    assert "self.refill_fn(failed_count)" in inspect.getsource(ReplayBuffer.sample)
    assert "self.refill_fn(len(evicted_uids))" in inspect.getsource(ReplayBufferAsync.wait_for_sampleable)


def test_the_dapo_filter_does_not_reach_a_custom_sampler() -> None:
    """Why `algorithm.filter_groups` is refused: verl would ignore it without a word."""
    source = inspect.getsource(PPOTrainer._build_replay_buffer)
    assert source.index("if not has_custom_sampler:") < source.index("filter_groups_metric=filter_groups_metric")


def test_token_mean_divides_by_the_tokens_of_loss_mask_over_all_ranks() -> None:
    """So that tokens taken out of `loss_mask` leave the denominator, and one that stays keeps a mini-batch from 0/0."""
    source = inspect.getsource(FSDPEngine.forward_backward_batch)
    assert 'batch_num_tokens = data["loss_mask"].sum()' in source
    assert "group=self.get_data_parallel_group()" in source
    assert 'config.global_batch_info["batch_num_tokens"] = data["batch_num_tokens"]' in inspect.getsource(ppo_loss)


def test_sequence_means_divide_by_the_rows_of_the_mini_batch() -> None:
    """Masked rows and padding count there as rows with a loss of zero."""
    slopes, mask = torch.ones(4, 3), torch.tensor([[1, 1, 1], [1, 0, 0], [0, 0, 0], [0, 0, 0]])
    loss = agg_loss(slopes, mask, "seq-mean-token-mean", batch_num_tokens=4, global_batch_size=4)
    assert loss == pytest.approx(2 / 4)
    assert '"global_batch_size": ppo_mini_batch_size' in inspect.getsource(PPOTrainer._update_actor)


@pytest.mark.parametrize(("ranks", "mini_batch", "multiple"), [(1, 4, 32), (2, 4, 32), (4, 1, 8), (8, 2, 16)])
def test_padding_is_up_to_whole_mini_batches(ranks: int, mini_batch: int, multiple: int) -> None:
    """With data-parallel ranks too, for verl wants a mini-batch's rows to divide by them."""
    config = OmegaConf.create(
        {
            "trainer": {"critic_warmup": 0},
            "actor_rollout_ref": {"actor": {"ppo_mini_batch_size": mini_batch}, "rollout": {"n": 8}},
        }
    )
    trainer = SimpleNamespace(use_critic=False, config=config, global_steps=1)
    assert PPOTrainer._get_required_batch_multiple(trainer, ranks) == multiple
    assert "mini_batch_size % self.engine.get_data_parallel_size() == 0" in inspect.getsource(
        TrainingWorker.train_mini_batch
    )


def test_a_group_of_one_without_reward_has_no_advantage() -> None:
    """How a batch in which nothing trains gets past verl with zero gradient."""
    rewards = torch.tensor([[0.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    advantages, _ = compute_grpo_outcome_advantage(rewards, torch.ones(3, 2), index=np.array(["a-apart", "a", "a"]))
    assert not advantages[0].any()
    assert advantages[1].any()


def test_metrics_of_a_policy_loss_are_averaged_over_micro_batches_and_the_largest_kept_of_mini_batches() -> None:
    """What `actor/importance_ratio_max` is: verl takes numbers only from a policy loss."""
    assert "Metric.from_dict(pg_metrics, aggregation=AggregationType.MEAN)" in inspect.getsource(ppo_loss)
    with pytest.raises(ValueError, match="mismatch"):
        Metric.from_dict({"a": Metric(AggregationType.MAX, 1.0)}, AggregationType.MEAN)
    ranks = [Metric(AggregationType.MEAN), Metric(AggregationType.MEAN)]
    for rank, values in zip(ranks, ([1.0, 3.0], [2.0, 2.0]), strict=True):
        rank.extend(values)
    assert Metric.aggregate_dp(ranks) == 2.0
    assert reduce_metrics({"importance_ratio_max": [2.0, 5.0]}) == {"importance_ratio_max": 5.0}


# id: verl's settings, the rows of which some token is rejected
CORRECTIONS = {
    "importance weights": ({"rollout_is": "sequence", "rollout_is_threshold": 2.0}, set()),
    "token rejection": ({"rollout_rs": "token_k1", "rollout_rs_threshold": "0.5_2.0"}, {0}),
    "sequence rejection": ({"rollout_rs": "seq_mean_k1", "rollout_rs_threshold": "0.9_1.1"}, {0}),
}


@pytest.mark.parametrize(("settings", "rejected"), CORRECTIONS.values(), ids=CORRECTIONS)
def test_rollout_correction_only_takes_away_from_our_masks(settings: dict, rejected: set[int]) -> None:
    """What our rules took out of the loss stays out, whatever its ratios; what is rejected leaves as well."""
    mask = torch.tensor([[1, 1, 1, 1], [0, 0, 0, 0], [1, 0, 0, 1]])
    rollout = torch.full((3, 4), -1.0)
    ours = rollout.clone()
    # A token that the trainer finds far likelier, and wild ones where the rules took tokens out.
    ours[0, 2], ours[1], ours[2, 1] = 2.0, -20.0, 9.0
    batch = DataProto.from_dict(
        tensors={"old_log_probs": ours, "rollout_log_probs": rollout, "response_mask": mask.clone()}
    )
    after, metrics = compute_rollout_correction_and_add_to_batch(batch, OmegaConf.create(settings))
    left = after.batch["response_mask"]
    assert not (left.bool() & ~mask.bool()).any()
    assert {i for i in range(3) if (left[i] != mask[i]).any()} == rejected
    assert all(np.isfinite(value) for value in metrics.values())
    # The wild tokens that are out of the loss move no statistic.
    assert metrics["rollout_corr/kl"] == pytest.approx(-3 / 6)


def test_rollout_correction_leaves_the_denominators() -> None:
    """verl writes `response_mask` back, and not `loss_mask`, by which it divides: no mini-batch is divided by zero."""
    source = inspect.getsource(PPOTrainer._compute_advantage)
    assert 'fields.append("response_mask")' in source
    assert '"loss_mask"' not in source


def test_bypass_mode_is_two_settings_in_the_v1_trainer() -> None:
    """It takes the rollout's log-probabilities for the old ones, and leaves the loss as it is configured."""
    source = inspect.getsource(PPOTrainer._compute_old_log_prob)
    assert 'data["old_log_probs"] = data.pop("rollout_log_probs")' in source
    assert "apply_bypass_mode" not in inspect.getsource(inspect.getmodule(PPOTrainer))
