"""Several accepted answers of a problem, from a data set's file to what verl and the reward read; any one is right."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from tir_tools.data.duplicates import find_duplicates
from tir_tools.data.filter import FilterSettings, filter_problems
from tir_tools.data.judge import PoolJudge
from tir_tools.data.normal import problem_id
from tir_tools.data.overlap import HeldOut
from tir_tools.data.problem import Problem
from tir_tools.data.rules import Rule
from tir_tools.data.verl_format import schema
from verl_tir.cli import app
from verl_tir.reward import compute_score


@pytest.fixture(scope="module")
def judge() -> Iterator[PoolJudge]:
    with PoolJudge(1, timeout=20.0) as pool:
        yield pool


def problem(row: int, question: str, *answers: str) -> Problem:
    return Problem(problem_id(question), question, answers, row, "test")


def data(*words: object) -> Any:
    return CliRunner().invoke(app, ["data", *map(str, words)])


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def manifest_of(path: Path) -> dict[str, Any]:
    return json.loads(path.with_suffix(".manifest.json").read_text(encoding="utf-8"))


ACCEPTED: list[tuple[Any, list[str]]] = [
    ("2", ["2"]),
    (["0.5", r"$\frac12$"], ["0.5", r"\frac12"]),
    ('["(1,2)"]', ["(1,2)"]),
    ("The answer is 37.", ["37"]),
]
"""Ground truths as data sets have them, and what is accepted."""


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared file in which one problem of four has several accepted answers."""
    folder = tmp_path_factory.mktemp("several")
    rows = [{"problem": f"What is {number}?", "answer": answer} for number, (answer, _) in enumerate(ACCEPTED)]
    source, out = write(folder / "several.jsonl", rows), folder / "several.parquet"
    result = data("prepare", source, "-o", out, "--workers", 1)
    assert result.exit_code == 0, result.output
    for shown in ("several_answers", "any one of '0.5'", "answer_list", "answer_text", "answer_markup"):
        assert shown in result.stdout
    return out


async def test_accepted_answers_stay_a_list(several: Path) -> None:
    """A file has one type of ground truths: lists in all rows, once there are several in one; the reward reads them."""
    table = pq.read_table(several)
    assert table.schema.equals(schema(lists=True))
    truths = [item["reward_model"]["ground_truth"] for item in table.to_pylist()]
    assert truths == [accepted for _, accepted in ACCEPTED]
    for truth in truths:
        for answer, score in [(one, 1.0) for one in truth] + [(", ".join([*truth, "9"]), 0.0)]:
            scored = await compute_score("several", rf"\boxed{{{answer}}}", truth, timeout=20.0)
            assert scored["score"] == score, (truth, answer)
    manifest = manifest_of(several)
    assert manifest["settings"]["answer_lists"] is True
    assert manifest["mended"]["rows"] == [2, 3, 4]
    assert manifest["mended"]["count"] == 3
    counts = {kind: found["rows"] for kind, found in manifest["mended"]["by_kind"].items()}
    assert counts == {"answer_list": [3], "answer_text": [4], "answer_markup": [2]}
    assert manifest["warnings"] == {
        "several_answers": {
            "count": 1,
            "rows": [2],
            "examples": [{"row": 2, "detail": r"any one of '0.5', '\\frac12'"}],
        }
    }


def test_a_prepared_file_prepares_to_itself(several: Path, tmp_path: Path) -> None:
    """What was mended needs no mending again, and lists stay lists, in `inspect`, `select` and `prepare`."""
    again = tmp_path / "again.parquet"
    assert data("prepare", several, "-o", again, "--name", "several").exit_code == 0
    assert pq.read_table(again).equals(pq.read_table(several))
    assert manifest_of(again)["mended"]["count"] == 0
    shown = json.loads(data("inspect", several, "--json", "--sample", 4).stdout)
    assert (shown["rows"], shown["noted"]) == (4, {"several_answers": 1})
    assert [item["answer"] for item in shown["sample"]] == ["2", ["0.5", r"\frac12"], "(1,2)", "37"]
    rates = [{"index": number, "success_rate": 0.5} for number in (1, 2)]
    words = ("--rates", write(tmp_path / "rates.jsonl", rates), "--method", "window")
    out = tmp_path / "selected.parquet"
    result = data("select", several, *words, "-o", out)
    assert result.exit_code == 0, result.output
    assert pq.read_table(out).equals(pq.read_table(several).slice(1, 2))


