"""Rows of files: every format reads alike, and a wrong row is named with the reason."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub.utils import filter_repo_objects

from tir_tools.data.columns import USUAL, Columns
from tir_tools.data.errors import ColumnError, DataError, FileError, RowError
from tir_tools.data.files import find
from tir_tools.data.mending import Remark
from tir_tools.data.problem import Asked, Problem
from tir_tools.data.reading import Reader
from tir_tools.data.sources import BY_NAME, SOURCES

DAPO_BEFORE = (
    "Solve the following math problem step by step. The last line of your response should be of the form "
    "Answer: $Answer (without quotes) where $Answer is the answer to the problem.\n\n"
)
DAPO_BEHIND = '\n\nRemember to put your answer on its own line after "Answer:".'
ROWS = [{"problem": "What is $1+1$?", "answer": "2"}, {"problem": 'Find, if "any",\na $x$.', "answer": "073"}]


def write(path: Path, rows: list[Any]) -> Path:
    """Rows as a file of the format that its name ends in."""
    match path.suffix:
        case ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        case ".json":
            path.write_text(json.dumps(rows), encoding="utf-8")
        case ".csv":
            cells = [list(rows[0]), *(list(row.values()) for row in rows)]
            quoted = (",".join('"' + str(cell).replace('"', '""') + '"' for cell in line) for line in cells)
            path.write_text("\n".join(quoted) + "\n", encoding="utf-8")
        case ".parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def read(path: Path, columns: Columns = USUAL, **settings: Any) -> tuple[Problem, ...]:
    return Reader(columns, **settings).read([path]).problems


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "json", "csv"])
def test_every_format_reads_alike(tmp_path: Path, suffix: str) -> None:
    """The same rows are the same problems, with leading zeros, quotes and line breaks."""
    problems = read(write(tmp_path / f"rows.{suffix}", ROWS))
    assert [(item.question, *item.answers, item.row) for item in problems] == [
        ("What is $1+1$?", "2", 1),
        ('Find, if "any",\na $x$.', "073", 2),
    ]
    assert {item.data_source for item in problems} == {"rows"}


def test_verl_format_reads(tmp_path: Path) -> None:
    """A file in verl's own format gives the user's message, without instructions of the system's."""
    row = {
        "data_source": "mine",
        "prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What?"}],
        "reward_model": {"ground_truth": "5", "style": "rule"},
        "extra_info": {"level": 4, "split": "train"},
    }
    for name in ("a.parquet", "a.jsonl"):
        (problem,) = read(write(tmp_path / name, [row]))
        assert (problem.question, problem.answers, problem.data_source, problem.level) == ("What?", ("5",), "mine", 4)


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("math", [{"problem": "Q", "level": "Level 5", "type": "Algebra", "solution": r"so \boxed{\frac{1}{2}}."}]),
        ("deepscaler", [{"problem": "Q", "answer": r"\frac{1}{2}", "solution": r"no box"}]),
        (
            "numinamath",
            [
                {
                    "problem": "Q",
                    "solution": "s",
                    "answer": r"\frac{1}{2}",
                    "problem_type": "Algebra",
                    "question_type": "MCQ",
                }
            ],
        ),
        (
            "numinamath_cot",
            [{"source": "olympiads", "problem": "Q", "solution": r"\boxed{\frac{1}{2}}", "messages": []}],
        ),
        (
            "simplerl_3to5",
            [
                {
                    "prompt": [{"role": "user", "content": "<|im_start|>...Q"}],
                    "question": "Q",
                    "gt_answer": r"\frac{1}{2}",
                    "level": 5,
                    "subject": "Algebra",
                    "extra_info": {"question": "Q", "answer": r"\frac{1}{2}"},
                }
            ],
        ),
        ("dapo", [{"prompt": "Q", "solution": r"\frac{1}{2}", "reward_model": {"ground_truth": r"\frac{1}{2}"}}]),
        ("aime24", [{"id": 60, "problem": "Q", "solution": "s", "answer": r"\frac{1}{2}", "url": "u", "year": "2024"}]),
        ("aime25", [{"problem": "Q", "answer": r"\frac{1}{2}", "id": "0"}]),
        ("math500", [{"problem": "Q", "solution": "s", "answer": r"\frac{1}{2}", "subject": "Algebra", "level": 5}]),
        (
            "olympiadbench",
            [{"id": 1, "question": "Q", "context": None, "final_answer": [r"$\frac{1}{2}$"], "subfield": "Algebra"}],
        ),
        ("amc23", [{"id": 0, "question": "Q", "answer": r"\frac{1}{2}", "url": "u"}]),
        ("hmmt_feb_2025", [{"problem_idx": 1, "problem": "Q", "answer": r"\frac{1}{2}", "problem_type": ["Algebra"]}]),
    ],
)
def test_each_known_data_set_reads_by_its_columns(tmp_path: Path, name: str, rows: list[Any]) -> None:
    """A row as the hub's repository has it gives question, ground truth, level and subject."""
    source = BY_NAME[name]
    (problem,) = read(write(tmp_path / "a.jsonl", rows), source.columns, data_source=name)
    assert (problem.question, problem.answers, problem.data_source) == ("Q", (r"\frac{1}{2}",), name)
    assert problem.level == (5 if name in ("math", "simplerl_3to5", "math500") else None)
    expected = {
        "deepscaler": None,
        "dapo": None,
        "aime24": None,
        "aime25": None,
        "amc23": None,
        "numinamath_cot": "olympiads",
    }
    assert problem.subject == expected.get(name, "Algebra")
    assert problem.asked is (Asked.CHOICE if name == "numinamath" else None)


