"""What a report reads of a run's folder: metrics, settings and how it ended, also while the run goes on."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest

from tir_tools.files import Tail
from tir_tools.report.history import History, Point, trend, where
from tir_tools.report.key_figures import key_figures
from tir_tools.report.metrics_log import MetricsError, MetricsLog
from tir_tools.report.run_data import RunFiles, RunNotFoundError
from tir_tools.report.settings import HIDDEN, LaunchSettings, read_settings
from tir_tools.report.status import RunState, read_status


def log(path: Path, *steps: int, value: float = 0.5) -> Path:
    """Append steps as verl's file logger does."""
    with path.open("a") as file:
        for step in steps:
            file.write(json.dumps({"step": step, "data": {"training/global_step": step, "a": value}}) + "\n")
    return path


def test_a_growing_file_is_read_as_it_grows(tmp_path: Path) -> None:
    """What is still being written is left for the next look, and nothing is read twice."""
    path = tmp_path / "metrics.jsonl"
    metrics = MetricsLog([path])
    assert metrics.read().training_steps == []
    log(path, 1, 2)
    with path.open("a") as file:
        file.write('{"step": 3, "da')
    assert metrics.read().training_steps == [1, 2]
    with path.open("a") as file:
        file.write('ta": {"training/global_step": 3}}\n')
    assert metrics.read().training_steps == [1, 2, 3]
    assert list(Tail(path).lines())[-1].endswith("}}")


def test_a_file_that_begins_anew_adds_to_what_was_read(tmp_path: Path) -> None:
    """verl's file logger empties its file when a run is resumed; its steps then have the last word."""
    path = log(tmp_path / "metrics.jsonl", 1, 2, 3, value=0.1)
    metrics = MetricsLog([path])
    metrics.read()
    path.unlink()
    log(path, 3, value=0.9)
    assert metrics.read().series("a") == ((1, 0.1), (2, 0.1), (3, 0.9))


def test_parts_of_a_run_are_joined(tmp_path: Path) -> None:
    """A run that was resumed may have kept a file for each part; the younger one has the last word."""
    old, new = log(tmp_path / "metrics0.jsonl", 1, 2), log(tmp_path / "metrics1.jsonl", 2, 3, value=0.9)
    os.utime(old, (1, 1))
    files = RunFiles.find(tmp_path)
    assert files.metrics == (old, new)
    assert MetricsLog(files.metrics).read().series("a") == ((1, 0.5), (2, 0.9), (3, 0.9))


