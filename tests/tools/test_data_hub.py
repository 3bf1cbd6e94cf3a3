"""Data sets of the hub: fetched by the hub's own client from a server on this machine, then found in its cache."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from fake_hub import COMMIT, serve_hub


def prepare(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, since the client reads its environment once; its cache is in the folder."""
    command = [sys.executable, "-m", "verl_tir", "data", "prepare", *words, "--workers", "1"]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    env = {**inherited, "HF_HOME": str(folder / "cache"), "HF_HUB_ETAG_TIMEOUT": "2", **environment}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120)


def test_from_the_hub_then_from_its_cache(tmp_path: Path) -> None:
    """Only the data set's own files are fetched, the commit is noted, and a second time no network is needed."""
    repository = tmp_path / "hub" / "DigitalLearningGmbH" / "MATH-lighteval"
    for name, rows in {
        "data/train-00000-of-00002.parquet": 40,
        "data/train-00001-of-00002.parquet": 35,
        "data/test-00000-of-00001.parquet": 5,
        "algebra/train-00000-of-00001.parquet": 5,
    }.items():
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        table = {
            "problem": [f"What is ${number}+{len(name)}$ of {name}?" for number in range(rows)],
            "level": ["Level 5"] * rows,
            "type": ["Algebra"] * rows,
            "solution": [rf"It is $\boxed{{{number}}}$." for number in range(rows)],
        }
        pq.write_table(pa.table(table), repository / name)
    (repository / "README.md").write_text("a card")

    with serve_hub(tmp_path / "hub") as url:
        done = prepare(tmp_path, "math", "--expect", "75", HF_ENDPOINT=url)
    assert done.returncode == 0, done.stderr
    rows = pq.read_table(tmp_path / "data" / "math.parquet").to_pylist()
    assert len(rows) == 75
    assert rows[-1]["reward_model"]["ground_truth"] == "34"
    assert rows[0]["extra_info"]["level"] == 5
    manifest = json.loads((tmp_path / "data" / "math.manifest.json").read_text())
    assert manifest["source"]["revision"] == COMMIT
    names = ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]
    assert [file["name"] for file in manifest["source"]["files"]] == names
    fetched = {path.name for path in (tmp_path / "cache").rglob("snapshots/**/*") if path.is_file()}
    assert fetched == set(names)

    again = prepare(tmp_path, "math", "--expect", "75", "-o", "again.parquet", HF_HUB_OFFLINE="1")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "again.parquet").read_bytes() == (tmp_path / "data" / "math.parquet").read_bytes()


def test_without_the_hub(tmp_path: Path) -> None:
    """Where the hub cannot be reached, the message names the data set and the ways out, and nothing is written."""
    done = prepare(tmp_path, "math500", HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 1
    assert "math500: HuggingFaceH4/MATH-500 cannot be had from the Hugging Face hub" in done.stderr
    assert "hf download HuggingFaceH4/MATH-500 --repo-type dataset" in done.stderr
    assert "verl-tir data prepare math500 --from math500" in done.stderr
    assert "HF_ENDPOINT" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()


def test_a_repository_that_has_changed(tmp_path: Path) -> None:
    """A repository without the files that are known is an error that names what was looked for."""
    repository = tmp_path / "hub" / "math-ai" / "amc23"
    repository.mkdir(parents=True)
    (repository / "other.txt").write_text("x")
    with serve_hub(tmp_path / "hub") as url:
        done = prepare(tmp_path, "amc23", HF_ENDPOINT=url)
    assert done.returncode == 1
    assert "amc23: math-ai/amc23 at main" in done.stderr
    assert "no file that matches test-*.parquet or *.parquet;" in done.stderr
    assert "Traceback" not in done.stderr
