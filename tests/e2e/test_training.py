"""Stock verl, real vLLM, FSDP and the embedded sandbox, two GRPO steps on the CPU; judged by what was recorded.

`recording/tir_recorder.py` runs inside verl's processes and writes down what the engine sampled, what the agent loop
returned and what the trainer trained.
"""

from __future__ import annotations

import itertools
import math
import re
import statistics
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from arithmetic import split, transcripts
from observations import check_observations
from recordings import EngineCalls

from tir_tools.demo.formats import MarkedSpan, Transcript

if TYPE_CHECKING:
    from conftest import RunVerl

pytestmark = pytest.mark.e2e

STEPS, PROMPTS, SAMPLES = 2, 4, 8


@dataclass(frozen=True)
class Recording:
    """Everything that one run recorded."""

    sampled: list[dict[str, Any]]
    rolled_out: list[dict[str, Any]]
    trained: list[dict[str, Any]]
    updated: list[dict[str, Any]]
    metrics: list[dict[str, Any]]
    dump: list[dict[str, Any]]

    def trained_rows(self) -> list[dict[str, Any]]:
        """The trainer's rows, one by one; no row is dropped here, so none of them is verl's padding."""
        return [
            {name: batch[name][i] for name in batch if name != "loss"}
            for batch in self.trained
            for i in range(len(batch["input_ids"]))
        ]

    def whole_rows(self) -> list[dict[str, Any]]:
        """Those that were not cut down to two tokens; no trajectory is as short as that."""
        return [row for row in self.trained_rows() if len(row["input_ids"]) > 2]

    def void(self) -> list[dict[str, Any]]:
        """The void trajectories as they were rolled out."""
        return [item for item in self.rolled_out if item["tir"]["stop_reason"] == "void"]


@pytest.fixture(scope="module")
def recording(run_verl: RunVerl) -> Recording:
    """Two steps on a model that writes code, answers and void turns."""
    problems, _ = split(seed=0, train=PROMPTS, validation=1)
    run = run_verl(
        problems,
        # A few problems are enough to learn by heart what the demo's model learns to copy.
        transcripts(0, itertools.cycle(problems)),
        {
            # Two optimiser steps for each batch, so that the void rule meets mini-batches.
            "actor_rollout_ref.actor.ppo_mini_batch_size": PROMPTS // 2,
            "actor_rollout_ref.rollout.n": SAMPLES,
            "trainer.total_training_steps": STEPS,
        },
    )
    assert run.status == 0, run.log[-6000:]
    return Recording(
        sampled=run.records("sampled"),
        rolled_out=run.records("rolled_out"),
        trained=run.records("trained"),
        updated=run.records("updated"),
        metrics=run.metrics,
        dump=run.dump,
    )


def by_ids(recording: Recording) -> dict[tuple[int, ...], dict[str, Any]]:
    """Rolled-out trajectories by all their ids; equal ids are equal in all that is looked up here."""
    return {tuple(item["prompt"] + item["response"]): item for item in recording.rolled_out}


def test_every_trajectory_of_every_step_is_accounted_for(recording: Recording) -> None:
    """Nothing is lost on the way from the agent loop through the filter to the trainer and the dump."""
    expected = STEPS * PROMPTS * SAMPLES
    assert len(recording.rolled_out) == len(recording.dump) == expected
    assert len(recording.trained_rows()) == expected
    assert [metrics["tir/trajectories/total"] for metrics in recording.metrics] == [PROMPTS * SAMPLES] * STEPS


def test_programs_really_ran(recording: Recording) -> None:
    """What the model was shown is what its program prints, computed here by other means."""
    assert check_observations(recording.dump) >= 5
    runs = sum(turn["outcome"] is not None for line in recording.dump for turn in line["turns"])
    assert sum(metrics["tir/tool/calls/total"] for metrics in recording.metrics) == runs