LAYOUTS = {
    "math": (
        ["data/train-00000-of-00001.parquet"],
        ["data/test-00000-of-00001.parquet", "algebra/train-00000.parquet"],
    ),
    "deepscaler": (["deepscaler.json"], []),
    "numinamath": (["data/train-00000-of-00003.parquet", "data/train-00001-of-00003.parquet"], []),
    "numinamath_cot": (["data/train-00000-of-00005.parquet"], ["data/test-00000-of-00001.parquet"]),
    "simplerl_3to5": (
        ["simplelr_qwen_level3to5/train.parquet"],
        ["simplelr_qwen_level3to5/test.parquet", "simplelr_abel_level3to5/train.parquet"],
    ),
    "dapo": (
        ["all/train-00000-of-00001.parquet"],
        ["en/train-00000-of-00001.parquet", "cn/train-00000-of-00001.parquet"],
    ),
    "aime24": (["data/train-00000-of-00001.parquet"], []),
    "aime25": (["test.jsonl"], []),
    "math500": (["test.jsonl"], []),
    "olympiadbench": (
        ["OlympiadBench/OE_TO_maths_en_COMP/OE_TO_maths_en_COMP.parquet"],
        [
            "OlympiadBench/OE_MM_maths_en_COMP/OE_MM_maths_en_COMP.parquet",
            "OlympiadBench/TP_TO_maths_en_COMP/a.parquet",
        ],
    ),
    "amc23": (["test-00000-of-00001.parquet"], []),
    "hmmt_feb_2025": (["data/train-00000-of-00001.parquet"], []),
}
"""Files of each repository: those that are the data set, and some of the others."""


@pytest.mark.parametrize("name", list(BY_NAME))
def test_the_right_files_of_a_repository_are_taken(tmp_path: Path, name: str) -> None:
    """What is fetched and what is read are the data set's own files, not another split, part or language."""
    wanted, others = LAYOUTS[name]
    for file in [*wanted, *others]:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    patterns = BY_NAME[name].files
    assert [path.relative_to(tmp_path).as_posix() for path in find(tmp_path, patterns)] == wanted
    assert list(filter_repo_objects([*wanted, *others], allow_patterns=list(patterns))) == wanted


def test_all_known_data_sets_are_tried() -> None:
    """The table above has every data set, and names are unique."""
    tried = test_each_known_data_set_reads_by_its_columns.pytestmark[0].args[1]  # type: ignore[attr-defined]
    assert [name for name, _ in tried] == [source.name for source in SOURCES] == list(BY_NAME)


def test_what_a_data_set_says_of_its_problems(tmp_path: Path) -> None:
    """NuminaMath marks problems that are not valid, and proofs."""
    said = [("Yes", "math-word-problem"), ("Incomplete", "proof"), (None, None)]
    rows = [{"problem": "Q", "answer": "1", "problem_is_valid": valid, "question_type": kind} for valid, kind in said]
    problems = read(write(tmp_path / "a.jsonl", rows), BY_NAME["numinamath"].columns)
    assert [item.complaint for item in problems] == [None, "Incomplete", None]
    assert [item.asked for item in problems] == [None, Asked.PROOF, None]


