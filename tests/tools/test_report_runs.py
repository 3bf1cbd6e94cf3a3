"""Reports of three real runs: what a stranger reads in them, and how the commands are used."""

from __future__ import annotations

import json
import re
import threading
import time
from html import unescape
from pathlib import Path

import pytest
from report_runs import NAMES, unpack
from rich.console import Console
from typer.testing import CliRunner

from tir_tools.report.compare import comparison_page
from tir_tools.report.page import report_page, script_json
from tir_tools.report.run_data import Run, RunFiles, read_run
from tir_tools.report.status import RunState
from tir_tools.report.watch import spark, watch
from tir_tools.report.write import ReportRequest, write_report
from verl_tir.cli import app


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Their folders."""
    return {name: unpack(name, tmp_path_factory.mktemp("runs")) for name in NAMES}


@pytest.fixture(scope="module")
def runs(folders: dict[str, Path]) -> dict[str, Run]:
    return {name: read_run(RunFiles.find(folder)) for name, folder in folders.items()}


@pytest.fixture(scope="module")
def pages(runs: dict[str, Run]) -> dict[str, str]:
    """Their text, as it is read."""
    return {name: text_of(report_page(run)) for name, run in runs.items()}


def text_of(page: str) -> str:
    """What a page says, without its scripts, styles and tags."""
    body = re.sub(r"<(script|style|svg)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


PROBLEMS = {
    "healthy": [],
    "filter_off": ["void trained on"],
    "sandbox_down": ["run failed", "sandbox faults", "aborted trajectories"],
}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_off_is_marked_and_nothing_else(name: str, runs: dict[str, Run]) -> None:
    """The healthy run has no problem; each of the others its own."""
    assert [finding.mark for finding in runs[name].findings if finding.level == "problem"] == PROBLEMS[name]


def test_a_stranger_reads_why_the_runs_differ(runs: dict[str, Run], pages: dict[str, str]) -> None:
    """From the page alone: which ended well, which trained on void trajectories, and what killed the third."""
    assert "finished" in pages["healthy"]
    assert "Nothing stands out" in pages["healthy"]
    assert "Void trajectories are trained on" in pages["filter_off"]
    assert "tir.filter.void=off" in pages["filter_off"]
    assert "tir.filter.void off" in pages["filter_off"], "the launch's overrides are shown"
    down = pages["sandbox_down"]
    assert "failed" in down
    assert "The run ended with an error after step 4" in down
    assert "OutageError: 112 of the batch's 144 trajectories say nothing about the model" in down
    assert "In steps 3 to 4 up to 77% of the calls failed after all retries" in down
    assert "verl-tir doctor" in down
    states = {name: run.status.state for name, run in runs.items()}
    assert states == {"healthy": RunState.FINISHED, "filter_off": RunState.FINISHED, "sandbox_down": RunState.FAILED}


def test_what_became_of_void_trajectories(runs: dict[str, Run]) -> None:
    """Masked where the filter was on, trained on where it was off; the counts are those of the sampler."""
    for name, fate in (("healthy", "mask"), ("filter_off", "train")):
        void = [entry for entry in runs[name].index.entries if entry.void and entry.partition == "train"]
        assert void
        assert {str(entry.fate) for entry in void} == {fate}
    for step in range(1, 7):
        values = runs["healthy"].history.values(step)
        assert values["dump/fate/mask"] == values["tir/filter/masked_rows/total"]
        assert values["dump/fate/train"] + values["dump/fate/mask"] == values["tir/trajectories/total"]


def test_the_dump_gives_the_samplers_own_metrics(folders: dict[str, Path], runs: dict[str, Run]) -> None:
    """Without the metrics file, what the dump adds up to is what the sampler had logged."""
    alone = read_run(RunFiles.find(None, dump=folders["sandbox_down"] / "trajectories"))
    for step in (1, 2, 3, 4):
        logged, found = runs["sandbox_down"].history.values(step), alone.history.values(step)
        for name in (
            "tir/void_ratio",
            "tir/correct_ratio",
            "tir/turns/mean",
            "tir/log_prob/p1",
            "tir/stop/sandbox_fault",
        ):
            assert found[name] == pytest.approx(logged[name]), (step, name)
        assert found["tir/filter/sampled/reward_mean"] == pytest.approx(logged["tir/filter/sampled/reward_mean"])


def test_two_runs_side_by_side(runs: dict[str, Run]) -> None:
    """Numbers with their difference, the marks of both, and the setting that differs."""
    page = text_of(comparison_page(runs["healthy"], runs["filter_off"]))
    assert "healthy and filter_off" in page
    assert "tir.filter.void (default) off" in page
    assert "Void trajectories are trained on" in page
    assert re.search(r"Right answers \d+% \d+% [+-]?[\d.]+ points", page)
    assert "Void and trained on" in page


def test_a_report_is_small_and_names_nothing_outside(runs: dict[str, Run]) -> None:
    """A policy that allows its own script and style by their hashes, and nothing else; no address to load from."""
    page = report_page(runs["healthy"])
    assert len(page) < 2**20
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1].replace("&#39;", "'")
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert not re.findall(
        r"(?:src|href|action)=(?![\"']?#)[^\s>]+", re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    )


def test_names_and_settings_are_escaped(folders: dict[str, Path], tmp_path: Path) -> None:
    """Whatever a run, a benchmark or an override is called."""
    hostile = "<script>window.pwned=1</script>"
    (tmp_path / "command.txt").write_text(f"a.b={hostile} \\\n")
    values = {"training/global_step": 1, f"val-aux/{hostile}/correct/mean@1": 0.5}
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": 1, "data": values}) + "\n")
    page = report_page(read_run(RunFiles.find(tmp_path)))
    assert hostile not in page
    assert "&lt;script&gt;window.pwned=1" in page
    assert script_json({"a": "</script>&'\u2028<!--"}) == r'{"a":"\u003c/script\u003e\u0026\u0027\u2028\u003c!--"}'


def test_a_run_that_failed_before_its_first_step(tmp_path: Path) -> None:
    """It has a log and nothing else; the page says what went wrong."""
    (tmp_path / "verl.log").write_text("Traceback (most recent call last):\nValueError: no such model: /x\n")
    (tmp_path / "exit_status.txt").write_text("1\n")
    text = text_of(report_page(read_run(RunFiles.find(tmp_path))))
    assert "The run ended with an error before its first step ValueError: no such model: /x" in text
    assert "Without a trajectory dump" in text


def test_the_report_command(folders: dict[str, Path], tmp_path: Path) -> None:
    """It writes into the run's folder, or where it is told; two runs are compared; what is wrong is named."""
    runner = CliRunner()
    healthy, down = str(folders["healthy"]), str(folders["sandbox_down"])
    done = runner.invoke(app, ["report", healthy])
    assert done.exit_code == 0, done.output
    assert (folders["healthy"] / "report.html").read_text().startswith("<!doctype html>")
    files = [
        "--metrics",
        f"{down}/metrics.jsonl",
        "--dump",
        f"{down}/trajectories",
        "-o",
        str(tmp_path / "a" / "b.html"),
    ]
    done = runner.invoke(app, ["report", *files, "--trajectories", "10"])
    assert done.exit_code == 0, done.output
    assert "Showing 10 of 608" in (tmp_path / "a" / "b.html").read_text()
    done = runner.invoke(app, ["report", healthy, down, "-o", str(tmp_path / "c.html")])
    assert done.exit_code == 0, done.output
    assert "healthy" in (tmp_path / "c.html").read_text()
    for words, complaint in (
        ([], "name a run's folder"),
        ([healthy, down, healthy], "two are compared"),
        ([healthy, down, "--watch", "9"], "leave out"),
        ([str(tmp_path / "no")], "does not exist"),
        ([str(tmp_path)], "neither metrics"),
    ):
        done = runner.invoke(app, ["report", *words])
        assert done.exit_code == 2
        assert complaint in " ".join(re.sub(r"[│╭╮╰╯─]", " ", done.output).split())