def test_verl_reads_lists_together(several: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """verl puts a file with several accepted answers together with another that was written as lists, and no other."""
    from omegaconf import OmegaConf
    from verl.utils.dataset.rl_dataset import RLHFDataset, collate_fn

    from tir_tools.demo.model import train_tokenizer

    other = write(
        tmp_path / "other.jsonl", [{"problem": "Unlike", "answer": "1"}, {"problem": "Like", "answer": "46.0"}]
    )
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    config = OmegaConf.create({"max_prompt_length": 1024, "cache_dir": str(tmp_path / "verl"), "return_raw_chat": True})
    lists, texts = tmp_path / "lists.parquet", tmp_path / "texts.parquet"
    assert data("prepare", other, "-o", lists, "--answer-lists").exit_code == 0
    assert data("prepare", other, "-o", texts).exit_code == 0
    assert manifest_of(lists)["settings"]["answer_lists"] is True
    data_set = RLHFDataset([str(several), str(lists)], train_tokenizer(0), config)
    batch = collate_fn([data_set[index] for index in range(len(data_set))])
    truths = [item["ground_truth"] for item in batch["reward_model"]]
    assert truths == [*(accepted for _, accepted in ACCEPTED), ["1"], ["46.0"]]
    with pytest.raises(ValueError, match="aligned"):
        RLHFDataset([str(several), str(texts)], train_tokenizer(0), config)


@pytest.mark.parametrize(
    ("first", "other", "rule"),
    [
        (("0.5",), (r"\frac12", "0.5"), Rule.DUPLICATE),
        (("1", "2"), ("2.0", "1"), Rule.DUPLICATE),
        (("1", "2"), ("2", "1"), Rule.DUPLICATE),
        # What the other accepts as well would be paid or not by chance.
        (("1",), ("1", "2"), Rule.CONFLICT),
        (("1", "2"), ("1",), Rule.CONFLICT),
        (("1", "2"), ("1", "3"), Rule.CONFLICT),
    ],
)
def test_duplicates_with_several_answers(
    judge: PoolJudge, first: tuple[str, ...], other: tuple[str, ...], rule: Rule
) -> None:
    """Two ground truths are one if each accepts what the other does."""
    found = find_duplicates([problem(1, "Q", *first), problem(2, "Q", *other)], judge)
    assert {item.rule for item in found} == {rule}
    if rule is Rule.CONFLICT:
        assert repr(first[0]) in found[0].detail


@pytest.mark.parametrize(
    ("answers", "rule"),
    [
        ((r"\frac12", "0.5"), None),
        (("1 2 3", "5"), None),
        (("1 2 3", r"\frac{1}{"), Rule.UNREADABLE),
        (("1 2 3", "no solution"), None),
        (("yes", "true"), None),
        (("5", "proof"), Rule.PROOF),
        (("5", "There are five of them."), Rule.SENTENCE),
        (("5", "5 or 6"), Rule.AMBIGUOUS),
        (("5", "1" * 201), Rule.LONG_ANSWER),
    ],
)
def test_rules_on_several_answers(judge: PoolJudge, answers: tuple[str, ...], rule: Rule | None) -> None:
    """One answer that a rule finds is enough, but readable has to be only one."""
    result = filter_problems([problem(1, "Q", *answers)], FilterSettings(), HeldOut([]), judge)
    assert [item.rule for item in result.findings] == ([] if rule is None else [rule])