def test_trained_ids_are_the_sampled_ids(recording: Recording) -> None:
    """Every stretch of model tokens is, id by id and log-probability by log-probability, what vLLM returned there."""
    calls = EngineCalls(recording.sampled)
    for row in recording.whole_rows():
        calls.behind(by_ids(recording)[tuple(row["input_ids"])])


def test_observation_tokens_have_mask_zero_and_no_loss(recording: Recording) -> None:
    """The loss does not change with the log-probability of any token that the tool wrote."""
    seen = 0
    for row in recording.whole_rows():
        item = by_ids(recording)[tuple(row["input_ids"])]
        first = len(item["prompt"]) - 1
        slopes = row["slopes"][first : first + len(item["response"])]
        for position, kept in enumerate(item["mask"]):
            if not kept:
                seen += 1
                assert row["response_mask"][position] == row["loss_mask"][position] == 0
                assert slopes[position] == 0
        assert not any(row["slopes"][:first]), "prompt tokens carry no loss"
    assert seen > 50


def test_model_tokens_of_trained_rows_carry_the_loss(recording: Recording) -> None:
    """Where the advantage is not zero, every model token of a row that trains moves the loss."""
    seen = 0
    for row in recording.whole_rows():
        item = by_ids(recording)[tuple(row["input_ids"])]
        first = len(item["prompt"]) - 1
        if not any(row["advantages"]):
            continue
        assert row["response_mask"] == item["mask"]
        # PPO clips a token's ratio in the second optimiser step of a batch, so not each slope has to be there.
        moved = [row["slopes"][first + position] != 0 for position, kept in enumerate(item["mask"]) if kept]
        assert sum(moved) >= 0.5 * len(moved)
        seen += 1
    assert seen > 0


def test_void_rows_are_cut_and_stay_in_the_baseline(recording: Recording) -> None:
    """A void trajectory costs two tokens and has no loss; its group's mean and deviation still count its reward."""
    cut = [row for row in recording.trained_rows() if row not in recording.whole_rows()]
    assert len(cut) == len(recording.void()) > 0
    for row in cut:
        assert len(row["input_ids"]) == 2
        assert not any([*row["response_mask"], *row["slopes"], *row["advantages"]])
    groups = defaultdict(list)
    for item in recording.rolled_out:
        groups[(item["step"], tuple(item["prompt"]))].append(item)
    trained = defaultdict(list)
    for row in recording.whole_rows():
        trained[tuple(row["input_ids"])].append(row)
    void_beside_reward = 0
    for group in groups.values():
        rewards = [item["reward"] for item in group]
        mean, spread = statistics.mean(rewards), statistics.stdev(rewards)
        voids = [item for item in group if item in recording.void()]
        void_beside_reward += bool(voids) and spread > 0
        for item in group:
            if item in voids or len({other["step"] for other in by_same_ids(recording, item)}) > 1:
                continue
            wanted = (item["reward"] - mean) / (spread + 1e-6)
            for row in trained[tuple(item["prompt"] + item["response"])]:
                for value, kept in zip(row["advantages"], item["mask"], strict=True):
                    assert value == pytest.approx(wanted * kept, abs=1e-4)
    assert void_beside_reward > 0, "no group had a void trajectory and a spread of rewards"


def test_void_rows_count_in_no_mini_batchs_tokens_but_for_anchors(recording: Recording) -> None:
    """verl divides by the tokens of `loss_mask`: a masked row has none there, or one where a mini-batch needs it."""
    masked = [row for row in recording.trained_rows() if not any(row["response_mask"])]
    assert masked
    counted = [sum(row["loss_mask"]) for row in masked]
    assert set(counted) <= {0, 1}
    assert sum(counted) == sum(metrics["tir/filter/loss_anchors/total"] for metrics in recording.metrics)


def by_same_ids(recording: Recording, item: dict[str, Any]) -> list[dict[str, Any]]:
    """All trajectories with the same ids: the same text may have been sampled again in another step."""
    return [
        other
        for other in recording.rolled_out
        if other["prompt"] == item["prompt"] and other["response"] == item["response"]
    ]


