"""Stock verl, real vLLM, FSDP and the embedded sandbox, two GRPO steps on the CPU; judged by what was recorded.

`recording/tir_recorder.py` runs inside verl's processes and writes down what the engine sampled, what the agent loop
returned and what the trainer trained.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import statistics
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas
import pytest

from verl_tir.demo.model import WarmStart, build
from verl_tir.demo.processes import end_marked
from verl_tir.demo.tasks import split, transcripts, verl_row
from verl_tir.rollout.observation import PREFIX, SUFFIX

pytestmark = pytest.mark.e2e

STEPS, PROMPTS, SAMPLES = 2, 4, 8
MARK = "verl-tir-e2e"


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
        """The trainer's rows, one by one, verl's synthetic padding left out."""
        rows = [
            {name: batch[name][i] for name in batch if name != "loss"}
            for batch in self.trained
            for i in range(len(batch["input_ids"]))
        ]
        return [row for row in rows if len(row["response_mask"]) > 1 or row["response_mask"][0]]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Grow a tiny model, run verl's trainer on it for two steps, and read what was recorded."""
    folder = tmp_path_factory.mktemp("e2e")
    records = folder / "records"
    records.mkdir()
    problems, _ = split(seed=0, train=PROMPTS, validation=1)
    # A few problems are enough to learn by heart what the demo's model learns to copy.
    stream = transcripts(0, itertools.cycle(problems))
    build(folder / "model", WarmStart(steps=150), stream)
    rows = [verl_row(problem, index, "train") for index, problem in enumerate(problems)]
    pandas.DataFrame(rows).to_parquet(folder / "problems.parquet")
    overrides = {
        "+tir": "simpletir",
        "+platform": "cpu",
        "tir.prompt.template": "none",
        "tir.sandbox.run_timeout": 1.0,
        "tir.dump_dir": folder / "dump",
        "data.train_files": folder / "problems.parquet",
        "data.val_files": folder / "problems.parquet",
        "data.train_batch_size": PROMPTS,
        "data.max_prompt_length": 64,
        "data.max_response_length": 96,
        "actor_rollout_ref.model.path": folder / "model",
        # Two optimiser steps for each batch, so that the void rule meets mini-batches.
        "actor_rollout_ref.actor.ppo_mini_batch_size": PROMPTS // 2,
        "actor_rollout_ref.actor.optim.lr": 1e-3,
        "actor_rollout_ref.rollout.n": SAMPLES,
        "trainer.logger": "[file]",
        "trainer.total_training_steps": STEPS,
        "trainer.val_before_train": False,
        "hydra.run.dir": folder / "hydra",
    }
    environment = {
        **os.environ,
        "VERL_TIR_RUN": MARK,
        "VERL_FILE_LOGGER_PATH": str(folder / "metrics.jsonl"),
        "VERL_USE_EXTERNAL_MODULES": "tir_recorder",
        "TIR_RECORD_FOLDER": str(records),
        "PYTHONPATH": str(Path(__file__).parent / "recording"),
    }
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    log = folder / "verl.log"
    words = [f"{key}={value}" for key, value in overrides.items()]
    try:
        with log.open("wb") as output:
            done = subprocess.run(
                [sys.executable, "-m", "verl.trainer.main_ppo", *words],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=600,
                check=False,
            )
    finally:
        end_marked(MARK)
    assert done.returncode == 0, log.read_text(errors="replace")[-6000:]

    def read(kind: str) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in sorted(records.glob(f"{kind}-*.json"))]

    def read_lines(path: Path) -> list[dict[str, Any]]:
        return [json.loads(line) for line in path.read_text().splitlines()]

    return Recording(
        sampled=read("sampled"),
        rolled_out=read("rolled_out"),
        trained=read("trained"),
        updated=read("updated"),
        metrics=[line["data"] for line in read_lines(folder / "metrics.jsonl")],
        dump=read_lines(folder / "dump" / "train.jsonl"),
    )


def model_runs(mask: list[int]) -> list[tuple[int, int]]:
    """Half-open spans of the tokens with mask 1."""
    spans, position = [], 0
    for value, group in itertools.groupby(mask):
        length = len(list(group))
        if value:
            spans.append((position, position + length))
        position += length
    return spans


def by_ids(recording: Recording) -> dict[tuple[int, ...], dict[str, Any]]:
    """Rolled-out trajectories by all their ids; equal ids are equal in all that is looked up here."""
    return {tuple(item["prompt"] + item["response"]): item for item in recording.rolled_out}


def test_every_trajectory_of_every_step_is_accounted_for(recording: Recording) -> None:
    """Nothing is lost on the way from the agent loop through the filter to the trainer and the dump."""
    expected = STEPS * PROMPTS * SAMPLES
    assert len(recording.rolled_out) == len(recording.dump) == expected
    assert len(recording.trained_rows()) == expected
    assert [metrics["tir/trajectories"] for metrics in recording.metrics] == [PROMPTS * SAMPLES] * STEPS


