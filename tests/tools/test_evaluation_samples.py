"""Samples as they are read back from a dump: what each says, and that each counts once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from dumped_lines import CUT, FAILED_CODE, FAULT, TOO_LONG, VOID, answered, finished, write_dump

from math_answers import Verdict
from tir_tools.evaluation.problems import BenchmarkProblem
from tir_tools.evaluation.samples import collect, sample_of, sample_record
from verl_tir.dump.format import DumpedTrajectory
from verl_tir.dump.reader import read_dump
from verl_tir.trajectory import Trajectory


def problems(count: int) -> list[BenchmarkProblem]:
    """That many problems whose answer is 1."""
    row = {"reward_model": {"ground_truth": "1"}}
    return [BenchmarkProblem(number, "bench", f"p{number}", row) for number in range(count)]


def lines(folder: Path, rows: list[Mapping[str, Any]]) -> list[DumpedTrajectory]:
    """What is read back of them."""
    write_dump(folder, rows)
    return list(read_dump(folder))


@pytest.mark.parametrize(
    ("trajectory", "undecided", "status", "void", "truncated", "programs", "passed"),
    [
        (answered("1"), False, Verdict.CORRECT, False, False, 1, 1),
        (answered("2"), False, Verdict.WRONG, False, False, 1, 1),
        (answered("2"), True, Verdict.UNDECIDED, False, False, 1, 1),
        (VOID, False, Verdict.NO_ANSWER, True, False, 0, 0),
        (CUT, False, Verdict.NO_ANSWER, True, True, 0, 0),
        (FAILED_CODE, False, Verdict.NO_ANSWER, False, False, 1, 0),
        (FAULT, False, None, False, False, 0, 0),
        (TOO_LONG, False, None, False, False, 0, 0),
    ],
)
def test_what_a_line_says(
    tmp_path: Path,
    trajectory: Trajectory,
    undecided: bool,
    status: Verdict | None,
    void: bool,
    truncated: bool,
    programs: int,
    passed: int,
) -> None:
    """Right, wrong, without an answer; and what is neither right nor wrong."""
    (line,) = lines(tmp_path, [finished(0, 0, trajectory, undecided=undecided)])
    sample = sample_of(line)
    assert (sample.verdict, sample.void, sample.truncated) == (status, void, truncated)
    assert (sample.programs, sample.programs_passed) == (programs, passed)
    assert sample.decided == (status not in (Verdict.UNDECIDED, None))


def test_each_sample_counts_once_whichever_run_wrote_it(tmp_path: Path) -> None:
    """Two runs, the first one killed; a line that is there twice; one of training; one of an unknown problem."""
    first = [finished(0, 0, answered("1")), finished(0, 1, VOID), finished(1, 0, answered("2")), finished(1, 1, FAULT)]
    write_dump(tmp_path, first)
    write_dump(tmp_path, [first[0], finished(9, 0, answered("1"))])
    found = collect(read_dump(tmp_path), problems(3), 2)
    assert found.missing() == {1: 1, 2: 2}
    assert [sample.verdict for sample in found.of(1)] == [Verdict.WRONG, None]
    write_dump(
        tmp_path, [finished(1, 0, answered("1"), run="b"), finished(2, 0, VOID, run="b"), finished(2, 1, TOO_LONG)]
    )
    found = collect(read_dump(tmp_path), problems(3), 2)
    assert found.missing() == {}
    assert [len(found.of(number)) for number in range(3)] == [2, 2, 2]
    assert [sample.verdict for sample in found.of(1)] == [Verdict.WRONG, Verdict.CORRECT]


def test_more_samples_may_be_asked_for_later(tmp_path: Path) -> None:
    """What is there stays, and the rest is missing."""
    write_dump(tmp_path, [finished(0, session, VOID) for session in range(2)])
    assert collect(read_dump(tmp_path), problems(1), 8).missing() == {0: 6}


def test_a_line_that_was_cut_off_is_taken_again(tmp_path: Path) -> None:
    """A process killed in the middle of a line costs that sample and no other."""
    write_dump(tmp_path, [finished(0, 0, VOID), finished(0, 1, VOID)])
    file = tmp_path / "val" / "000000.jsonl"
    file.write_bytes(file.read_bytes()[:-40])
    assert collect(read_dump(tmp_path), problems(1), 2).missing() == {0: 1}
    write_dump(tmp_path, [finished(0, 0, VOID, run="b")])
    assert collect(read_dump(tmp_path), problems(1), 2).missing() == {}


def test_a_sample_is_lenient_where_the_last_number_is_right(tmp_path: Path) -> None:
    """Without a box; what is right in the box is right."""
    said = finished(0, 0, VOID)
    rows = [said, {**said, "turns": [{**said["turns"][0], "text": "1 is the answer."}]}, finished(0, 1, answered("1"))]
    assert [sample_of(line).lenient for line in lines(tmp_path, rows)] == [False, True, True]


def test_a_line_of_the_samples_file(tmp_path: Path) -> None:
    """Scores are 1, 0 or, where nothing is known, null."""
    rows = [finished(0, 0, answered("1")), finished(0, 1, VOID), finished(0, 2, answered("3"), undecided=True)]
    written = lines(tmp_path, rows)
    records = [
        sample_record(line, sample_of(line), problems(1)[0], number, None) for number, line in enumerate(written)
    ]
    assert [record["score"] for record in records] == [1.0, 0.0, None]
    assert records[0]["problem"] == "p0"
    assert (records[0]["extracted"], records[0]["response"]) == ("1", "\\boxed{1}")
    text = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text()
    told = re.findall(r"`(\w+)`", text.partition("| `samples.jsonl` |")[2].partition("\n")[0])
    assert set(told) - {*Verdict, "aborted"} == set(records[0])
