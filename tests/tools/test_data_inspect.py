"""`verl-tir data inspect`: what it says of a file is what is in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from typer.testing import CliRunner

from tir_tools.data.describe import BARS, measured
from tir_tools.data.sources import SOURCES
from verl_tir.cli import app


def run(*words: object) -> Any:
    return CliRunner().invoke(app, ["data", *map(str, words)])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Twelve problems of two levels, one of them twice."""
    answers = ["1", "2.5", r"\frac12", "x+1", "1,2", r"\text{yes}", "3", "4", "5", "6", "7", "3"]
    rows = [
        {
            "problem": f"one two [b]{number if number < 11 else 6}[/b]" + " word" * number * (number < 11),
            "answer": answer,
        }
        | {"level": 1 + number % 2, "subject": "Algebra" if number else None}
        for number, answer in enumerate(answers)
    ]
    rows[11]["problem"] = rows[6]["problem"]
    path = tmp_path / "some.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_what_it_prints(file: Path) -> None:
    """Counts, kinds, lengths and a sample stand there, and brackets in a problem stay brackets."""
    result = run("inspect", file, "--sample", 12)
    assert result.exit_code == 0, result.output
    for line in (
        "12 rows, 1 of them repeat a question",
        "source: some 12",
        "level: 1 6, 2 6",
        "subject: Algebra 11, none 1",
        "ground truth: integer 7, decimal 1, fraction 1, expression 1, list 1, words 1",
        "question length in characters: mean 42,",
        "one two [b]3[/b] word word word",
        "-> \\text{yes}",
    ):
        assert line in result.stdout, line


def test_the_sample_is_drawn_by_seed(file: Path) -> None:
    """The same seed shows the same problems, another one others."""
    first, again, other = (run("inspect", file, "--sample", 3, "--seed", seed).stdout for seed in (1, 1, 2))
    assert first == again != other


def test_json(file: Path) -> None:
    """The same figures as plain data."""
    result = run("inspect", file, "--json", "--sample", 2)
    found = json.loads(result.stdout)
    assert (found["rows"], found["duplicates"], found["levels"]) == (12, 1, {"1": 6, "2": 6})
    assert found["answer_kinds"]["integer"] == 7
    assert [sorted(item) for item in found["sample"]] == [
        ["answer", "data_source", "id", "level", "question", "row", "subject"]
    ] * 2
    assert sum(bar["count"] for bar in found["lengths"]["histogram"]) == 12


def test_lengths_in_tokens(file: Path, tmp_path: Path) -> None:
    """With a tokenizer, a length is a number of tokens: of its folder, or of its file."""
    vocabulary = {word: number for number, word in enumerate(["?", "one", "two", "word"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    for place in (tmp_path, tmp_path / "tokenizer.json"):
        found = json.loads(run("inspect", file, "--json", "--tokenizer", place).stdout)
        assert found["lengths"]["unit"] == "tokens"
        assert found["lengths"]["percentiles"]["0"] == 3
        assert found["lengths"]["percentiles"]["100"] == 13


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "does not exist: name the folder of a model"), ("{", "is not a tokenizer"), ("{}", "has no entry 'model'")],
)
def test_a_wrong_tokenizer_is_named(file: Path, tmp_path: Path, content: str | None, message: str) -> None:
    """What is wrong with it is said."""
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    result = run("inspect", file, "--tokenizer", tmp_path)
    assert result.exit_code == 1
    assert message in result.stderr


@pytest.mark.parametrize(
    ("lengths", "percentiles", "bars"),
    [
        ([5], {0: 5, 50: 5, 100: 5}, {5: 1}),
        (range(1, 101), {0: 1, 5: 5, 50: 50, 99: 99, 100: 100}, {0: 9, 9: 11}),
        ([10] * 99 + [10_000], {50: 10, 99: 10, 100: 10_000}, {9: 100}),
        ([0, 0], {0: 0, 100: 0}, {0: 2}),
    ],
)
def test_lengths(lengths: Any, percentiles: dict[int, int], bars: dict[int, int]) -> None:
    """Percentiles are lengths that occur; all lengths are in the histogram, an outlier in its last bar."""
    found = measured(list(lengths), "characters")
    assert {share: found.percentiles[share] for share in percentiles} == percentiles
    assert {number: found.histogram[number].count for number in bars} == bars
    assert sum(bar.count for bar in found.histogram) == len(lengths)
    assert len(found.histogram) == BARS
    assert found.histogram[-1].high > max(lengths)
    assert all(one.high == two.low for one, two in zip(found.histogram, found.histogram[1:], strict=False))


def test_the_known_data_sets_are_listed() -> None:
    """`sources` names each with its role, rows and repository."""
    shown = run("sources").stdout
    for source in SOURCES:
        assert source.name in shown
        assert source.repository in shown
        assert f"{source.expected:,}" in shown