def test_programs_really_ran(recording: Recording) -> None:
    """What the model was shown is what its program prints, computed here by other means."""
    checked = 0
    for line in recording.dump:
        for model, tool in itertools.pairwise(line["segments"]):
            program = re.search(r"```py\nprint\(([0-9*+-]+)\)\n```$", model["text"])
            if tool["role"] == "tool" and program:
                assert tool["text"] == f"{PREFIX}{eval(program[1])}\n{SUFFIX}"
                checked += 1
    assert checked >= 5
    runs = sum(turn["outcome"] is not None for line in recording.dump for turn in line["turns"])
    assert sum(metrics["tir/tool/calls"] for metrics in recording.metrics) == runs


def test_trained_ids_are_the_sampled_ids(recording: Recording) -> None:
    """Every stretch of model tokens is, id by id and log-probability by log-probability, what vLLM returned there."""
    calls = defaultdict(list)
    for call in recording.sampled:
        calls[tuple(call["context"])].append(call)
    for row in recording.trained_rows():
        item = by_ids(recording)[tuple(row["input_ids"])]
        for start, end in model_runs(item["mask"]):
            position = start
            while position < end:
                context = tuple(item["prompt"] + item["response"][:position])
                kept = next((call for call in calls[context] if returned(call, item, position, end)), None)
                assert kept is not None, "no engine call returned these ids here"
                position += min(len(kept["ids"]), end - position)


def returned(call: dict[str, Any], item: dict[str, Any], start: int, end: int) -> bool:
    """Whether `call` returned what stands in the response from `start` on, as far as it was kept."""
    stop = min(end, start + len(call["ids"]))
    kept = slice(start, stop)
    return (
        item["response"][kept] == call["ids"][: stop - start]
        and item["log_probs"][kept] == call["log_probs"][: stop - start]
    )


def test_observation_tokens_have_mask_zero_and_no_loss(recording: Recording) -> None:
    """The loss does not change with the log-probability of any token that the tool wrote."""
    seen = 0
    for row in recording.trained_rows():
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
    for row in recording.trained_rows():
        item = by_ids(recording)[tuple(row["input_ids"])]
        first = len(item["prompt"]) - 1
        if item["tir"]["stop_reason"] == "void" or not any(row["advantages"]):
            continue
        assert row["response_mask"] == item["mask"]
        # PPO clips a token's ratio in the second optimiser step of a batch, so not each slope has to be there.
        moved = [row["slopes"][first + position] != 0 for position, kept in enumerate(item["mask"]) if kept]
        assert sum(moved) >= 0.5 * len(moved)
        seen += 1
    assert seen > 0


def test_void_rows_are_masked_and_stay_in_the_baseline(recording: Recording) -> None:
    """A void trajectory has no loss, and its group's mean and standard deviation still count its reward."""
    groups = defaultdict(list)
    for item in recording.rolled_out:
        groups[(item["step"], tuple(item["prompt"]))].append(item)
    void_beside_reward = 0
    trained = defaultdict(list)
    for row in recording.trained_rows():
        trained[tuple(row["input_ids"])].append(row)
    for group in groups.values():
        rewards = [item["reward"] for item in group]
        mean, spread = statistics.mean(rewards), statistics.stdev(rewards)
        voids = [item for item in group if item["tir"]["stop_reason"] == "void"]
        void_beside_reward += bool(voids) and spread > 0
        for item in group:
            for row in trained[tuple(item["prompt"] + item["response"])]:
                if item in voids:
                    assert not any(row["response_mask"])
                    assert not any(row["loss_mask"])
                    assert not any(row["slopes"])
                    assert not any(row["advantages"])
                elif len({i["step"] for i in by_same_ids(recording, item)}) == 1:
                    wanted = (item["reward"] - mean) / (spread + 1e-6)
                    for value, kept in zip(row["advantages"], item["mask"], strict=True):
                        assert value == pytest.approx(wanted * kept, abs=1e-4)
    assert void_beside_reward > 0, "no group had a void trajectory and a spread of rewards"


def by_same_ids(recording: Recording, item: dict[str, Any]) -> list[dict[str, Any]]:
    """All trajectories with the same ids: the same text may have been sampled again in another step."""
    return [
        other
        for other in recording.rolled_out
        if other["prompt"] == item["prompt"] and other["response"] == item["response"]
    ]


def test_weights_changed_and_reached_the_engine(recording: Recording) -> None:
    """Each optimiser step moved the weights, and after it vLLM samples with the trainer's probabilities."""
    assert len(recording.updated) == 2 * STEPS
    assert all(update["largest_change"] > 0 for update in recording.updated)
    assert all(update["grad_norm"] > 0 for update in recording.updated)
    for metrics in recording.metrics:
        assert metrics["training/rollout_probs_diff_max"] < 1e-3


def test_metrics_agree_with_the_trajectories(recording: Recording) -> None:
    """The void ratio that verl logs is the one of the dumped trajectories, and the masked rows are those."""
    for step, metrics in enumerate(recording.metrics, start=1):
        lines = [line for line in recording.dump if line["step"] == step]
        void = [line for line in lines if line["stop_reason"] == "void"]
        assert metrics["tir/void_ratio"] == pytest.approx(len(void) / len(lines))
        assert metrics["tir/filter/masked_rows"] == len(void)
        assert {line["fate"] for line in void} == {"mask"}
        assert metrics["critic/rewards/mean"] == pytest.approx(statistics.mean(line["reward"] for line in lines))
