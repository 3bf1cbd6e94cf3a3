"""The rules that count behaviours, example by example."""

from __future__ import annotations

import pytest
from trajectories import trajectory, turn

from tir_tools.report.behaviours import Behaviour, RanProgram, behaviours, numbers, programs
from verl_tir.trajectory import Outcome, TurnText

PASSED, FAILED, SLOW, FAULT = Outcome.SUCCESS, Outcome.FAILED, Outcome.TIME_LIMIT, Outcome.FAULT
CORRECTS, CHECKS, BUILDS, CALCULATED, REASONED = Behaviour

# id: programs as (outcome, code, output), answer, what is seen
EXAMPLES = {
    "nothing ran": ([], "5", set()),
    "one program, no answer": ([(PASSED, "print(2+3)", "5")], None, set()),
    "answer printed": ([(PASSED, "print(2+3)", "5")], "5", {CALCULATED}),
    "answer printed as a decimal": ([(PASSED, "print(10/4)", "2.50")], "2.5", {CALCULATED}),
    "answer printed with thousands": ([(PASSED, "print(1200)", "1200")], "1,200", {CALCULATED}),
    "answer is a part of a number": ([(PASSED, "print(15)", "15")], "5", {REASONED}),
    "answer is text": ([(PASSED, "print(s)", "x ** 2 + 1")], "x**2 + 1", {CALCULATED}),
    "answer is in no output": ([(PASSED, "print(7)", "7")], "5", {REASONED}),
    "repaired": ([(FAILED, "print(x)", "NameError"), (PASSED, "print(5)", "5")], None, {CORRECTS}),
    "repaired after a time limit": ([(SLOW, "while 1: 0", ""), (PASSED, "print(5)", "5")], None, {CORRECTS}),
    "failed twice": ([(FAILED, "a", "NameError"), (FAILED, "b", "NameError")], None, set()),
    "failed last": ([(PASSED, "print(5)", "5"), (FAILED, "b", "NameError")], None, set()),
    "a fault is nobody's failure": ([(FAULT, "a", ""), (PASSED, "print(5)", "5")], None, set()),
    "checked by another way": ([(PASSED, "print(6*7)", "42"), (PASSED, "print(sum([7]*6))", "x = 42")], None, {CHECKS}),
    "the same program again": ([(PASSED, "print(6*7)", "42"), (PASSED, "print(6 * 7)", "42")], None, set()),
    "another value": ([(PASSED, "print(6*7)", "42"), (PASSED, "print(6*8)", "48")], None, set()),
    "a check that failed": ([(PASSED, "print(6*7)", "42"), (FAILED, "print(7*6)", "42")], None, set()),
    "the value is put in": ([(PASSED, "print(6*7)", "42"), (PASSED, "print(42)", "42")], None, {BUILDS}),
    "goes on from a result": ([(PASSED, "print(6*7)", "42"), (PASSED, "print(42+1)", "43")], None, {BUILDS}),
    "a number of the prompt": ([(PASSED, "print(99)", "99"), (PASSED, "print(99+1)", "100")], None, set()),
    "a number of its own": ([(PASSED, "x = 77; print(x)", "77"), (PASSED, "print(77+1)", "78")], None, set()),
    "a number that tells nothing": ([(PASSED, "print(1+2)", "3"), (PASSED, "print(3*2)", "6")], None, set()),
    "a decimal tells": ([(PASSED, "print(1/4)", "0.25"), (PASSED, "print(0.25*2)", "0.5")], None, {BUILDS}),
    "what a failed program printed": ([(FAILED, "f()", "line 42"), (PASSED, "print(42)", "42")], None, {CORRECTS}),
    "all at once": (
        [(FAILED, "print(x)", "NameError"), (PASSED, "print(6*7)", "42"), (PASSED, "print(42/2)", "21.0")],
        "21",
        {CORRECTS, BUILDS, CALCULATED},
    ),
}


@pytest.mark.parametrize(("ran", "answer", "seen"), EXAMPLES.values(), ids=EXAMPLES)
def test_behaviours(ran: list[tuple[Outcome, str, str]], answer: str | None, seen: set[Behaviour]) -> None:
    """Each pattern where it is, and nowhere else."""
    texts = [
        TurnText("Let me see.", code, "" if outcome is FAULT else f"\nCode execution result: {output}\n")
        for outcome, code, output in ran
    ]
    turns = [turn(outcome) for outcome, _, _ in ran]
    record = trajectory(*turns, turn(), answer=answer)
    assert behaviours(record, "What is 99?", [*texts, TurnText("The end.", None, "")]) == seen


def test_an_output_without_room_shifts_nothing() -> None:
    """A turn without an observation keeps its program."""
    texts = [TurnText("first", "a", ""), TurnText("second", "b", "")]
    record = trajectory(turn(PASSED, seen=False), turn(FAILED, seen=False))
    assert programs(record, texts) == [RanProgram("a", PASSED, ""), RanProgram("b", FAILED, "")]


def test_numbers_are_whole_ones() -> None:
    """Not those in names, versions or other numbers."""
    assert numbers("x2 = 10, y=-3.50 1.2.3 v1.0 (7) 1e-3 5%") == ["10", "-3.5", "7", "1e-3", "5"]
