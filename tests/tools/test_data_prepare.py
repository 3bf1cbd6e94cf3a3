"""`verl-tir data prepare`: what is kept, what is dropped and why, and that the file and its manifest say so."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from math_answers import Verdict
from tir_tools.data.duplicates import find_duplicates
from tir_tools.data.filter import FilterSettings, filter_problems
from tir_tools.data.judge import PoolJudge
from tir_tools.data.normal import problem_id
from tir_tools.data.overlap import Held, HeldOut
from tir_tools.data.problem import Problem, Role
from tir_tools.data.rules import Rule
from tir_tools.data.verl_format import SCHEMA
from verl_tir.cli import app

LONG = (
    "A farmer has $17$ sheep and buys $25$ more on each of $3$ days. On the last day he sells half of them to a friend"
)


@pytest.fixture(scope="module")
def judge() -> Iterator[PoolJudge]:
    with PoolJudge(1, timeout=20.0) as pool:
        yield pool


def problem(row: int, question: str, answer: str = "2") -> Problem:
    return Problem(problem_id(question), question, (answer,), row, "test")


def run(*words: object) -> Any:
    return CliRunner().invoke(app, ["data", "prepare", *map(str, words)])


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def row(question: str, answer: str = "2", **fields: Any) -> dict[str, Any]:
    return {"problem": question, "answer": answer, **fields}


def manifest_of(path: Path) -> dict[str, Any]:
    return json.loads(path.with_suffix(".manifest.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ("073", Verdict.CORRECT),
        (r"\frac{1}{2}", Verdict.CORRECT),
        (r"90 - \frac{25}{2}\pi", Verdict.CORRECT),
        (r"\left( \frac{1}{\sqrt{2}}, 3 \right)", Verdict.CORRECT),
        (r"(-\infty, 3) \cup (3, \infty)", Verdict.CORRECT),
        (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", Verdict.CORRECT),
        (r"\{1, 2\}", Verdict.CORRECT),
        ("x^2 - x - 1", Verdict.CORRECT),
        ("y = 2x + 1", Verdict.CORRECT),
        (r"65\%", Verdict.CORRECT),
        (r"30^\circ", Verdict.CORRECT),
        (r"\frac{1}{", Verdict.WRONG),
        ("1 2 3", Verdict.WRONG),
        ("???", Verdict.WRONG),
        ("9" * 3_000, Verdict.WRONG),
    ],
)
def test_what_the_scorer_can_read(judge: PoolJudge, answer: str, verdict: Verdict) -> None:
    """A ground truth is of use if it reads as a value that equals itself."""
    assert judge.readable([answer]) == [verdict]


def test_a_ground_truth_that_cannot_be_decided_costs_no_other() -> None:
    """A comparison beyond its bounds is undecided, and the ones around it are decided."""
    with PoolJudge(1, timeout=1.0) as impatient:
        assert impatient.readable([r"\frac12", "9^{9^{9^9}}", r"\sqrt{2}"]) == [
            Verdict.CORRECT,
            Verdict.UNDECIDED,
            Verdict.CORRECT,
        ]


def test_duplicates_and_conflicts(judge: PoolJudge) -> None:
    """The first row of a question stays; where ground truths differ, none does."""
    problems = [
        problem(1, "What is $x$?", "1"),
        problem(2, "Same value", r"\frac{1}{2}"),
        problem(3, "what is  x", "1"),
        problem(4, "Same value", "0.5"),
        problem(5, "Other value", "3"),
        problem(6, "Other value", "4"),
        problem(7, "Other value", "3"),
        problem(8, "Alone", "9"),
    ]
    found = {(item.problem.row, item.rule) for item in find_duplicates(problems, judge)}
    conflict = {(5, Rule.CONFLICT), (6, Rule.CONFLICT), (7, Rule.CONFLICT)}
    assert found == {(3, Rule.DUPLICATE), (4, Rule.DUPLICATE)} | conflict
    details = {item.detail for item in find_duplicates(problems, judge) if item.rule is Rule.CONFLICT}
    assert details == {"row 5 says '3', row 6 '4'"}


@pytest.mark.parametrize(
    ("question", "similarity"),
    [
        (f"{LONG}. How many are left?", 1.0),
        (f"{LONG.upper()}. HOW   many are left", 1.0),
        (f"{LONG} Tom. How many are left?", 0.84),
        (f"Solve this. {LONG}. How many are left?", 0.93),
        (f"{LONG.replace('17', '18').replace('25', '31').replace('3', '4')}. How many does he have now?", None),
        ("How many are left?", None),
        ("Hi", None),
        ("", None),
    ],
)
def test_overlap_with_a_benchmark(question: str, similarity: float | None) -> None:
    """The same text and nearly the same text are found; other numbers and another question are not the same."""
    held_out = HeldOut([Held(problem(1, "Unlike"), "b"), Held(problem(2, f"{LONG}. How many are left?"), "b")])
    match = held_out.match(problem(1, question), 0.75)
    assert (match and round(match.similarity, 2)) == similarity
    if match:
        assert match.held.problem.row == 2
        assert match.exact is (similarity == 1.0)


def test_of_several_held_problems_the_most_similar_counts() -> None:
    """The report names the nearest one, and of equals the first."""
    near = [problem(1, LONG + " one two"), problem(2, LONG + " one"), problem(3, LONG + " one")]
    match = HeldOut(Held(item, "b") for item in near).match(problem(9, LONG + " one three"), 0.5)
    assert match is not None
    assert match.held.problem.row == 2


def test_the_order_of_the_rules(judge: PoolJudge) -> None:
    """Each problem is counted once, by the first rule that holds; findings are in the source's order."""
    problems = [
        problem(1, "What is $1+1$?"),
        problem(2, "Prove that $1+1=2$."),
        problem(3, "Prove that $1+1=2$."),
        problem(4, "What is $1+1$?"),
        problem(5, "A benchmark's question, which is held out", "1 2"),
        problem(6, "Which numbers?", "1 2"),
    ]
    held_out = HeldOut([Held(problem(1, "a benchmark's question which is held out"), "b")])
    result = filter_problems(problems, FilterSettings(), held_out, judge)
    assert [item.row for item in result.kept] == [1]
    assert [(item.problem.row, item.rule) for item in result.findings] == [
        (2, Rule.PROOF),
        (3, Rule.PROOF),
        (4, Rule.DUPLICATE),
        (5, Rule.OVERLAP),
        (6, Rule.UNREADABLE),
    ]
    without = FilterSettings(rules=frozenset({Rule.PROOF}))
    assert [item.row for item in filter_problems(problems, without, held_out, judge).kept] == [1, 4, 5, 6]


