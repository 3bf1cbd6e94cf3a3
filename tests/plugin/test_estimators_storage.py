"""The reward in storage: where the sampler puts it, and what verl's V1 trainer makes of it with each estimator."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transfer_queue as tq
from omegaconf import OmegaConf
from stored_groups import BAD, GOOD, VOID, Response, build, clear, put_group, transfer_queue
from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY, FixedKLController
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer
from verl.trainer.ppo.v1.trainer_base import PPOTrainer
from verl.utils.tensordict_utils import list_of_dict_to_tensordict

from verl_tir.methods.advantage_estimators import ALLOWED, REFUSED

BY_TOOL, WRONG_BY_TOOL = Response(1.0, 1.0, tool_answers=True), Response(0.0, 0.0, tool_answers=True)
PENALTY = Response(-1.0, 0.0, tool_answers=True)

FROM_THE_END = ("gae", "reinforce_plus_plus")
"""Estimators that run and go back from a response's end."""


@pytest.fixture(scope="module")
def queue() -> Iterator[None]:
    """One queue for the file."""
    with transfer_queue():
        yield


@pytest.fixture
def storage(queue: None) -> Iterator[None]:
    """Nothing is stored at first."""
    yield
    clear()


def trained(
    groups: dict[str, list[Response]], estimator: str = "grpo", *, moved: bool = True, **algorithm: Any
) -> dict[str, dict[str, torch.Tensor]]:
    """What verl's V1 trainer writes into storage for groups that our sampler let through, by key."""
    for uid, responses in groups.items():
        put_group(uid, responses)
    sampler = build(prompts=len(groups), rollout_n=2, min_reward_std=None, cut_masked_rows=False)
    sample = sampler.sample if moved else functools.partial(ReplayBuffer.sample, sampler)
    batch, _ = sample(1, "train", len(groups))
    masks = tq.kv_batch_get(keys=batch.keys, partition_id="train", select_fields=["response_mask"])["response_mask"]
    computed_before = [
        {
            "old_log_probs": torch.full((len(mask),), -0.5),
            "ref_log_prob": torch.full((len(mask),), -0.75),
            "values": torch.full((len(mask),), 0.25),
        }
        for mask in masks.unbind()
    ]
    tq.kv_batch_put(keys=batch.keys, partition_id="train", fields=list_of_dict_to_tensordict(computed_before))
    config = {
        "algorithm": {
            "adv_estimator": estimator,
            "gamma": 1.0,
            "lam": 1.0,
            "use_kl_in_reward": False,
            "kl_penalty": "kl",
            "norm_adv_by_std_in_grpo": True,
            **algorithm,
        },
        "actor_rollout_ref": {"rollout": {"n": 2}},
    }
    trainer = SimpleNamespace(config=OmegaConf.create(config), kl_ctrl_in_reward=FixedKLController(0.01))
    PPOTrainer._compute_advantage(trainer, batch, {})
    names = ["response_mask", "advantages", "returns"]
    data = tq.kv_batch_get(keys=batch.keys, partition_id="train", select_fields=names)
    columns = {name: data[name].unbind() for name in names}
    return {key: {name: columns[name][row] for name in names} for row, key in enumerate(batch.keys)}


GROUPS = {"tool": [BY_TOOL, WRONG_BY_TOOL], "model": [GOOD, BAD], "void": [VOID, VOID]}


@pytest.mark.parametrize("estimator", sorted(ADV_ESTIMATOR_REGISTRY))
def test_verls_trainer_on_what_the_sampler_stored(storage: None, estimator: str) -> None:
    """Both right answers train alike and better than the wrong ones; what is refused fails, or has no finite value."""
    if estimator in REFUSED.keys() - {"opo", "grpo_passk"}:
        with pytest.raises((TypeError, AssertionError, KeyError)):
            trained(GROUPS, estimator, gdpo_reward_keys=["correct"])
        return
    rows = trained(GROUPS, estimator)
    mask = torch.tensor(GOOD.mask()).bool()
    for name in ("advantages", "returns"):
        right, wrong, model, model_wrong = (
            rows[key][name][: len(mask)][mask] for key in ("tool_0_0", "tool_1_0", "model_0_0", "model_1_0")
        )
        torch.testing.assert_close(right, model)
        torch.testing.assert_close(wrong, model_wrong)
        assert (right > wrong).all()
    assert rows["void_0_0"]["advantages"].isfinite().all() == (estimator != "opo")


@pytest.mark.parametrize("estimator", FROM_THE_END)
def test_with_the_kl_in_the_reward(storage: None, estimator: str) -> None:
    """Each token pays for its own distance from the reference, and the right answer's reward reaches them all."""
    rows = trained(GROUPS, estimator, use_kl_in_reward=True)
    # 0.25 nats at a coefficient of 0.01, for each of the model's five tokens from this one on.
    still = torch.tensor([5, 4, 0, 0, 3, 2, 1])
    mask = torch.tensor(GOOD.mask()).bool()
    for key, reward in (("tool_0_0", 1.0), ("tool_1_0", 0.0), ("model_0_0", 1.0), ("model_1_0", 0.0)):
        expected = (reward - 0.0025 * still)[mask]
        torch.testing.assert_close(rows[key]["returns"][: len(mask)][mask], expected)


