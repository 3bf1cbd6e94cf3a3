"""`verl-tir eval` over stock verl, real vLLM and the embedded sandbox: killed in the middle, and gone on with."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas
import pytest
import torch
from arithmetic import split, transcripts, verl_row

from tir_tools.evaluation.cost import read_attempts
from tir_tools.trainer import end_marked

pytestmark = pytest.mark.e2e

PROBLEMS, SAMPLES = 12, 2


@dataclass(frozen=True)
class Evaluated:
    """The folder of an evaluation that was killed and gone on with."""

    folder: Path
    killed: list[str]
    """Keys of the trajectories that were finished when it was killed."""
    output: str

    @property
    def samples(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "samples.jsonl").read_text().splitlines()]

    @property
    def dump(self) -> list[dict[str, Any]]:
        return _lines(self.folder)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory, verl_python: str) -> Evaluated:
    """A tiny model on two benchmarks, one trajectory at a time, killed as soon as some of them are finished."""
    from tir_tools.demo.model import build
    from tir_tools.demo.warm_start import WarmStart

    root = tmp_path_factory.mktemp("eval")
    problems, _ = split(seed=0, train=PROBLEMS, validation=1)
    build(root / "model", WarmStart(steps=150, number_weight=1.0), transcripts(0, itertools.cycle(problems)))
    rows = [verl_row(problem, number, "test") for number, problem in enumerate(problems)]
    half = PROBLEMS // 2
    pandas.DataFrame(rows[:half]).to_parquet(root / "first.parquet")
    pandas.DataFrame([row | {"data_source": "second"} for row in rows[half:]]).to_parquet(root / "second.parquet")
    folder = root / "out"
    # The command starts verl with its own interpreter, or what it takes for that.
    main = f"import sys; sys.executable = {verl_python!r}; from verl_tir.cli import app; app()"
    command = [sys.executable, "-c", main, "eval", str(_as_shards(root / "model")), "--output", str(folder)]
    command += ["--data", str(root / "first.parquet"), "--data", str(root / "second.parquet")]
    command += ["--samples", str(SAMPLES), "+platform=cpu", "tir.prompt.template=none"]
    command += ["tir.rollout.max_turn_tokens=96", "data.max_response_length=96", "data.max_prompt_length=64"]
    command += ["tir.sandbox.isolation=best-effort", "tir.sandbox.run_timeout=1.0"]
    command += ["actor_rollout_ref.rollout.max_num_seqs=1"]
    # Else a busy machine may see the first trajectories of the toy model only when all are finished.
    recording = str(Path(__file__).parents[1] / "recording")
    slow = os.environ | {"VERL_USE_EXTERNAL_MODULES": "slow_engine", "PYTHONPATH": recording}
    killed = _killed(command, folder, slow)
    again = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert again.returncode == 0, again.stdout[-8000:] + again.stderr[-4000:]
    return Evaluated(folder, killed, again.stdout)


def _as_shards(model: Path) -> Path:
    """A model's folder as a checkpoint that verl's trainer saved, which is merged before it is evaluated."""
    from safetensors.torch import load_file

    actor = model.parent / "global_step_5" / "actor"
    shutil.copytree(model, actor / "huggingface", ignore=shutil.ignore_patterns("*.safetensors"))
    (actor / "fsdp_config.json").write_text(json.dumps({"FSDP_version": 2, "world_size": 1}))
    torch.save(load_file(model / "model.safetensors"), actor / "model_world_size_1_rank_0.pt")
    return actor.parent


def _killed(command: list[str], folder: Path, environment: dict[str, str]) -> list[str]:
    """Run the command, and kill it and all of verl at once when a few trajectories are there; returns their keys."""
    with (folder.parent / "first.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        deadline = time.monotonic() + 400
        while len(_lines(folder)) < 3 * SAMPLES:
            assert process.poll() is None, (folder.parent / "first.log").read_text()[-8000:]
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.kill()
        process.wait()
        end_marked((folder / "running").read_text())
    return [line["key"] for line in _lines(folder)]


def _lines(folder: Path) -> list[dict[str, Any]]:
    """The whole lines of the dump."""
    found = []
    for file in (folder / "trajectories" / "val").glob("*.jsonl"):
        for text in file.read_text(errors="replace").splitlines():
            try:
                found.append(json.loads(text))
            except json.JSONDecodeError:
                continue
    return found


def test_the_kill_was_in_the_middle_and_nothing_was_taken_again(evaluated: Evaluated) -> None:
    """What was finished counts, and the second run took the rest and no more."""
    assert 3 * SAMPLES <= len(evaluated.killed) < PROBLEMS * SAMPLES
    assert len(evaluated.dump) == PROBLEMS * SAMPLES
    assert set(evaluated.killed) < {line["key"] for line in evaluated.dump}
    attempts = read_attempts(evaluated.folder)
    assert [attempt.number for attempt in attempts] == [1, 2]
    assert attempts[1].trajectories == PROBLEMS * SAMPLES - len(evaluated.killed)
    assert f"{len(evaluated.killed)} trajectories are there; to do: {attempts[1].trajectories}" in " ".join(
        evaluated.output.split()
    )


def test_each_sample_of_each_problem_is_there_once(evaluated: Evaluated) -> None:
    """Of the problem that was asked: its ground truth is the value of the expression in the dumped prompt."""
    found = Counter((line["benchmark"], line["problem"], line["sample"]) for line in evaluated.samples)
    half = PROBLEMS // 2
    expected = {("arithmetic", str(i), j) for i in range(half) for j in range(SAMPLES)}
    expected |= {("second", str(i), j) for i in range(half, PROBLEMS) for j in range(SAMPLES)}
    assert found == Counter(expected)
    truths = {problem: line["ground_truth"] for line in evaluated.samples for problem in [line["problem"]]}
    problems, _ = split(seed=0, train=PROBLEMS, validation=1)
    assert truths == {str(number): problem.answer for number, problem in enumerate(problems)}
    for line in evaluated.dump:
        problem = problems[line["index"]]
        assert problem.question in line["prompt"]
        assert line["ground_truth"] == problem.answer


def test_the_table_is_that_of_the_samples(evaluated: Evaluated) -> None:
    """Averages, counts and behaviour, worked out anew from the samples file."""
    record = json.loads((evaluated.folder / "results.json").read_text())
    for benchmark in record["benchmarks"]:
        lines = [line for line in evaluated.samples if line["benchmark"] == benchmark["name"]]
        values = {name: item["value"] for name, item in benchmark["metrics"].items()}
        assert values[f"avg@{SAMPLES}"] == pytest.approx(sum(line["score"] for line in lines) / len(lines))
        solved = {line["problem"] for line in lines if line["score"] == 1.0}
        assert values[f"pass@{SAMPLES}"] == pytest.approx(len(solved) / (PROBLEMS // 2))
        assert values["void"] == pytest.approx(sum(line["void"] for line in lines) / len(lines))
        assert values["tool_use"] == pytest.approx(sum(line["has_code"] for line in lines) / len(lines))
        for line in lines:
            assert (line["status"] == "correct") == (line["extracted"] == line["ground_truth"])
    assert sum(line["programs"] for line in evaluated.samples) >= 5
    assert any(line["score"] == 1.0 for line in evaluated.samples)
