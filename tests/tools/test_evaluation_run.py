"""The command from end to end, with a script in the place of verl's trainer: what it takes, keeps and refuses."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pandas
import pytest
from arithmetic import split, verl_row
from typer.testing import CliRunner, Result

from tir_tools.evaluation import launch
from tir_tools.evaluation.folder import FolderInUseError, in_folder, noted
from tir_tools.trainer import Launch
from verl_tir import doctor
from verl_tir.cli import app
from verl_tir.config import SandboxConfig
from verl_tir.overrides import RECIPE_VARIABLE

PROBLEMS, SAMPLES = 3, 4

TRAINER = '''
"""Stands for verl's trainer: answers what it is asked for, at most as much as it is allowed to, into the dump."""
import sys
from pathlib import Path
import pyarrow.parquet as pq
sys.path.insert(0, {support!r})
from dumped_lines import FAULT, VOID, answered, finished, write_dump

settings = dict(word.split("=", 1) for word in sys.argv[1:])
assert settings["trainer.val_only"] == "True" and settings["trainer.resume_mode"] == "disable"
run, limit = settings["actor_rollout_ref.rollout.seed"], {limit}
rows = pq.read_table(settings["data.val_files"].strip("'")).to_pylist()
for row in rows[:limit]:
    number, truth = row["extra_info"]["index"], row["reward_model"]["ground_truth"]
    given = [answered(truth), answered("0"), VOID, FAULT if {faulty} else answered("0")]
    batch = [finished(number, i, given[i % 4], truth, run=run) for i in range(row["__rollout_n__"])]
    write_dump(Path(settings["tir.dump_dir"].strip("'")), batch)
if limit < len(rows):
    print("the machine went away")
    sys.exit(137)
