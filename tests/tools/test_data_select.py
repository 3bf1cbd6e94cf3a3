"""`verl-tir data select`: LIMR's score, balancing by difficulty, and where success rates come from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from batches import random_batch
from templates import TEMPLATES
from typer.testing import CliRunner

from math_answers.verdict import Verdict
from tir_tools.data.balance import Window, balanced, spread
from tir_tools.data.errors import DataError
from tir_tools.data.lim import alignment
from tir_tools.data.normal import problem_id
from tir_tools.data.rates import Wanted, read_rates
from verl_tir.cli import app
from verl_tir.dump.writer import TrajectoryDump
from verl_tir.rollout.prompt import templated_messages
from verl_tir.sampler.loss_plan import LossPlan


def test_lim_scores_by_hand() -> None:
    """Three curves over two epochs, worked out on paper.

    The mean curve is (1/2, 2/3); sum (1 - r)^2 = 1/4 + 1/9 = 13/36.
    rising (0, 1): 1 - (1/4 + 1/9) * 36/13 = 0. mean-like (1/2, 1/2): 1 - (0 + 1/36) * 36/13 = 12/13.
    falling (1, 1/2): 1 - (1/4 + 1/36) * 36/13 = 1 - 10/13 = 3/13.
    """
    result = alignment({"rising": (0.0, 1.0), "like": (0.5, 0.5), "falling": (1.0, 0.5)})
    assert result.mean_curve == pytest.approx((1 / 2, 2 / 3))
    assert result.scores == pytest.approx({"rising": 0.0, "like": 12 / 13, "falling": 3 / 13})
    assert result.incomplete == ()


def test_lim_scores_the_mean_curve_best() -> None:
    """A problem that goes with the mean has score 1, and one that is never solved less than one that is learnt."""
    curves = {"mean": (0.2, 0.4, 0.6), "up": (0.1, 0.3, 0.5), "down": (0.3, 0.5, 0.7), "never": (0.0, 0.0, 0.0)}
    curves["balance"] = (0.4, 0.8, 1.2)
    scores = alignment(curves).scores
    assert scores["mean"] == pytest.approx(1.0)
    assert scores["up"] > scores["never"]


@pytest.mark.parametrize(
    ("curve", "complete"),
    [
        ((0.0, None, 1.0), True),
        ((None, 0.0, 1.0), True),
        ((0.0, 1.0, None), False),
        ((None, None, 1.0), False),
        ((0.5,), False),
    ],
)
def test_lim_fills_single_gaps(curve: tuple[float | None, ...], complete: bool) -> None:
    """An epoch that is missing takes the next one's rate; what is missing then has no score, nor a part in the mean."""
    result = alignment({"whole": (0.2, 0.4, 0.6), "gaps": curve})
    assert ("gaps" in result.scores) is complete
    assert result.incomplete == (() if complete else ("gaps",))
    if not complete:
        assert result.mean_curve == pytest.approx((0.2, 0.4, 0.6))


def test_lim_counts_the_epochs_that_it_is_told() -> None:
    """With a number of epochs, later ones do not matter, and shorter curves may do."""
    result = alignment({"long": (0.2, 0.4, 0.9), "short": (0.4, 0.4)}, epochs=2)
    assert result.mean_curve == pytest.approx((0.3, 0.4))
    assert result.incomplete == ()


@pytest.mark.parametrize("curves", [{}, {"a": (None,)}, {"a": (0.5,), "b": (0.5, 0.5, None)}])
def test_lim_needs_complete_curves(curves: dict[str, Any]) -> None:
    """Without any, the error says which option makes some."""
    with pytest.raises(DataError, match="--epochs"):
        alignment(curves)


def test_lim_needs_something_to_learn() -> None:
    """Where all is solved from the start, the score is not defined."""
    with pytest.raises(DataError, match="all problems are solved in all epochs"):
        alignment({"a": (1.0, 1.0), "b": (1.0, 1.0)})