def test_weights_changed_and_reached_the_engine(recording: Recording) -> None:
    """The optimiser moved the weights, and after each step vLLM samples with the trainer's probabilities."""
    assert len(recording.updated) == 2 * STEPS
    assert all(math.isfinite(update["grad_norm"]) for update in recording.updated)
    assert any(update["grad_norm"] > 0 and update["largest_change"] > 0 for update in recording.updated)
    for metrics in recording.metrics:
        assert metrics["training/rollout_probs_diff_max"] < 1e-3


def test_the_dump_says_which_tokens_were_sampled(recording: Recording) -> None:
    """Its spans are the masks that the agent loop gave to verl, and each sampled token has its log-probability."""
    masks = [[i for i, value in enumerate(item["mask"]) if value] for item in recording.rolled_out]
    spans = [[i for start, end in line["response_mask"] for i in range(start, end)] for line in recording.dump]
    assert sorted(spans) == sorted(masks)
    for line in recording.dump:
        assert all(turn["log_probs"]["count"] == turn["model_tokens"] for turn in line["turns"])
        expression = re.search(r"What is ([0-9*+-]+)\?", line["prompt"])[1]
        assert line["ground_truth"] == str(eval(expression))


def test_log_probabilities_are_the_engines(recording: Recording) -> None:
    """What is logged of them is true of the tokens that the trajectories kept."""
    kept = [
        log_prob
        for item in recording.rolled_out
        for log_prob, value in zip(item["log_probs"], item["mask"], strict=True)
        if value
    ]
    assert min(metrics["tir/log_prob/min"] for metrics in recording.metrics) == pytest.approx(min(kept))
    total = sum(metrics["tir/log_prob/mean"] * metrics["tir/tokens/model/total"] for metrics in recording.metrics)
    assert total == pytest.approx(sum(kept))


def test_metrics_agree_with_the_trajectories(recording: Recording) -> None:
    """The void ratio that verl logs is the one of the dumped trajectories, and the masked rows are those."""
    for step, metrics in enumerate(recording.metrics, start=1):
        lines = [line for line in recording.dump if line["step"] == step]
        void = [line for line in lines if line["stop_reason"] == "void"]
        assert metrics["tir/void_ratio"] == pytest.approx(len(void) / len(lines))
        assert metrics["tir/filter/masked_rows/total"] == metrics["tir/filter/cut_rows/total"] == len(void)
        assert {line["fate"] for line in void} == {"mask"}
        assert metrics["critic/rewards/mean"] == pytest.approx(statistics.mean(line["reward"] for line in lines))


def test_a_batch_that_is_void_throughout_changes_nothing_and_the_run_goes_on(run_verl: RunVerl) -> None:
    """Where stock verl raises or divides by zero, the update has zero gradient, finite metrics and a count."""
    problems, _ = split(seed=0, train=2, validation=1)
    void = (Transcript(problem.question, (MarkedSpan("Let me think.", True),)) for problem in itertools.cycle(problems))
    run = run_verl(
        problems,
        void,
        {
            "actor_rollout_ref.actor.ppo_mini_batch_size": 1,
            "actor_rollout_ref.actor.optim.weight_decay": 0.0,
            "actor_rollout_ref.rollout.n": 4,
            "trainer.total_training_steps": 2,
        },
    )
    assert run.status == 0, run.log[-6000:]
    assert [metrics["tir/void_ratio"] for metrics in run.metrics] == [1.0, 1.0]
    assert [metrics["tir/filter/updates_without_signal/total"] for metrics in run.metrics] == [1.0, 1.0]
    for metrics in run.metrics:
        assert not [name for name, value in metrics.items() if isinstance(value, float) and not math.isfinite(value)]
    assert all(batch["loss"] == 0 and not any(map(any, batch["slopes"])) for batch in run.records("trained"))
    updates = run.records("updated")
    assert len(updates) == 4
    assert all(update["grad_norm"] == 0 and update["largest_change"] == 0 for update in updates)