def test_a_benchmark_is_kept_whole(judge: PoolJudge) -> None:
    """The rules report on a benchmark, and drop nothing."""
    problems = [problem(1, "Prove that $1+1=2$."), problem(2, "What?"), problem(3, "What?")]
    result = filter_problems(problems, FilterSettings(role=Role.BENCHMARK), HeldOut([]), judge)
    assert result.kept == tuple(problems)
    assert [item.rule for item in result.findings] == [Rule.PROOF, Rule.DUPLICATE]


ROWS = [
    row("What is $1+1$?", "2", level=1),
    row("Prove that $1+1=2$.", "proof"),
    row("What is  1+1", "2.0"),
    row(f"{LONG}. How many are left?", "46"),
    row(f"{LONG} Tom. How many are left?", "46"),
    row("Is it? (A) no (B) yes (C) maybe", "B"),
    row("Half of one", r"\frac12", level=5),
    row("No answer", ""),
    row("Unreadable", "1 2 3"),
]


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """A folder with training problems and a benchmark."""
    write(tmp_path / "train.jsonl", ROWS)
    write(tmp_path / "bench.jsonl", [row("Unlike", "1"), row(f"{LONG}. How many are left?", "46.0")])
    return tmp_path


def test_file_and_manifest(inputs: Path) -> None:
    """The file has verl's columns and what is left; the manifest accounts for every other row."""
    out = inputs / "out" / "train.parquet"
    result = run(inputs / "train.jsonl", "-o", out, "--against", inputs / "bench.jsonl", "--workers", 1)
    assert result.exit_code == 0, result.output
    table = pq.read_table(out)
    assert table.schema.equals(SCHEMA)
    assert table.to_pylist() == [
        {
            "data_source": "train",
            "prompt": [{"content": question, "role": "user"}],
            "ability": "math",
            "reward_model": {"ground_truth": answer, "style": "rule"},
            "extra_info": {
                "id": problem_id(question),
                "index": index,
                "level": level,
                "split": "train",
                "subject": None,
            },
        }
        for index, (question, answer, level) in enumerate([("What is $1+1$?", "2", 1), ("Half of one", r"\frac12", 5)])
    ]
    manifest = manifest_of(out)
    assert manifest["rows"] == {"read": 9, "bad": 0, "found": 7, "written": 2}
    assert {rule: found["rows"] for rule, found in manifest["rules"].items()} == {
        "no_answer": [8],
        "proof": [2],
        "multiple_choice": [6],
        "duplicate": [3],
        "overlap": [4],
        "near_overlap": [5],
        "unreadable": [9],
    }
    assert all(found["count"] == len(found["rows"]) for found in manifest["rules"].values())
    (exact, near) = manifest["overlap"]["problems"]
    assert (exact["row"], exact["file"], exact["file_row"], exact["similarity"]) == (4, "bench.jsonl", 2, 1.0)
    assert (near["row"], near["file_id"], near["same_answer_text"]) == (5, exact["id"], False)
    for file, path in (
        (manifest["source"]["files"][0], inputs / "train.jsonl"),
        (manifest["overlap"]["against"][0], inputs / "bench.jsonl"),
        (manifest["output"], out),
    ):
        content = path.read_bytes()
        assert file == {"name": path.name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    for shown in ("proof", "near_overlap", "rows read", "9"):
        assert shown in result.stdout
    assert "row 6: options A, B, C" in result.stdout


def test_the_same_input_gives_the_same_bytes(inputs: Path) -> None:
    """File and manifest are byte for byte the same, in another folder and with more workers."""
    written = []
    # What it wrote itself may be written again.
    for folder, workers in (("one", 1), ("two", 2), ("two", 1)):
        out = inputs / folder / "train.parquet"
        words = (inputs / "train.jsonl", "-o", out, "--against", inputs / "bench.jsonl", "--workers", workers)
        assert run(*words).exit_code == 0
        written.append((out.read_bytes(), out.with_suffix(".manifest.json").read_bytes()))
    assert written[0] == written[1] == written[2]


def test_ids_outlast_a_change_of_the_filters(inputs: Path) -> None:
    """The index is the position in the file; the id is the question's, whatever else is in the file."""
    rows = {}
    for name, words in (("few", ()), ("many", ("--keep", "proof", "--keep", "multiple_choice"))):
        out = inputs / f"{name}.parquet"
        assert run(inputs / "train.jsonl", "-o", out, *words).exit_code == 0
        rows[name] = [item["extra_info"] for item in pq.read_table(out).to_pylist()]
        assert [item["index"] for item in rows[name]] == list(range(len(rows[name])))
    few, many = ([item["id"] for item in rows[name]] for name in ("few", "many"))
    assert len(many) > len(few)
    assert set(few) < set(many)


def test_a_dry_run_writes_nothing(inputs: Path) -> None:
    """The table is printed, and the disk stays as it is."""
    before = sorted(inputs.rglob("*"))
    result = run(inputs / "train.jsonl", "--dry-run", "-o", inputs / "x.parquet")
    assert result.exit_code == 0
    assert "unreadable" in result.stdout
    assert sorted(inputs.rglob("*")) == before


def test_rules_on_demand(inputs: Path) -> None:
    """Rules are switched on and off by name, and the manifest has those that were asked."""
    write(inputs / "w.jsonl", [row("Who?", "Evelyn Smith"), row("Is it? (A) no (B) yes (C) maybe", "5")])
    out = inputs / "w.parquet"
    assert run(inputs / "w.jsonl", "-o", out, "--keep", "multiple_choice", "--drop", "words").exit_code == 0
    manifest = manifest_of(out)
    assert list(manifest["rules"]) == ["words"]
    assert "words" in manifest["settings"]["rules"]
    assert "multiple_choice" not in manifest["settings"]["rules"]


def test_levels(inputs: Path) -> None:
    """Problems of the named levels stay; one without a level does not."""
    out = inputs / "levels.parquet"
    assert run(inputs / "train.jsonl", "-o", out, "--level", 5, "--level", 4).exit_code == 0
    assert [item["extra_info"]["level"] for item in pq.read_table(out).to_pylist()] == [5]
    manifest = manifest_of(out)
    assert manifest["rules"]["level"]["rows"] == [1, 2, 3, 4, 5, 6, 9]
    assert manifest["settings"]["levels"] == [5, 4]


def test_a_known_data_set_from_a_file(inputs: Path) -> None:
    """A benchmark of the right size is kept whole under its own name, in the test split."""
    write(inputs / "test.jsonl", [{"id": str(n), "problem": f"What is {n}?", "answer": str(n)} for n in range(30)])
    out = inputs / "aime25.parquet"
    assert run("aime25", "--from", inputs / "test.jsonl", "-o", out).exit_code == 0
    rows = pq.read_table(out).to_pylist()
    assert {(item["data_source"], item["extra_info"]["split"]) for item in rows} == {("aime25", "test")}
    assert [item["reward_model"]["ground_truth"] for item in rows] == [str(n) for n in range(30)]
    assert manifest_of(out)["source"]["repository"] == "math-ai/aime25"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("aime24", "--from", "train.jsonl"), "aime24: 9 rows in train.jsonl, where 30 are expected"),
        (("aime24", "--from", "train.jsonl", "--expect", "9"), "row 8: the ground truth is empty, and a benchmark has"),
        (("math", "--from", "train.jsonl"), "no column for the answer: looked for reward_model.ground_truth, solution"),
        (("math", "--from", "nowhere"), "nowhere does not exist"),
        (("maths",), "'maths' is neither a file or folder nor a known data set: math, deepscaler"),
        (("train.jsonl", "--from", "bench.jsonl"), "--from goes with a known data set"),
        (("math", "--from", "train.jsonl", "--name", "x"), "math is a known data set"),
        (("train.jsonl", "-o", "bench.jsonl"), "let its name end in .parquet"),
        (("train.jsonl", "-o", "foreign.parquet"), "foreign.parquet exists and has no manifest beside it"),
        (("foreign.parquet", "-o", "foreign.parquet"), "is also an input"),
        (("train.jsonl", "--question-column", "q"), "no column for the question: looked for q; it has problem, answer"),
        (("train.jsonl", "--answer-column", "level"), "row 2 has no level"),
        (("proofs.jsonl",), "no row is left; proof alone dropped 1 of 1"),
        (("train.jsonl", "--against", "nowhere"), "nowhere does not exist"),
        (("train.jsonl", "--against", "."), "--against train.jsonl: the data would be compared with itself"),
        (
            ("train.jsonl", "--against", "bench.jsonl", "--against", "foreign.parquet", "-o", "foreign.parquet"),
            "also an",
        ),
        (("train.jsonl", "--keep", "no_answer"), "--keep no_answer: without it a row is not a problem"),
        (("train.jsonl", "--role", "benchmark", "--level", "5"), "is a benchmark, which is kept whole"),
    ],
)
def test_wrong_requests(inputs: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], message: str) -> None:
    """What cannot be done is said with the reason and the way out, and nothing is written."""
    monkeypatch.chdir(inputs)
    pq.write_table(pa.table({"problem": ["Q"], "answer": ["1"]}), "foreign.parquet")
    write(inputs / "proofs.jsonl", [row("Prove it.")])
    before = sorted(inputs.rglob("*"))
    result = run(*words)
    assert result.exit_code == 1
    assert message in result.stderr
    assert sorted(inputs.rglob("*")) == before


