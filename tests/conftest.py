"""Shared by the tests that run verl's trainer for real."""

from __future__ import annotations

import inspect
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pandas
import pytest
from arithmetic import Problem, verl_row
from hypothesis import settings
from launches import Launcher
from nightly import WHOLE
from ray_start import RAY_ATTEMPTS, ray_did_not_start
from warm_python import warm_python

from tir_tools.demo.formats import Transcript
from tir_tools.trainer import Launch, end_marked

# An example's time says what else the machine does. `--hypothesis-profile=ci` has none either.
settings.register_profile("search", deadline=None)
settings.load_profile("search")


SLOW = {
    "contracts/test_plugin.py",
    "math_answers/test_cheap_answers.py",
    "math_answers/test_parts.py",
    "math_answers/test_pool.py",
    "plugin/test_doctor.py",
    "plugin/test_estimators.py",
    "plugin/test_estimators_storage.py",
    "plugin/test_fleet.py",
    "plugin/test_plugin.py",
    "plugin/test_recipes.py",
    "plugin/test_sampler.py",
    "plugin/test_sampler_async.py",
    "plugin/test_sampler_gates.py",
    "plugin/test_session.py",
    "plugin/test_void_cost.py",
    "plugin/test_void_cost_storage.py",
    "sandbox_client/test_calls.py",
    "sandbox_client/test_health.py",
    "sandbox_client/test_hostile_answers.py",
    "sandbox_client/test_outage.py",
    "sandbox_server/hostile/test_hostile_calls.py",
    "sandbox_server/hostile/test_hostile_escapes.py",
    "sandbox_server/hostile/test_hostile_files.py",
    "sandbox_server/hostile/test_hostile_resources.py",
    "sandbox_server/hostile/test_hostile_traces.py",
    "sandbox_server/hostile/test_hostile_worker.py",
    "sandbox_server/test_connections.py",
    "sandbox_server/test_differential.py",
    "sandbox_server/test_isolation.py",
    "sandbox_server/test_lifecycle.py",
    "sandbox_server/test_metrics.py",
    "sandbox_server/test_outages.py",
    "sandbox_server/test_soak.py",
    "test_patterns.py",
    "tools/test_data_prepare.py",
    "tools/test_demo_pretrained.py",
    "tools/test_evaluation_run.py",
    "verl_cpu/test_plugin.py",
}
"""Files of more than ten seconds, which `make test-fast` leaves out."""
TESTS = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The marker `slow`, and the groups for `make test`, each for one worker: a file, or a run of verl's trainer.

    pytest-xdist begins with the groups of most tests, and a worker holds back the next one when it has two tests left;
    so the runs of a single test, which come last, let both workers end at about the same time.
    """
    for item in items:
        name = item.path.relative_to(TESTS).as_posix()
        if name in SLOW:
            item.add_marker(pytest.mark.slow)
        # What does not share its file's run of verl is a group by itself.
        alone = item.path.parent.name == "e2e" and "run_verl" in inspect.signature(item.function).parameters
        item.add_marker(pytest.mark.xdist_group(item.name if alone else name))


@dataclass(frozen=True)
class VerlRun:
    """A finished run of verl's trainer."""

    folder: Path
    """Of this run and of those before it that it resumed."""
    status: int
    log: str
    number: int = 0
    """How many runs before it had the same folder."""

    def records(self, kind: str) -> list[dict[str, Any]]:
        """What `recording/tir_recorder.py` wrote in verl's processes."""
        return [json.loads(path.read_text()) for path in sorted(self.record_folder.glob(f"{kind}-*.json"))]

    @property
    def record_folder(self) -> Path:
        """One file for each event, named `{kind}-{process}-{number in the process}.json`."""
        return self.folder / f"records{self.number}"

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The metrics of each logged step."""
        return [line["data"] for line in _read_lines(self.folder / f"metrics{self.number}.jsonl")]

    @property
    def dump(self) -> list[dict[str, Any]]:
        """The dumped training trajectories."""
        return [line for path in sorted((self.folder / "dump" / "train").glob("*.jsonl")) for line in _read_lines(path)]


class RunVerl(Protocol):
    """See `run_verl`."""

    def __call__(
        self,
        problems: list[Problem],
        stream: Iterator[Transcript],
        overrides: dict[str, Any],
        *,
        after: VerlRun | None = None,
        kill_when: Callable[[Path], bool] | None = None,
        slow_engine: bool = False,
        change_model: Callable[[Path], None] | None = None,
    ) -> VerlRun: ...


@pytest.fixture(scope="session")
def verl_python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The Python that runs verl: one whose processes begin with their imports done, but in a nightly run."""
    with _python(tmp_path_factory, training=True) as program:
        yield program


