"""The demo's problems: right answers, programs that do what they are said to, and splits that share nothing."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest

from tir_tools.demo.tasks.data import problems, split, verl_row
from tir_tools.demo.tasks.kinds import KINDS, DemoProblem


def of_each_kind(seed: int) -> list[DemoProblem]:
    """One problem of each kind."""
    return list(itertools.islice(problems(seed), len(KINDS)))


@pytest.mark.parametrize("problem", of_each_kind(7), ids=lambda problem: problem.kind)
def test_programs_do_what_is_said_of_them(problem: DemoProblem) -> None:
    """Each, run by Python, prints what the transcripts show, or fails with the same last line."""
    for program in (*problem.solution, problem.mistake):
        done = subprocess.run([sys.executable, "-I", "-c", program.code], capture_output=True, text=True, timeout=30)
        assert done.stdout == program.stdout
        assert done.stderr.strip().rpartition("\n")[2] == program.error


def test_the_last_program_prints_the_answer_and_the_mistake_does_not() -> None:
    """Of many problems of each kind."""
    for problem in itertools.islice(problems(1), 900):
        assert problem.solution[-1].stdout == f"{problem.answer}\n"
        assert not any(program.stdout == f"{problem.answer}\n" for program in problem.solution[:-1])
        assert problem.mistake.stdout not in ("", f"{problem.answer}\n")
        assert problem.kind in KINDS


def test_one_kind_needs_what_its_first_program_printed() -> None:
    """The second program holds a number that is neither in the question nor in the first program."""
    (chain,) = (problem for problem in of_each_kind(3) if problem.kind == "chains")
    first, second = chain.solution
    found = first.stdout.strip()
    assert found in second.code
    assert found not in chain.question
    assert found not in first.code


def test_one_kind_fails_first_and_is_corrected() -> None:
    """The corrected program is the failed one with its import."""
    (choice,) = (problem for problem in of_each_kind(3) if problem.kind == "choices")
    failed, corrected = choice.solution
    assert failed.error.startswith("NameError")
    assert corrected.code == f"from math import comb\n{failed.code}"


def test_splits_share_no_question_and_have_all_kinds() -> None:
    """No question stands twice, neither in one part nor in both; another seed gives others."""
    train, val = split(seed=0, train=1_800, validation=90)
    assert len({problem.question for problem in (*train, *val)}) == 1_890
    assert {problem.kind for problem in val} == set(KINDS)
    assert split(0, 1_800, 90) == (train, val)
    other, _ = split(1, 1_800, 90)
    assert len({problem.question for problem in other} & {problem.question for problem in train}) < 100


def test_rows_name_the_kind_as_data_source() -> None:
    """verl reports validation by it."""
    problem = of_each_kind(0)[0]
    row = verl_row(problem, 5, "val")
    assert row["data_source"] == problem.kind
    assert row["prompt"] == [{"role": "user", "content": problem.question}]
    assert row["reward_model"] == {"style": "rule", "ground_truth": problem.answer}
    assert row["extra_info"] == {"split": "val", "index": 5}