@pytest.mark.parametrize(
    ("count", "sizes", "shares"),
    [
        (10, (1, 9, 9), (1, 5, 4)),
        (6, (2, 2, 2), (2, 2, 2)),
        (7, (2, 2, 2), (2, 2, 2)),
        (5, (0, 9, 0, 9), (0, 3, 0, 2)),
        (2, (5, 5, 5), (1, 1, 0)),
        (0, (5, 5), (0, 0)),
        (3, (), ()),
        (100, (1, 2, 50, 100), (1, 2, 49, 48)),
    ],
)
def test_spread(count: int, sizes: tuple[int, ...], shares: tuple[int, ...]) -> None:
    """Bins give equally much, and what small ones lack the others give."""
    assert spread(count, sizes) == shares


def test_balanced_choice() -> None:
    """Problems outside the window are never taken, and every bin gives its share."""
    rates = {f"{rate}-{number}": rate / 10 for rate in range(11) for number in range(10 if rate < 5 else 2)}
    result = balanced(rates, Window(), 20, 3, seed=0)
    assert result.available == (30, 14, 6)
    assert result.taken == (7, 7, 6)
    assert {rates[key] for key in result.chosen} <= {rate / 10 for rate in range(1, 10)}
    narrow = balanced(rates, Window(0.1, 0.3), 99, 1, seed=0)
    assert narrow.chosen == {f"2-{number}" for number in range(10)}


def test_balanced_choice_depends_on_seed_and_id_only() -> None:
    """The order of the problems makes no difference, more of another difficulty change nothing, another seed does."""
    rates = {f"p{number}": (number % 9 + 1) / 10 for number in range(90)}
    chosen = balanced(rates, Window(), 15, 3, seed=1).chosen
    assert balanced(dict(reversed(rates.items())), Window(), 15, 3, seed=1).chosen == chosen
    more = rates | {f"q{number}": 0.95 for number in range(50)}
    hard = {key for key in chosen if rates[key] < 1 / 3}
    assert hard <= balanced(more, Window(), 15, 3, seed=1).chosen
    assert balanced(rates, Window(), 15, 3, seed=2).chosen != chosen


@pytest.mark.parametrize(("low", "high"), [(0.5, 0.5), (0.9, 0.1), (-0.1, 1.0), (0.0, 1.1)])
def test_windows_that_are_none(low: float, high: float) -> None:
    """A window has two ends from 0 to 1."""
    with pytest.raises(DataError, match="--window"):
        Window(low, high)


WANTED = [Wanted(f"id{number}", number, f"Question {number}?") for number in range(3)]


@pytest.mark.parametrize(
    ("name", "lines", "curves"),
    [
        (
            "by id",
            [{"id": "id0", "success_rate": 0.25}, {"id": "id2", "success_rate": 1}],
            {"id0": (0.25,), "id2": (1.0,)},
        ),
        ("by index", [{"index": 1, "success_rate": 0.5}], {"id1": (0.5,)}),
        ("in verl's format", [{"extra_info": {"index": 1}, "success_rate": 0.5}], {"id1": (0.5,)}),
        ("curves", [{"id": "id0", "success_rates": [0, None, 0.5]}], {"id0": (0.0, None, 0.5)}),
        (
            "epochs in rows",
            [{"id": "id0", "epoch": 2, "success_rate": 0.5}, {"id": "id0", "epoch": 1, "success_rate": 0.25}],
            {"id0": (0.25, 0.5)},
        ),
        (
            "epochs that one problem lacks",
            [{"id": "id0", "epoch": 1, "success_rate": 0.5}, {"id": "id1", "epoch": 2, "success_rate": 0.25}],
            {"id0": (0.5, None), "id1": (None, 0.25)},
        ),
        (
            "samples",
            [{"id": "id0", "correct": True}, {"id": "id0", "correct": False}, {"id": "id0", "correct": None}],
            {"id0": (0.5,)},
        ),
        (
            "an evaluation",
            [{"problem": "id0", "score": 1.0}, {"problem": "1", "score": 0.0}, {"problem": "id0", "score": None}],
            {"id0": (1.0,), "id1": (0.0,)},
        ),
    ],
)
def test_rates_from_a_file(tmp_path: Path, name: str, lines: list[Any], curves: dict[str, Any]) -> None:
    """One rate, one for each epoch, or one line for each sample."""
    path = tmp_path / "rates.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in [*lines, {**lines[0], **_other(lines[0])}]))
    rates = read_rates(path, WANTED)
    assert rates.curves == curves
    assert rates.unknown == 1