def test_instructions_are_taken_off(tmp_path: Path) -> None:
    """DAPO's questions come bare, whether the file has its instructions around them or not; both are one question."""
    rows = [{"prompt": f"{DAPO_BEFORE}Q{DAPO_BEHIND}", "solution": "1"}, {"prompt": "Q", "solution": "1"}]
    path = write(tmp_path / "a.jsonl", rows)
    reading = Reader(BY_NAME["dapo"].columns).read([path])
    assert [item.question for item in reading.problems] == ["Q", "Q"]
    assert [item.row for item in reading.noted[Remark.INSTRUCTIONS]] == [1]
    kept = Reader(BY_NAME["dapo"].columns, keep_instructions=True).read([path])
    assert [item.question for item in kept.problems] == [item["prompt"] for item in rows]
    assert len({item.id for item in (*kept.problems, *reading.problems)}) == 1
    assert [item.row for item in kept.noted[Remark.INSTRUCTIONS_LEFT]] == [1]


def test_context_stands_before_the_question(tmp_path: Path) -> None:
    """OlympiadBench's later questions need the text before them."""
    rows = [{"question": "Find $b$.", "context": "Let $a=b$.", "final_answer": ["$1$,$2$"]}]
    (problem,) = read(write(tmp_path / "a.json", rows), BY_NAME["olympiadbench"].columns)
    assert (problem.question, problem.answers) == ("Let $a=b$.\nFind $b$.", ("$1$,$2$",))


@pytest.mark.parametrize(
    ("value", "answers"),
    [(70, ["70"]), (70.0, ["70"]), (0.5, ["0.5"]), (float("nan"), []), (None, []), (" $x$ ", ["x"]), ("", []),
     (r"\boxed{3}", ["3"]), ("$1$ and $2$", ["$1$ and $2$"]), ([], []), ([70], ["70"]), ([""], []),
     (1e22, [str(10**22)]), (["0.5", r"$\frac12$"], ["0.5", r"\frac12"]), (["1", "1", ""], ["1"])],
)  # fmt: skip
def test_ground_truths_of_all_types(tmp_path: Path, value: object, answers: list[str]) -> None:
    """Numbers are written as people write them; each text of a list is accepted; what is missing is none."""
    (problem,) = read(write(tmp_path / "a.json", [{"problem": "Q", "answer": value}]))
    assert list(problem.answers) == answers


@pytest.mark.parametrize(
    ("level", "number"),
    [
        ("Level 5", 5),
        ("5", 5),
        (3, 3),
        (3.0, 3),
        ("Level ?", None),
        (None, None),
        ("hard", None),
        (2.5, None),
        (True, None),
    ],
)
def test_levels(tmp_path: Path, level: object, number: int | None) -> None:
    """A level is a whole number or none."""
    (problem,) = read(write(tmp_path / "a.json", [{"problem": "Q", "answer": "1", "level": level}]))
    assert problem.level == number


def test_raw_gsm8k_reads(tmp_path: Path) -> None:
    """A solution that ends in `####` gives its answer, in a column of answers and of solutions; a box goes first."""
    solution = "She sold 48/2 = <<48/2=24>>24.\n#### 1,234"
    for column in ("answer", "solution"):
        reading = Reader(USUAL).read([write(tmp_path / "a.jsonl", [{"question": "Q", column: solution}])])
        (problem,) = reading.problems
        assert (problem.answers, problem.solution) == (("1,234",), solution)
    (problem,) = read(write(tmp_path / "a.jsonl", [{"question": "Q", "solution": r"\boxed{7}. #### 8"}]))
    assert problem.answers == ("7",)
    (problem,) = read(write(tmp_path / "a.jsonl", [{"question": "Q", "solution": "The solution is complete."}]))
    assert problem.answers == ()


def test_all_that_is_done_to_a_row_is_noted(tmp_path: Path) -> None:
    """By kind, in the order of the kinds, with the row and what was found; a row counts once for each."""
    rows = [
        {"prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Q"}], "answer": "$1$"},
        {"prompt": "Q\nLet's think step by step.", "answer": ["1.", "$2$", "The answer is 3."]},
        {"prompt": "Is $\x0crac12$ in \\boxed{} here?", "answer": '["5"]'},
        {"prompt": "Plain", "answer": "5"},
    ]
    reading = Reader(USUAL).read([write(tmp_path / "a.jsonl", rows)])
    assert {remark: [item.row for item in found] for remark, found in reading.noted.items()} == {
        Remark.LATEX: [3],
        Remark.SYSTEM_MESSAGE: [1],
        Remark.INSTRUCTIONS: [2],
        Remark.ANSWER_LIST: [3],
        Remark.ANSWER_TEXT: [2],
        Remark.ANSWER_MARKUP: [1, 2],
        Remark.INSTRUCTIONS_LEFT: [3],
        Remark.SEVERAL_ANSWERS: [2],
    }
    assert list(reading.noted) == list(Remark)
    assert reading.mended == (1, 2, 3)
    details = {remark: found[0].detail for remark, found in reading.noted.items()}
    assert details[Remark.SYSTEM_MESSAGE] == "'Be brief.'"
    assert details[Remark.ANSWER_TEXT] == "'The answer is 3.': '3'"
    assert details[Remark.SEVERAL_ANSWERS] == "any one of '1', '2', '3'"
    assert details[Remark.INSTRUCTIONS_LEFT] == repr("\\boxed")


