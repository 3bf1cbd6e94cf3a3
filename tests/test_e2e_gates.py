"""Stock verl trains through the gates: groups without a spread are replaced, and only what the rules leave trains."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest
from arithmetic import split, transcripts

if TYPE_CHECKING:
    from conftest import RunVerl, VerlRun

pytestmark = pytest.mark.e2e

# Three samples a prompt often agree.
STEPS, PROMPTS, SAMPLES = 2, 10, 3
IMPROBABLE = 0.2
"""So high that a good part of the trajectories has such a token."""


@pytest.fixture(scope="module")
def run(run_verl: RunVerl) -> VerlRun:
    """Two steps of two mini-batches, with the recipe's gate, the suffix rule and the token rule."""
    problems, _ = split(seed=0, train=PROMPTS, validation=1)
    done = run_verl(
        problems,
        transcripts(0, itertools.cycle(problems), late_void=4),
        {
            "tir.filter.min_reward_std": 1e-3,
            "tir.filter.void": "suffix",
            "tir.filter.min_token_probability": IMPROBABLE,
            "tir.filter.max_importance_ratio": 1.05,
            "actor_rollout_ref.actor.ppo_mini_batch_size": PROMPTS // 2,
            "actor_rollout_ref.rollout.n": SAMPLES,
            "trainer.total_training_steps": STEPS,
        },
    )
    assert done.status == 0, done.log[-6000:]
    return done


def test_groups_without_a_spread_are_replaced(run: VerlRun) -> None:
    """Every group of a batch has rewards that differ, every batch is whole, and what was evicted is counted."""
    groups = defaultdict(list)
    for line in run.dump:
        groups[line["step"], line["key"].split("_")[0], line["fate"] == "evicted"].append(line["reward"])
    kept = {key: rewards for key, rewards in groups.items() if not key[2]}
    evicted = {key: rewards for key, rewards in groups.items() if key[2]}
    assert len(kept) == STEPS * PROMPTS
    assert all(len(rewards) == SAMPLES and len(set(rewards)) > 1 for rewards in kept.values())
    assert evicted, "no group agreed, so that nothing was tested"
    assert all(len(set(rewards)) == 1 for rewards in evicted.values())
    counted = sum(metrics["tir/filter/evicted_groups/zero_variance/total"] for metrics in run.metrics)
    assert counted == len(evicted) == sum(metrics["tir/filter/refills/total"] for metrics in run.metrics)


def test_the_rules_reach_the_loss(run: VerlRun) -> None:
    """A token is in verl's masks if and only if the rules leave it, and no other moves the loss."""
    rolled = {tuple(item["prompt"] + item["response"]): item for item in run.records("rolled_out")}
    suffixes = improbable = 0
    for row in rows(run):
        item = rolled.get(tuple(row["input_ids"]))
        if item is None:
            continue  # verl's padding
        begins = void_from(item["tir"]["turns"])
        low = [
            kept and value < math.log(IMPROBABLE) for kept, value in zip(item["mask"], item["log_probs"], strict=True)
        ]
        left = [kept and i < begins and not low[i] for i, kept in enumerate(item["mask"])]
        suffixes += 0 < begins < len(left)
        improbable += any(low[:begins])
        assert row["response_mask"] == [int(kept) for kept in left]
        if any(left):
            assert row["loss_mask"] == row["response_mask"]
        slopes = row["slopes"][len(item["prompt"]) - 1 :]
        assert not any(slope for slope, kept in zip(slopes, left, strict=False) if not kept)
    assert suffixes, "no trajectory was void after its first turn, so that no suffix was tested"
    assert improbable, "no token was improbable, so that the rule was not tested"


def rows(run: VerlRun) -> list[dict[str, Any]]:
    """The trainer's rows, one by one."""
    return [
        {name: batch[name][i] for name in batch if name != "loss"}
        for batch in run.records("trained")
        for i in range(len(batch["input_ids"]))
    ]


def void_from(turns: list[dict[str, Any]]) -> int:
    """Where the first void turn begins in the response; its end where there is none."""
    position = 0
    for turn in turns:
        if not turn["has_code"] and not turn["has_answer"]:
            break
        position += turn["model_tokens"] + turn["observation_tokens"]
    return position


def test_the_importance_ratio_is_logged_and_bounded(run: VerlRun) -> None:
    """The second mini-batch is off the policy that sampled it; its largest ratio is in verl's metrics."""
    for metrics in run.metrics:
        assert metrics["actor/importance_ratio_max"] >= 1.0
        assert 0 <= metrics["actor/importance_ratio_masked"] < 1
    assert max(metrics["actor/importance_ratio_max"] for metrics in run.metrics) > 1.0