def test_instructions_and_their_counts(tmp_path: Path) -> None:
    """They go or stay as is asked, the manifest and the table say where, and ids and overlap do not mind them."""
    gsm8k = 'Let\'s think step by step and output the final answer after "####".'
    rows = [
        row(f"What is $1+1$? {gsm8k}"),
        row("What is $3+1$ in \\boxed{}?", "4"),
        row(f"What is $7+1$? {gsm8k}", "8"),
    ]
    write(tmp_path / "held.jsonl", [row("What is $7+1$?", "8")])
    source, held = write(tmp_path / "t.jsonl", rows), ("--against", tmp_path / "held.jsonl")
    kept = {}
    for name, words in (("bare", ()), ("whole", ("--keep-instructions",))):
        result = run(source, "-o", tmp_path / f"{name}.parquet", *held, *words)
        assert result.exit_code == 0, result.output
        kept[name] = pq.read_table(tmp_path / f"{name}.parquet").to_pylist()
        assert "instructions_left" in result.stdout
    questions = {name: [item["prompt"][0]["content"] for item in items] for name, items in kept.items()}
    assert questions == {
        "bare": ["What is $1+1$?", rows[1]["problem"]],
        "whole": [rows[0]["problem"], rows[1]["problem"]],
    }
    assert len({tuple(item["extra_info"]["id"] for item in items) for items in kept.values()}) == 1
    bare, whole = (manifest_of(tmp_path / f"{name}.parquet") for name in ("bare", "whole"))
    assert bare["rules"]["overlap"]["rows"] == whole["rules"]["overlap"]["rows"] == [3]
    assert bare["mended"]["by_kind"]["instructions"]["rows"] == [1, 3]
    assert bare["warnings"]["instructions_left"]["rows"] == [2]
    assert (whole["mended"]["count"], whole["warnings"]["instructions_left"]["rows"]) == (0, [1, 2, 3])
    assert (bare["settings"]["keep_instructions"], whole["settings"]["keep_instructions"]) == (False, True)