def _other(line: dict[str, Any]) -> dict[str, Any]:
    """The key of a problem that was not asked for."""
    key = next(name for name in ("id", "index", "extra_info", "problem") if name in line)
    return {key: {"id": "other", "problem": "other", "index": 99, "extra_info": {"index": 99}}[key]}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"id": "id0", "success_rate": 1.5}, "row 1, success_rate is 1.5, where a number from 0 to 1"),
        ({"id": "id0", "success_rate": "often"}, "row 1, success_rate is 'often'"),
        ({"id": "id0", "success_rates": 0.5}, "row 1: success_rates is 0.5, where a list"),
        ({"id": "id0", "success_rate": 0.5, "epoch": "one"}, "row 1: epoch is 'one'"),
        ({"id": "id0", "rate": 0.5}, "needs a column id or index, and one of success_rates"),
        ({"id": "other", "success_rate": 0.5}, "none of its 1 problems is in the data"),
    ],
)
def test_wrong_rates_are_named(tmp_path: Path, line: dict[str, Any], message: str) -> None:
    """What is wrong is said with row and value."""
    path = tmp_path / "rates.jsonl"
    path.write_text(json.dumps(line) + "\n")
    with pytest.raises(DataError, match=message):
        read_rates(path, WANTED)


def dump_step(dump: TrajectoryDump, step: int, outcomes: dict[str, list[float]], template: str) -> None:
    """A step of a run: for each question, the rewards of its group."""
    rows = []
    (sampled,) = random_batch(1, 1)
    for group, (question, rewards) in enumerate(outcomes.items()):
        (message,) = templated_messages([{"role": "user", "content": question}], template)
        prompt = f"<|im_start|>user\n{message['content']}<|im_end|>\n<|im_start|>assistant\n"
        record = {**sampled.trajectory.to_record(), "prompt": prompt}
        rows += [
            replace(
                sampled,
                key=f"{step}{group}_{number}_0",
                verdict=Verdict.CORRECT if reward else Verdict.WRONG,
                record=record,
            )
            for number, reward in enumerate(rewards)
        ]
    dump.write("train", step, rows, LossPlan(tuple(row.key for row in rows), (), (), (), None))
    dump.wait()


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """A prepared file of ten problems, and rates for nine of them."""
    source = tmp_path / "mine.jsonl"
    questions = [f"What is ${number}+{number}$?" for number in range(10)]
    source.write_text(
        "".join(json.dumps({"problem": text, "answer": str(n * 2)}) + "\n" for n, text in enumerate(questions))
    )
    result = CliRunner().invoke(app, ["data", "prepare", str(source), "-o", str(tmp_path / "mine.parquet")])
    assert result.exit_code == 0, result.output
    rates = [{"id": problem_id(text), "success_rate": n / 8} for n, text in enumerate(questions[:9])]
    pq.write_table(pa.Table.from_pylist(rates), tmp_path / "rates.parquet")
    return tmp_path / "mine.parquet"


def select(*words: object) -> Any:
    return CliRunner().invoke(app, ["data", "select", *map(str, words)])


def indices(path: Path) -> list[int]:
    return [row["extra_info"]["index"] for row in pq.read_table(path).to_pylist()]


