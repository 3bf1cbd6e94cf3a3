"""Stock verl trains through the gates: groups that a sandbox failed and groups without a spread are replaced.

Of the others only what the rules leave trains.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest
from arithmetic import split, transcripts
from background import background
from faulty_proxy import ANSWERED, FaultyProxy, sometimes
from observations import check_observations

from sandbox_server import EmbeddedSandbox, IsolationPolicy, ServerConfig

if TYPE_CHECKING:
    from conftest import RunVerl, VerlRun

pytestmark = pytest.mark.e2e

# Three samples a prompt often agree.
STEPS, PROMPTS, SAMPLES = 2, 10, 3
IMPROBABLE = 0.2
"""So high that a good part of the trajectories has such a token."""
SERVER = ServerConfig(port=0, isolation=IsolationPolicy.BEST_EFFORT)


@pytest.fixture(scope="module")
def run(run_verl: RunVerl) -> VerlRun:
    """Two steps of two mini-batches, with the recipe's gate, the suffix rule and the token rule.

    Of the sandbox's answers 12% are spoilt, and nothing is retried, so that trajectories abort.
    """
    problems, _ = split(seed=0, train=PROMPTS, validation=1)
    with background() as loop, EmbeddedSandbox(SERVER) as server:
        proxy = FaultyProxy(server.endpoint, sometimes(0.12, 0, *ANSWERED))
        running = proxy.running()
        done = run_verl(
            problems,
            transcripts(0, itertools.cycle(problems), late_void=4),
            {
                "tir.sandbox.endpoints": f"[{loop.run(running.__aenter__()).endpoint}]",
                "tir.sandbox.retry_attempts": 1,
                "tir.filter.min_sound_ratio": 1.0,
                "tir.filter.max_aborted_ratio": 0.9,
                "tir.filter.min_reward_std": 1e-3,
                "tir.filter.void": "suffix",
                "tir.filter.min_token_probability": IMPROBABLE,
                "tir.filter.max_importance_ratio": 1.05,
                "actor_rollout_ref.actor.ppo_mini_batch_size": PROMPTS // 2,
                "actor_rollout_ref.rollout.n": SAMPLES,
                "trainer.total_training_steps": STEPS,
            },
        )
        loop.run(running.__aexit__(None, None, None))
    assert done.status == 0, done.log[-6000:]
    return done


Group = list[dict[str, Any]]


def groups(run: VerlRun) -> tuple[list[Group], list[Group]]:
    """The dump's groups: those that verl trained on, and those that a gate refused."""
    found: dict[tuple[int, str], Group] = defaultdict(list)
    for line in run.dump:
        found[line["step"], line["key"].split("_")[0]].append(line)
    refused = [group for group in found.values() if {line["fate"] for line in group} == {"evicted"}]
    return [group for group in found.values() if group not in refused], refused


def test_refused_groups_are_replaced(run: VerlRun) -> None:
    """Every group of a batch is whole and sound and has rewards that differ; what was refused is counted, by reason."""
    kept, refused = groups(run)
    assert len(kept) == STEPS * PROMPTS
    for group in kept:
        assert len(group) == SAMPLES
        assert len({line["reward"] for line in group}) > 1
        assert not any(line["stop_reason"] == "sandbox_fault" for line in group)
    by_reason = {
        reason: [group for group in refused if group[0]["reason"] == reason] for reason in ("unsound", "zero_variance")
    }
    assert all(by_reason.values()), "one of the gates had nothing to refuse, so that it was not tested"
    for group in by_reason["unsound"]:
        assert any(line["stop_reason"] == "sandbox_fault" for line in group)
    for group in by_reason["zero_variance"]:
        assert len({line["reward"] for line in group}) == 1
    for reason, those in by_reason.items():
        assert len(those) == sum(metrics[f"tir/filter/evicted_groups/{reason}/total"] for metrics in run.metrics)
    assert len(refused) == sum(map(len, by_reason.values()))
    assert len(refused) == sum(metrics["tir/filter/refills/total"] for metrics in run.metrics)


def test_nothing_of_a_refused_group_is_trained(run: VerlRun) -> None:
    """verl's rows are those of the kept groups, each once; one without a token for the loss is cut to two."""
    kept, _ = groups(run)
    lines = [line for group in kept for line in group]
    masked = [line for line in lines if line["fate"] == "mask"]
    rolled = {tuple(item["prompt"] + item["response"]) for item in run.records("rolled_out")}
    ids = [tuple(row["input_ids"]) for row in rows(run)]
    assert sum(row in rolled for row in ids) == len(lines) - len(masked)
    assert sum(len(row) == 2 for row in ids) == len(masked)
    assert len(ids) == len(lines)
    check_observations(run.dump)


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