def test_a_report_follows_a_run(folders: dict[str, Path], tmp_path: Path) -> None:
    """While the run goes on the page says so and loads itself anew; at the end it does neither."""
    source = (folders["healthy"] / "metrics.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "metrics.jsonl").write_text("".join(source[:3]))
    request = ReportRequest((tmp_path,), watch=1)
    thread = threading.Thread(target=write_report, args=(request, Console(quiet=True)))
    thread.start()
    page = tmp_path / "report.html"
    wait_for(page.exists)
    first = page.read_text()
    assert '<meta http-equiv="refresh" content="1">' in first
    assert "The run has not said that it ended" in first
    (tmp_path / "metrics.jsonl").write_text("".join(source))
    (tmp_path / "exit_status.txt").write_text("0\n")
    thread.join(30)
    assert not thread.is_alive()
    assert 'http-equiv="refresh"' not in page.read_text()
    assert "step 6" in text_of(page.read_text())


def wait_for(holds: object) -> None:
    """Until it holds."""
    for _ in range(400):
        if holds():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come")


@pytest.mark.parametrize("name", NAMES)
def test_the_terminal_shows_the_same(name: str, folders: dict[str, Path]) -> None:
    """Key figures with their lines, and the marks."""
    console = Console(width=100, record=True, force_terminal=False, file=open("/dev/null", "w"))  # noqa: SIM115
    watch(RunFiles.find(folders[name]), console, 1.0, once=True)
    shown = " ".join(console.export_text().split())
    assert re.search(r"Void trajectories \d+% [▁▂▃▄▅▆▇█]+ \d+% → \d+%", shown)
    assert {"healthy": "finished step 6 of 6 simpletir", "filter_off": "Void trajectories are trained on"}.get(
        name, "problem: The sandbox failed."
    ) in shown


def test_watching_ends_with_the_run(folders: dict[str, Path], tmp_path: Path) -> None:
    """A run that has hardly begun has no metrics yet; each look reads what was added."""
    source = (folders["healthy"] / "metrics.jsonl").read_text()
    console = Console(width=100, force_terminal=False, file=(tmp_path / "out.txt").open("w"))
    files = RunFiles("a run", tmp_path, (tmp_path / "metrics.jsonl",), None, None)
    thread = threading.Thread(target=watch, args=(files, console, 0.05, False))
    thread.start()
    (tmp_path / "metrics.jsonl").write_text(source)
    (tmp_path / "exit_status.txt").write_text("0\n")
    thread.join(20)
    assert not thread.is_alive()
    console.file.close()
    assert "finished" in (tmp_path / "out.txt").read_text()


def test_blocks_show_a_series() -> None:
    """The lowest and the highest value at the ends of the scale; long series by the mean of stretches."""
    from tir_tools.report.history import Point

    assert spark(tuple(Point(step, value) for step, value in enumerate([0, 1, 0.5]))) == "▁█▅"
    assert spark((Point(1, 5.0),)) == "▁"
    assert len(spark(tuple(Point(step, float(step)) for step in range(1000)))) == 24