def test_what_is_no_number_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The logger writes NaN as null; a line broken by a crash is passed over with a warning."""
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step":1,"data":{"a":null,"b":"text","c":true,"d":2,"e":1e999}}\n{"step":2,"da\n')
    assert MetricsLog([path]).read().names == {"c", "d"}
    assert "is passed over that is not JSON" in caplog.text


@pytest.mark.parametrize("line", ['{"a": 1}', "[1, 2]", "5"])
def test_another_file_is_refused(line: str, tmp_path: Path) -> None:
    """With its name, the line and the file that was meant."""
    path = tmp_path / "train.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(MetricsError, match=r"train\.jsonl: no line of verl's file logger .*trainer\.logger"):
        MetricsLog([path]).read()


def test_history() -> None:
    """Series, ratios and both ends of a run."""
    history = History({2: {"a": 2.0, "b": 4.0}, 1: {"a": 1.0, "b": 0.0}, 3: {"a": 6.0}})
    assert history.series("a") == ((1, 1.0), (2, 2.0), (3, 6.0))
    assert history.ratio("a", "b") == ((2, 0.5),)
    assert history.last_step == 3
    ends = trend(tuple(Point(step, float(step)) for step in range(1, 101)))
    assert (ends.early, ends.late, ends.window) == (5.5, 95.5, 10)
    assert trend((Point(1, 1.0),)) is None
    assert trend((Point(1, 1.0), Point(2, 2.0))).noise == math.inf
    jitter = trend(tuple(Point(step, 0.5 + 0.1 * (-1) ** step) for step in range(1, 31)))
    assert jitter.noise == pytest.approx(0.2 / math.sqrt(10), rel=0.05)
    assert where(history.series("a"), lambda value: value > 1) == (2, 3)
    assert history.with_values({1: {"a": 9.0, "c": 9.0}, 4: {"c": 1.0}}).series("c") == ((1, 9.0), (4, 1.0))
    assert history.with_values({1: {"a": 9.0}}).series("a")[0].value == 1.0


WAYS = {
    "learning": ([0.1, 0.15, 0.2, 0.22, 0.3, 0.33], "better"),
    "falling": ([0.3, 0.3, 0.28, 0.2, 0.12, 0.1], "worse"),
    "jittering": ([0.15, 0.24, 0.2, 0.3, 0.16, 0.24], "same"),
    "two points": ([0.1, 0.9], "same"),
    "hardly moving": ([0.5, 0.5, 0.5, 0.51, 0.51, 0.51], "same"),
}


@pytest.mark.parametrize(("values", "way"), WAYS.values(), ids=WAYS)
def test_a_key_figure_knows_its_direction(values: list[float], way: str) -> None:
    """Where it went further than it jitters from step to step."""
    history = History({step: {"tir/correct_ratio": value} for step, value in enumerate(values, start=1)})
    (figure,) = key_figures(history)
    assert figure.direction == way


def test_settings_of_the_demo_and_of_hydra(tmp_path: Path) -> None:
    """Either file gives the same; the last of two values counts, and what may be a secret is hidden."""
    words = ["+tir=simpletir", "tir.filter.void=off", "a.b=1", "a.b=2", "actor_rollout_ref.model.path=/models/Qwen/"]
    words += ["tir.sandbox.headers={X-Key: abc}", "tir.sandbox.token_env=TOKEN", "hub.api_key=abc", "x.auth=abc"]
    words += ["trainer.total_training_steps=20", "data.max_tokens=5"]
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "command.txt").write_text(" \\\n  ".join(["python", "-m", "verl.trainer.main_ppo", *words]))
    (tmp_path / "run" / ".hydra").mkdir(parents=True)
    (tmp_path / "run" / ".hydra" / "overrides.yaml").write_text("".join(f"- {json.dumps(word)}\n" for word in words))
    settings = read_settings(tmp_path / "demo")
    assert settings == read_settings(tmp_path / "run")
    assert (settings.recipe, settings.model, settings.total_steps) == ("simpletir", "Qwen", 20)
    shown = settings.overrides
    assert (shown["a.b"], shown["tir.sandbox.token_env"], shown["data.max_tokens"]) == ("2", "TOKEN", "5")
    assert [key for key, value in shown.items() if value == HIDDEN] == ["tir.sandbox.headers", "hub.api_key", "x.auth"]
    assert read_settings(tmp_path) == LaunchSettings()


def test_settings_that_differ() -> None:
    """Those with two values, and those that one side leaves alone."""
    first, second = LaunchSettings.of(["a=1", "b=1", "c=1"]), LaunchSettings.of(["a=1", "b=2", "d=3"])
    assert first.differences(second) == [("b", "1", "2"), ("c", "1", None), ("d", None, "3")]


OUTAGE = "\x1b[36m(TaskRunner pid=1)\x1b[0m verl_tir.sampler.run_limits.OutageError: 70 of the batch's 128 say nothing"
RAYS = "ray.exceptions.RayTaskError(OutageError): \x1b[36mray::TaskRunnerV1.run()\x1b[39m (pid=1)"
TRACEBACK = [RAYS, "  File a.py, line 1", "verl_tir.sampler.run_limits.OutageError: 70 of the batch's 128 say nothing"]
HYDRA = "Set the environment variable HYDRA_FULL_ERROR=1 for a complete stack trace."

# id: exit status, log, last step, state, error
ENDS = {
    "going on": (None, ["step 1"], 3, RunState.OPEN, None),
    "an error that it survived": (None, ["ValueError: never mind", "step 3"], 3, RunState.OPEN, None),
    "all steps done": (None, [], 20, RunState.FINISHED, None),
    "said so": ("0", [], 3, RunState.FINISHED, None),
    "stopped by hand": ("130", [], 3, RunState.STOPPED, None),
    "failed": ("1", [*TRACEBACK, HYDRA], 3, RunState.FAILED, "OutageError: 70 of the batch's 128 say nothing"),
    "failed, says the log": (
        None,
        [OUTAGE, RAYS, HYDRA],
        3,
        RunState.FAILED,
        "OutageError: 70 of the batch's 128 say nothing",
    ),
    "failed without a word": ("1", [], 3, RunState.FAILED, None),
}


@pytest.mark.parametrize(("code", "lines", "step", "state", "error"), ENDS.values(), ids=ENDS)
def test_how_a_run_ended(
    code: str | None, lines: list[str], step: int, state: RunState, error: str | None, tmp_path: Path
) -> None:
    """From the demo's exit status, or from the log and the steps that were asked for."""
    if code is not None:
        (tmp_path / "exit_status.txt").write_text(f"{code}\n")
    (tmp_path / "verl.log").write_text("\n".join(lines))
    status = read_status(tmp_path, tmp_path / "verl.log", (), step, 20)
    assert (status.state, status.error) == (state, error)


def test_what_is_looked_for_is_named(tmp_path: Path) -> None:
    """A folder without a run, a file for a folder, and a path that is not there."""
    with pytest.raises(RunNotFoundError, match=r"neither metrics\*\.jsonl nor .* --metrics FILE .*tir\.dump_dir"):
        RunFiles.find(tmp_path)
    path = log(tmp_path / "some.jsonl", 1)
    with pytest.raises(RunNotFoundError, match=r"some\.jsonl is not a folder; give its metrics as --metrics"):
        RunFiles.find(path)
    with pytest.raises(RunNotFoundError, match="does not exist"):
        RunFiles.find(None, [tmp_path / "no.jsonl"])
    assert RunFiles.find(None, [path]).name == "some"