def test_swallowed_commands_are_restored_and_counted(tmp_path: Path) -> None:
    """Question, solution and the answer in it are mended together."""
    rows = [{"problem": "Q", "solution": r"\boxed{1}"}, {"problem": "$\x0crac12$", "solution": "\\boxed{\x0crac12}"}]
    reading = Reader(USUAL).read([write(tmp_path / "a.json", rows)])
    assert reading.problems[1].question == r"$\frac12$"
    assert reading.problems[1].answers == (r"\frac12",)
    assert reading.mended == (2,)


BAD = {
    "a.jsonl": [
        ([{"problem": "Q", "answer": "1"}, {"problem": "Q"}], r"a\.jsonl, row 2 has no answer"),
        (
            [{"problem": "Q", "answer": "1"}, {"problem": 5, "answer": "1"}],
            r"row 2, column problem holds 5, of type int",
        ),
        ([{"problem": "Q", "answer": {"x": 1}}], r"row 1, column answer holds \{'x': 1\}, of type dict"),
        ([{"problem": "Q", "answer": True}], r"row 1, column answer holds True, of type bool"),
        ([{"problem": "Q", "answer": [1, 2]}], r"row 1, column answer holds \[1, 2\].*write accepted answers as texts"),
        (
            [{"prompt": [{"role": "user", "content": "a"}] * 2, "answer": "1"}],
            r"row 1, column prompt is a conversation",
        ),
        ([{"prompt": [{"role": "user"}], "answer": "1"}, {"prompt": [7], "answer": "1"}], "row 2, column prompt is a"),
    ],
    "a.parquet": [
        ([{"problem": b"Q", "answer": "1"}], "row 1, column problem holds b'Q', of type bytes"),
        ([{"problem": "Q", "answer": Decimal("1.5")}], "row 1, column answer holds Decimal"),
    ],
}