@pytest.mark.parametrize("estimator", sorted(set(ALLOWED) - set(FROM_THE_END)))
def test_grpo_does_not_notice_the_sampler(storage: None, estimator: str) -> None:
    """The same bits as from what the agent loop stored, before the sampler saw it."""
    groups = {uid: responses for uid, responses in GROUPS.items() if uid != "void"}
    after = trained(groups, estimator)
    clear()
    before = trained(groups, estimator, moved=False)
    for key, row in before.items():
        assert torch.equal(row["advantages"], after[key]["advantages"])
        assert row["advantages"].any()


@pytest.mark.parametrize("estimator", FROM_THE_END)
def test_a_rejected_token_takes_the_reward_with_it(storage: None, estimator: str) -> None:
    """Why verl's rejection of single tokens is refused with these: it comes after the sampler."""
    rejected = Response(1.0, 1.0, log_probs=(1.0,) * 6 + (0.05,))
    correction = {"rollout_rs": "token_k1", "rollout_rs_threshold": "0.5_2.0", "rollout_is": None}
    rows = trained({"a": [rejected, GOOD]}, estimator, rollout_correction=correction)
    assert rows["a_0_0"]["response_mask"].tolist() == [1, 1, 0, 0, 1, 1, 0]
    lost, kept = (rows[key]["returns"][torch.tensor([0, 1, 4, 5])] for key in ("a_0_0", "a_1_0"))
    assert torch.equal(lost, torch.zeros(4))
    assert torch.equal(kept, torch.ones(4))


def test_pf_ppo_gives_rows_the_returns_of_others(storage: None) -> None:
    """Why it is refused: verl writes what it computed for the rows that it drew to the rows that it drew them for."""
    rows = trained({"a": [GOOD, BAD]}, "gae", use_pf_ppo=True, pf_ppo={"reweight_method": "pow", "weight_pow": 2.0})
    assert rows["a_1_0"]["returns"].tolist() == rows["a_0_0"]["returns"].tolist()


def scores(keys: Sequence[str], partition: str = "train") -> dict[str, list[float]]:
    """The rewards of `keys`, token by token, as they are in storage."""
    data = tq.kv_batch_get(keys=list(keys), partition_id=partition, select_fields=["rm_scores"])["rm_scores"]
    return {key: row.tolist() for key, row in zip(keys, data.unbind(), strict=True)}


VOID_GOOD = Response(1.0, 1.0, void=True)
LATE_BY_TOOL = Response(1.0, 1.0, overlong=True, tool_answers=True)
UNSURE = Response(1.0, 1.0, tool_answers=True, log_probs=(0.9, 0.9, 1.0, 1.0, 0.9, 0.9, 0.001))

# id: settings of the filter, a response, its rewards token by token after the sampler
PLACED = {
    "the model answered": ({}, GOOD, [0, 0, 0, 0, 0, 0, 1]),
    "a program answered": ({}, BY_TOOL, [0, 0, 0, 0, 0, 0, 1, 0, 0]),
    "a penalty": ({}, PENALTY, [0, 0, 0, 0, 0, 0, -1, 0, 0]),
    "a masked row": ({}, VOID_GOOD, [0, 0, 0, 0, 0, 0, 1]),
    "a void row that trains": ({"void": "off"}, VOID_GOOD, [0, 0, 0, 0, 0, 0, 1]),
    "a suffix out of the loss": ({"void": "suffix"}, VOID_GOOD, [0, 1, 0, 0, 0, 0, 0]),
    "the model's last token is improbable": ({"min_token_probability": 0.5}, UNSURE, [0, 0, 0, 0, 0, 1, 0, 0, 0]),
    "every token is improbable": ({"min_token_probability": 0.95}, UNSURE, [0, 0, 0, 0, 0, 0, 0, 0, 1]),
    "overlong and masked": ({"overlong": "mask"}, LATE_BY_TOOL, [0] * 13 + [1]),
    "overlong": ({}, LATE_BY_TOOL, [0] * 11 + [1, 0, 0]),
}


@pytest.mark.parametrize("mode", ["sync", "colocate_async"])
@pytest.mark.parametrize(("filters", "response", "expected"), PLACED.values(), ids=PLACED)
def test_where_the_sampler_puts_the_reward(
    storage: None, mode: str, filters: dict[str, Any], response: Response, expected: list[float]
) -> None:
    """At the last token that is in the loss after all rules; where none is, where verl put it."""
    put_group("a", [response, BAD])
    put_group("b", [GOOD, BAD])
    settings = {"min_reward_std": None, "cut_masked_rows": False, **filters}
    batch, _ = build(mode=mode, prompts=2, **settings).sample(1, "train", 2)
    assert scores(batch.keys)["a_0_0"] == expected
    assert scores(batch.keys)["b_0_0"] == [0, 0, 0, 0, 0, 0, 1]


def test_a_row_that_trains_for_nothing_has_no_reward(storage: None) -> None:
    """Where nothing of a batch can train, the row that keeps its mask has none to move; the other one keeps its own."""
    put_group("a", [VOID_GOOD] * 2)
    batch, metrics = build(min_reward_std=None).sample(1, "train", 1)
    assert metrics["tir/filter/updates_without_signal/total"] == 1.0
    assert sorted(sum(row) for row in scores(batch.keys).values()) == [0.0, 1.0]


def test_validation_is_as_it_was(storage: None) -> None:
    """Nothing is trained there, so nothing is moved."""
    put_group("a", [BY_TOOL, BAD], partition="val")
    batch, _ = build(min_reward_std=None).sample(1, "val", 1)
    assert scores(batch.keys, "val")["a_0_0"] == [0, 0, 0, 0, 0, 0, 0, 0, 1]
