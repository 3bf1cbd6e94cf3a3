"""Shared by the tests that run verl's trainer for real."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas
import pytest

from verl_tir.demo.processes import Launch
from verl_tir.demo.tasks import Problem, Transcript, verl_row


@dataclass(frozen=True)
class VerlRun:
    """A finished run of verl's trainer."""

    folder: Path
    status: int
    log: str

    def records(self, kind: str) -> list[dict[str, Any]]:
        """What `recording/tir_recorder.py` wrote in verl's processes."""
        return [json.loads(path.read_text()) for path in sorted((self.folder / "records").glob(f"{kind}-*.json"))]

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The metrics of each logged step."""
        return [line["data"] for line in _read_lines(self.folder / "metrics.jsonl")]

    @property
    def dump(self) -> list[dict[str, Any]]:
        """The dumped training trajectories."""
        return [line for path in sorted((self.folder / "dump" / "train").glob("*.jsonl")) for line in _read_lines(path)]


RunVerl = Callable[[list[Problem], Iterator[Transcript], dict[str, Any]], VerlRun]


@pytest.fixture(scope="session")
def run_verl(tmp_path_factory: pytest.TempPathFactory) -> RunVerl:
    """A function that grows a tiny model from transcripts and trains it on problems with verl's own launch command."""

    def run(problems: list[Problem], stream: Iterator[Transcript], overrides: dict[str, Any]) -> VerlRun:
        # Both take seconds to import, which the tests that run no verl should not pay.
        from verl_tir.demo.model import WarmStart, build

        folder = tmp_path_factory.mktemp("verl")
        (folder / "records").mkdir()
        build(folder / "model", WarmStart(steps=150), stream)
        rows = [verl_row(problem, index, "train") for index, problem in enumerate(problems)]
        pandas.DataFrame(rows).to_parquet(folder / "problems.parquet")
        words = {
            "+tir": "simpletir",
            "+platform": "cpu",
            "tir.prompt.template": "none",
            "tir.sandbox.run_timeout": 1.0,
            # The programs are harmless, and a container that denies namespaces must not fail what is tested here.
            "tir.sandbox.isolation": "best-effort",
            # The few problems of a test are often solved alike by all samples.
            "tir.filter.min_reward_std": "null",
            "tir.dump_dir": folder / "dump",
            "data.train_files": folder / "problems.parquet",
            "data.val_files": folder / "problems.parquet",
            "data.train_batch_size": len(problems),
            "data.max_prompt_length": 64,
            "data.max_response_length": 96,
            "actor_rollout_ref.model.path": folder / "model",
            "actor_rollout_ref.actor.optim.lr": 3e-4,
            "trainer.logger": "[file]",
            "trainer.val_before_train": False,
            "hydra.run.dir": folder / "hydra",
            **overrides,
        }
        environment = {
            "VERL_FILE_LOGGER_PATH": str(folder / "metrics.jsonl"),
            "VERL_USE_EXTERNAL_MODULES": "tir_recorder",
            "TIR_RECORD_FOLDER": str(folder / "records"),
            "PYTHONPATH": str(Path(__file__).parent / "recording"),
        }
        command = [sys.executable, "-m", "verl.trainer.main_ppo", *(f"{key}={value}" for key, value in words.items())]
        log = folder / "verl.log"
        with Launch(command, log, environment, folder) as launch:
            status = launch.wait(600)
        return VerlRun(folder, status, log.read_text(errors="replace"))

    return run


def _read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