'''


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, two benchmark files, and a script for verl's trainer, `script(...)` writes another."""
    # What composing a launch leaves in the environment goes with the test.
    monkeypatch.setenv(RECIPE_VARIABLE, "simpletir")
    monkeypatch.setenv("VERL_PLATFORM", "cpu")
    monkeypatch.chdir(tmp_path)
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text('{"max_position_embeddings": 100000}')
    (model / "model.safetensors").write_bytes(b"weights")
    rows = [verl_row(problem, number, "test") for number, problem in enumerate(split(0, PROBLEMS, 1)[0])]
    pandas.DataFrame(rows).to_parquet(tmp_path / "demo.parquet")
    aime = [row | {"data_source": "math-ai/aime25"} for row in rows]
    pandas.DataFrame(aime).to_parquet(tmp_path / "aime25.parquet")
    script(tmp_path)
    # Nothing is run in it here, and trying it takes seconds; the tests of `doctor` and of whole runs do it.
    monkeypatch.setattr(doctor, "check_sandbox", no_findings)
    monkeypatch.setattr(launch, "launch_command", lambda words: [sys.executable, str(tmp_path / "trainer.py"), *words])
    return tmp_path


async def no_findings(config: SandboxConfig) -> list[doctor.Finding]:
    """A sandbox that is not looked at."""
    return []


def script(folder: Path, limit: int = 1000, faulty: bool = False) -> None:
    """Have the trainer stop after `limit` problems, or lose every fourth sample to the sandbox."""
    support = str(Path(__file__).parents[1] / "support")
    (folder / "trainer.py").write_text(TRAINER.format(support=support, limit=limit, faulty=faulty))


def command(*more: str) -> Result:
    """`verl-tir eval` on both files."""
    words = ["eval", "model", "--data", "demo.parquet", "--data", "aime25.parquet", "--output", "out"]
    words += ["--samples", str(SAMPLES), "tir.sandbox.isolation=best-effort"]
    return CliRunner().invoke(app, [*words, *more])


def samples(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out" / "samples.jsonl").read_text().splitlines()]


def test_interrupted_and_gone_on_with(world: Path) -> None:
    """What was finished is not taken again, each sample is there once, and the table is the same in each form."""
    dry = command("--dry-run")
    assert dry.exit_code == 0, dry.output
    assert "24 trajectories, at most 884,736 response tokens and 240 sandbox calls" in " ".join(dry.output.split())
    assert not (world / "out").exists()

    script(world, limit=4)
    killed = command()
    assert killed.exit_code == 137
    assert "the machine went away" in killed.output
    assert not (world / "out" / "results.md").exists()

    script(world)
    changed = command("tir.rollout.max_turns=3")
    assert changed.exit_code == 2
    assert "tir.rollout.max_turns: 10 there, 3 now" in changed.output
    assert "8 trajectories" in " ".join(command("--dry-run").output.split())
    done = command("--compare", "simpletir-7b")
    assert done.exit_code == 0, done.output
    found = samples(world)
    wanted = {(name, str(i), j) for name in ("arithmetic", "math-ai/aime25") for i in range(3) for j in range(4)}
    assert Counter((line["benchmark"], line["problem"], line["sample"]) for line in found) == Counter(wanted)
    record = json.loads((world / "out" / "results.json").read_text())
    for benchmark in record["benchmarks"]:
        scores = [line["score"] for line in found if line["benchmark"] == benchmark["name"]]
        assert benchmark["metrics"]["avg@4"]["value"] == pytest.approx(sum(scores) / len(scores)) == 0.25
        assert benchmark["metrics"]["maj@4"]["value"] == 0.0
    assert {line["vote"] for line in found if line["status"] == "wrong"} == {1}
    assert (record["compared"][0]["theirs"], record["compared"][0]["inside_interval"]) == (30.9, False)
    text = (world / "out" / "results.md").read_text()
    assert "| avg@4 | 25.0% [25.0, 25.0] | 25.0% [25.0, 25.0] |" in text
    assert "25.0% [25.0, 25.0]" in done.output

    nothing = command()
    assert nothing.exit_code == 0
    assert "all 24 trajectories are there" in nothing.output
    assert samples(world) == found

    more = command("--samples", "5")
    assert more.exit_code == 0, more.output
    assert "to do: 6 trajectories" in " ".join(more.output.split())
    assert len(samples(world)) == 30
    fewer = command("--samples", "2")
    assert (fewer.exit_code, "samples: 5 there, 2 now" in fewer.output) == (2, True)


def test_what_the_sandbox_lost_is_taken_again_and_never_scored(world: Path) -> None:
    """It is in no number, the command says so, and the same command repairs it."""
    script(world, faulty=True)
    first = command()
    assert first.exit_code == 0, first.output
    assert "6 samples are missing or were given up" in first.output
    lost = [line for line in samples(world) if line["status"] == "aborted"]
    assert [line["score"] for line in lost] == [None] * 6
    assert "| aborted, in no number | 3 | 3 |" in (world / "out" / "results.md").read_text()
    script(world)
    second = command()
    assert second.exit_code == 0, second.output
    assert "18 trajectories are there; to do: 6" in " ".join(second.output.split())
    assert not [line for line in samples(world) if line["status"] == "aborted"]


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (["--compare", "gpt"], "no published result 'gpt'"),
        (["--data", "no.parquet"], "no.parquet: there is no such file"),
        (["--sampels", "3"], "--sampels: neither an option of verl-tir eval"),
        (["data.max_response_length=200000"], "the model's context is 100000 tokens"),
        (["tir.rollout.max_turns=zero"], "tir.rollout.max_turns='zero'"),
        (["no.such.key=1"], "no.such.key"),
        (["+tir=nonesuch"], "nonesuch"),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(world: Path, more: list[str], complaint: str) -> None:
    """With exit status 2, and no folder made."""
    result = command(*more)
    assert (result.exit_code, complaint in " ".join(result.output.split())) == (2, True), result.output
    assert not (world / "out").exists()


def test_a_model_that_the_hub_does_not_give_is_said_to_be_missing(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the engine looks for it, minutes later; the message is the hub's own."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    words = ["eval", "nobody/no-such-model", "--data", "demo.parquet", "--output", "out"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2, result.output
    assert "no-such-model is not a folder here, and the Hugging Face hub did not give it" in " ".join(
        result.output.split()
    )


SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]


def test_what_a_killed_command_left_running_is_ended(tmp_path: Path) -> None:
    """Else it would go on writing beside the next one."""
    with Launch(SLEEPER, tmp_path / "log", {}) as left:
        (tmp_path / "running").write_text(left.mark)
        with in_folder(tmp_path):
            assert left.poll() is not None
        assert not (tmp_path / "running").exists()


def test_one_command_at_a_time_works_in_a_folder(tmp_path: Path) -> None:
    """A second one says so, and leaves the first one's run alone."""
    holder = (
        "import sys, time; from pathlib import Path; from tir_tools.evaluation.folder import in_folder\n"
        "with in_folder(Path(sys.argv[1])):\n    Path(sys.argv[1], 'held').touch()\n    time.sleep(60)"
    )
    first = subprocess.Popen([sys.executable, "-c", holder, str(tmp_path)])
    try:
        deadline = time.monotonic() + 30
        while not (tmp_path / "held").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        with pytest.raises(FolderInUseError, match="another verl-tir eval is at work"), in_folder(tmp_path):
            pass
    finally:
        first.kill()
        first.wait()
    with in_folder(tmp_path), noted(tmp_path, "m"):
        assert (tmp_path / "running").read_text() == "m"
    assert not (tmp_path / "running").exists()