@pytest.mark.parametrize(
    ("words", "chosen"),
    [
        (("--method", "window"), [1, 2, 3, 4, 5, 6, 7]),
        (("--method", "window", "--window", "0.2", "0.6"), [2, 3, 4]),
        (("--count", "7", "--bins", "3"), [1, 2, 3, 4, 5, 6, 7]),
        # One epoch: the mean is 1/2, and 1 - (r - 1/2)^2 * 4 >= 0.6 within 0.316 of it.
        (("--method", "lim"), [2, 3, 4, 5, 6]),
        (("--method", "lim", "--threshold", "0.9"), [3, 4, 5]),
    ],
)
def test_selected_rows_stay_as_they_are(prepared: Path, words: tuple[str, ...], chosen: list[int]) -> None:
    """The chosen rows are those of the input, in its order, with its index; the manifest says how they were chosen."""
    out = prepared.with_name("out.parquet")
    result = select(prepared, "--rates", prepared.with_name("rates.parquet"), "-o", out, *words)
    assert result.exit_code == 0, result.output
    rows = pq.read_table(prepared).to_pylist()
    assert pq.read_table(out).to_pylist() == [rows[index] for index in chosen]
    manifest = json.loads(out.with_suffix(".manifest.json").read_text())
    assert manifest["counts"] == {
        "problems": 10, "without_rate": 1, "never_solved": 1, "always_solved": 1, "selected": len(chosen),
        **({"asked_for": 7} if "--count" in words else {}),
    }  # fmt: skip
    assert manifest["rates"][0]["name"] == "rates.parquet"
    assert "selected" in result.stdout


def test_a_balanced_selection_by_seed(prepared: Path) -> None:
    """The same seed gives the same bytes, and the manifest has the bins."""
    outs = [prepared.with_name(f"{name}.parquet") for name in "ab"]
    for out in outs:
        words = ("--rates", prepared.with_name("rates.parquet"), "-o", out, "--count", 3, "--bins", 3, "--seed", 5)
        assert select(prepared, *words).exit_code == 0
    assert outs[0].read_bytes() == outs[1].read_bytes()
    manifest = json.loads(outs[0].with_suffix(".manifest.json").read_text())
    assert manifest["bins"] == {"available": [2, 3, 2], "taken": [1, 1, 1]}
    assert manifest["settings"]["seed"] == 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "balance needs a number of problems: --count N"),
        (("--count", "0"), "must be at least 1"),
        (("--method", "window", "--window", "0.9", "0.95"), "no problem is selected (problems 10, without_rate 1"),
        (("--method", "window", "--rates", "nowhere"), "nowhere"),
        (("--method", "window", "-o", "mine.parquet"), "is also the input"),
    ],
)
def test_wrong_requests(prepared: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], message: str) -> None:
    """What cannot be done is said, and nothing is written."""
    monkeypatch.chdir(prepared.parent)
    before = {path: path.read_bytes() for path in prepared.parent.iterdir()}
    result = select("mine.parquet", "--rates", "rates.parquet", *words)
    assert result.exit_code == 1
    assert message in result.stderr
    assert {path: path.read_bytes() for path in prepared.parent.iterdir()} == before


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_rates_from_the_dump_of_a_run(prepared: Path, tmp_path: Path, template: str) -> None:
    """A problem's visits are its epochs, whatever is put around the question; a repeated step counts once."""
    folder = tmp_path / "dump"
    questions = [f"What is ${number}+{number}$?" for number in range(10)]
    dump = TrajectoryDump(folder, None)
    dump_step(dump, 1, {questions[0]: [0.0, 0.0], questions[1]: [1.0, 0.0], "Unknown?": [1.0]}, template)
    dump_step(dump, 2, {questions[0]: [1.0, 0.0], questions[1]: [1.0, 1.0]}, template)
    # A run that was resumed sampled the second step once more.
    file = folder / "train" / "000002.jsonl"
    first = file.read_text().replace('"correct": true', '"correct": false').replace('"run": "2', '"run": "1')
    file.write_text(first + file.read_text())
    asked = [Wanted(problem_id(text), index, text) for index, text in enumerate(questions)]
    rates = read_rates(folder, asked)
    assert rates.curves == {asked[0].id: (0.0, 0.5), asked[1].id: (0.5, 1.0)}
    assert rates.unknown == 1
    out = tmp_path / "lim.parquet"
    assert select(prepared, "--rates", folder, "--method", "lim", "-o", out, "--threshold", 0.5).exit_code == 0
    with pytest.raises(DataError, match="--partition val"):
        read_rates(folder, asked[5:])
    with pytest.raises(DataError, match="holds no train trajectories; a run writes"):
        read_rates(prepared.parent / "dump" / "train", asked)
    with pytest.raises(DataError, match="holds no val trajectories"):
        read_rates(folder, asked, "val")