@pytest.fixture(scope="session")
def launch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    """verl's launch command, in a process of its own; see `Launcher`."""
    with _python(tmp_path_factory, training=False) as program:
        yield Launcher(program)


def _python(folders: pytest.TempPathFactory, *, training: bool) -> AbstractContextManager[str]:
    return nullcontext(sys.executable) if WHOLE else warm_python(folders.mktemp("python"), training=training)


@pytest.fixture(scope="session")
def run_verl(tmp_path_factory: pytest.TempPathFactory, verl_python: str) -> RunVerl:
    """A function that grows a tiny model from transcripts and trains it on problems with verl's own launch command.

    With `after`, it launches once more in that run's folder, which has the model and may have checkpoints. The run is
    killed, with all that it started, as soon as `kill_when(folder)` holds. With `slow_engine` its requests last long
    enough for updates to cut them off. `change_model` gets the folder of the model that was grown.
    """

    def run(
        problems: list[Problem],
        stream: Iterator[Transcript],
        overrides: dict[str, Any],
        *,
        after: VerlRun | None = None,
        kill_when: Callable[[Path], bool] | None = None,
        slow_engine: bool = False,
        change_model: Callable[[Path], None] | None = None,
    ) -> VerlRun:
        # Both take seconds to import, which the tests that run no verl should not pay.
        from tir_tools.demo.model import build
        from tir_tools.demo.warm_start import WarmStart

        if after is None:
            folder, number = tmp_path_factory.mktemp("verl"), 0
            build(folder / "model", WarmStart(steps=150, number_weight=1.0), stream)
            if change_model is not None:
                change_model(folder / "model")
            rows = [verl_row(problem, index, "train") for index, problem in enumerate(problems)]
            pandas.DataFrame(rows).to_parquet(folder / "problems.parquet")
        else:
            folder, number = after.folder, after.number + 1
        (folder / f"records{number}").mkdir()
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
            # Engine and trainer agree to rounding, on every processor.
            "actor_rollout_ref.rollout.dtype": "float32",
            "trainer.logger": "[file]",
            "trainer.val_before_train": False,
            "trainer.default_local_dir": folder / "checkpoints",
            "hydra.run.dir": folder / "hydra",
            **overrides,
        }
        environment = {
            # verl's file logger empties its file when it opens it.
            "VERL_FILE_LOGGER_PATH": str(folder / f"metrics{number}.jsonl"),
            "VERL_USE_EXTERNAL_MODULES": "tir_recorder,slow_engine" if slow_engine else "tir_recorder",
            "TIR_RECORD_FOLDER": str(folder / f"records{number}"),
            "PYTHONPATH": str(Path(__file__).parent / "recording"),
        }
        command = [verl_python, "-m", "verl.trainer.main_ppo", *(f"{key}={value}" for key, value in words.items())]
        log = folder / f"verl{number}.log"
        for _ in RAY_ATTEMPTS:
            with Launch(command, log, environment, folder) as launch:
                while kill_when is not None and launch.poll() is None:
                    if kill_when(folder):
                        end_marked(launch.mark)
                    time.sleep(0.05)
                status = launch.wait(600)
            if not ray_did_not_start(output := log.read_text(errors="replace")):
                break
        return VerlRun(folder, status, output, number)

    return run


def _read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