@pytest.mark.parametrize(("name", "rows", "message"), [(name, *case) for name, cases in BAD.items() for case in cases])
def test_a_wrong_row_is_named(tmp_path: Path, name: str, rows: list[Any], message: str) -> None:
    """The error has file, row, column and value; with skip_bad_rows the others are read and it is listed."""
    path = write(tmp_path / name, rows)
    with pytest.raises(RowError, match=message):
        read(path)
    reading = Reader(USUAL, skip_bad_rows=True).read([path])
    assert len(reading.bad_rows) == 1
    assert len(reading.problems) == len(rows) - 1
    assert reading.rows == len(rows)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"problem": "Q", "answer": "1"}\n{"problem": \n', r"a\.jsonl, row 2: .* is not JSON"),
        ("a.jsonl", '{"problem": "Q", "answer": "1"}\n\n{"problem": \n', r"row 2 \(line 3\): .* is not JSON"),
        ("a.jsonl", "[1]\n", "row 1 is .1., where a record is needed; .* as a whole ends in .json"),
        ("a.jsonl", '[\n{"problem": "Q", "answer": "1"}\n]', r"row 1: .* is not JSON.*as a whole ends in \.json"),
        ("a.jsonl", "\n \n", "no rows"),
        ("a.jsonl", '{"problem": "Q", "answer": "1", "answer": "2"}', "'answer' stands in a record .* '1', '2'; leave"),
        ("a.json", '[{"problem": "Q", "answer": {"a": 1, "a": 2}}]', "the key 'a' stands in a record more than once"),
        ("a.json", '{"problem": "Q"}\n{"problem": "R"}', r"in each line ends in \.jsonl"),
        ("a.csv", "problem,answer,answer\nQ,1,2\n", "more than one column 'answer'"),
        ("a.jsonl", "", "no rows"),
        ("a.json", '{"a": 1}', "a list of records is needed"),
        ("a.json", "{", "is not JSON"),
        ("a.csv", "problem,answer\nQ,1,2\n", r"a\.csv, row 1 \(to line 2\) has 3 fields, where the header names 2"),
        ("a.csv", 'problem,answer\nQ,"1', r"a\.csv, line 2"),
        ("a.csv", "", "is empty"),
        ("a.parquet", "PAR1", "is not a whole Parquet file"),
        ("a.txt", "x", r"of no known format; name a file that ends in \.parquet"),
        ("a.json", '[{"text": "Q", "answer": "1"}]', "no column for the question: looked for question, problem"),
        (
            "a.json",
            '[{"problem": "Q", "key": "1"}]',
            "it has problem, key. For data of your own, name it: --answer-column",
        ),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    """What is wrong with a file is said with the place and what is needed."""
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", '{"problem": "Q", "answer": "1"}\n{"problem": "R", "answer": "2"}'),
        ("a.jsonl", '{"problem": "Q", "answer": "1"}\n{"problem": "R", "answer": "2"}\n\n'),
        ("a.jsonl", '\n{"problem": "Q", "answer": "1"}\n \n\t\n{"problem": "R", "answer": "2"}\n\n\n'),
        ("a.jsonl", '\ufeff{"problem": "Q", "answer": "1"}\r\n{"problem": "R", "answer": "2"}\r\n\r\n'),
        ("a.json", '\ufeff\n[{"problem": "Q", "answer": "1"},\r\n{"problem": "R", "answer": "2"}]\n\n'),
        ("a.csv", "problem,answer\nQ,1\nR,2\n\n"),
        ("a.csv", "\ufeffproblem,answer\r\nQ,1\r\n\r\nR,2\r\n\r\n"),
    ],
)
def test_empty_lines_and_marks_of_windows_are_nothing(tmp_path: Path, name: str, content: str) -> None:
    """An empty line anywhere, a byte order mark and line ends of two characters change no row, and none's number."""
    path = tmp_path / name
    path.write_bytes(content.encode())
    problems = read(path)
    assert [(item.question, *item.answers, item.row) for item in problems] == [("Q", "1", 1), ("R", "2", 2)]


def test_a_file_in_another_encoding_is_named(tmp_path: Path) -> None:
    """Text that is not UTF-8 is refused, not guessed at."""
    path = tmp_path / "a.jsonl"
    path.write_bytes('{"problem": "é"}'.encode("latin-1"))
    with pytest.raises(FileError, match="is not UTF-8 text"):
        read(path)


def test_files_of_a_folder(tmp_path: Path) -> None:
    """All data files in order, or those of the first pattern that matches; never a manifest or a hidden file."""
    for name in (
        "data/train-1.parquet",
        "data/train-0.parquet",
        "data/test-0.parquet",
        ".cache/x.json",
        "a.manifest.json",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    names = lambda *patterns: [path.name for path in find(tmp_path, patterns)]  # noqa: E731
    assert names() == ["test-0.parquet", "train-0.parquet", "train-1.parquet"]
    assert names("train-*", "data/train-*") == ["train-0.parquet", "train-1.parquet"]
    with pytest.raises(FileError, match=r"matches x\.json; data files there: data/test-0\.parquet, data/train-0"):
        names("x.json")
    with pytest.raises(FileError, match="does not exist"):
        find(tmp_path / "nowhere")


def test_rows_are_counted_over_all_files(tmp_path: Path) -> None:
    """Row numbers go on from file to file, while messages count within one."""
    first = write(tmp_path / "a.jsonl", ROWS)
    second = write(tmp_path / "b.jsonl", [*ROWS, {"problem": "Q"}])
    with pytest.raises(RowError, match=r"b\.jsonl, row 3 has no answer"):
        Reader(USUAL).read([first, second])
    reading = Reader(USUAL, skip_bad_rows=True).read([first, second])
    assert [problem.row for problem in reading.problems] == [1, 2, 3, 4]
    assert [item.row for item in reading.bad_rows] == [5]
    assert [file.name for file in reading.files] == ["a.jsonl", "b.jsonl"]


def test_a_column_that_is_named_and_missing(tmp_path: Path) -> None:
    """A column of one's own choice is not replaced by another."""
    with pytest.raises(ColumnError, match="looked for text; it has problem, answer"):
        read(write(tmp_path / "a.json", ROWS), Columns(question=("text",), answer=("answer",)))