def test_bad_rows_are_listed(inputs: Path) -> None:
    """With --skip-bad-rows the rest is prepared, and the manifest has row and reason."""
    write(inputs / "bad.jsonl", [row("What is $1+1$?"), {"problem": "Q"}])
    assert run(inputs / "bad.jsonl", "-o", inputs / "o.parquet").exit_code == 1
    result = run(inputs / "bad.jsonl", "-o", inputs / "o.parquet", "--skip-bad-rows")
    assert result.exit_code == 0
    (bad,) = manifest_of(inputs / "o.parquet")["bad_rows"]
    assert bad["row"] == 2
    assert "has no answer" in bad["reason"]


def test_verl_reads_what_is_written(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """verl's own data set class puts a prepared file with levels and one without together, row by row."""
    from omegaconf import OmegaConf
    from verl.utils.dataset.rl_dataset import RLHFDataset

    from tir_tools.demo.model import train_tokenizer

    monkeypatch.setenv("HF_DATASETS_CACHE", str(inputs / "cache"))
    files = []
    for name in ("train", "bench"):
        out = inputs / f"{name}.parquet"
        assert run(inputs / f"{name}.jsonl", "-o", out).exit_code == 0
        files.append(str(out))
    config = OmegaConf.create({"max_prompt_length": 1024, "cache_dir": str(inputs / "verl"), "return_raw_chat": True})
    data = RLHFDataset(files, train_tokenizer(0), config)
    expected = [item for file in files for item in pq.read_table(file).to_pylist()]
    assert len(data) == len(expected) == 6
    for got, want in zip((data[index] for index in range(len(data))), expected, strict=True):
        assert got["raw_prompt"] == want["prompt"]
        assert got["reward_model"]["ground_truth"] == want["reward_model"]["ground_truth"]
        assert got["extra_info"] == want["extra_info"]
        assert got["data_source"] == want["data_source"]
