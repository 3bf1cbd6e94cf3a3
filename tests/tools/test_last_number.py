r"""The last number that is said: how models end their turns, and what the usual grader of GSM8K makes of it."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
from trajectories import line, trajectory, turn

from tir_tools.last_number import last_number, leniently_right
from verl_tir.dump.format import from_line
from verl_tir.trajectory import Outcome, StopReason

ENDINGS = [
    # What a small model that was trained to chat says: found in trajectories, with other numbers.
    ("3114720 is the answer.", "3114720"),
    ("The answer is 166.<|im_end|>", "166"),
    ("166<|im_end|>", "166"),
    ("986\n\n986<|im_end|>", "986"),
    ("166 in 1892.<|im_end|>", "1892"),
    ("1696544 % 41 = 23.<|im_end|>", "23"),
    ("23 * 7 + 5 = 166\nThe answer is 166", "166"),
    ("19129 is the answer to the question: 19129 * 1892.", "1892"),
    ("777.\n\nThe answer is 777.", "777"),
    ("Remainder = 1\nModulo operation result is 9", "9"),
    ("the answer is **17468**.", "17468"),
    ("**Answer:** 17468**", "17468"),
    ("So the final answer is \\boxed{166}", "166"),
    ("The result is $\\boxed{-12}$.", "-12"),
    ("\\boxed{166}<|im_end|>", "166"),
    ("The output is `4242`.", "4242"),
    ("Code execution result: 4242\n```\n", "4242"),
    ("19129 * 1892 = 36192068\n\nQuestion: What is 55037 * 11?<|im_end|>", "36192068"),
    ("The answer is 5.\n\n**Question**: What is 23 * 7 + 5?", "5"),
    ("Question: What is 23 * 7 + 5?", None),
    ("Solution:<|im_end|>", None),
    ("I'm ready to assist you. What question would you like to have answered?", None),
    ("we use the formula 23 + 7 + 21, which is the 16th number in the Fibonacci series, 7 + ", "7"),
    ("These integers are 23, 29, 32, 49, 5", "5"),
    ("The sum is 94 + 95 = 189, as I said.", "189"),
    ("69622131 is approximately 6.9277.", "6.9277"),
    ("= 23 x 7E16 + 3E17, which", "3E17"),
    ("The result of `x % 279` is unknown, so 12...", "12"),
    # Numbers as they may be written.
    ("She pays $1,234.50.", "1234.50"),
    ("There are 1,234,567 of them, 3,114,720!", "3114720"),
    ("3{,}114{,}720 or 3\\,114\\,720", "3114720"),
    ("3,\\!114,\\!720", "3114720"),
    ("3\u202f114\u202f720", "3114720"),
    ("list: 1,2,3", "3"),
    ("1, 234", "234"),
    ("It is -5.", "-5"),
    ("It is \u22125 degrees", "-5"),
    ("profit: -$5, $-7", "-7"),
    ("profit: -$5", "-5"),
    ("\\$18.00", "18.00"),
    ("pages 10-12", "12"),
    ("(4+5)-3", "3"),
    ("x=-3", "-3"),
    ("temperature: +4", "4"),
    ("the ratio is .5", ".5"),
    ("it is...166", "166"),
    ("a total of 12 km/h.", "12"),
    ("it takes 45mins", "45"),
    ("half, 1/2", "1/2"),
    ("\\frac{1}{2}", "\\frac{1}{2}"),
    ("-\\dfrac12", "-\\dfrac12"),
    ("50%", "50%"),
    ("50\\%.", "50%"),
    ("7%3", "3"),
    ("1.5e+20", "1.5e+20"),
    ("12 = x2", "12"),
    ("12 = x_2", "12"),
    ("version 1.1.2", "1.1"),
    ("the answer is 42. ... ", "42"),
    ("the answer is 42 .,", "42"),
    ("\u7b54\u6848\u662f5\u3002", "5"),
    ("", None),
]


@pytest.mark.parametrize(("text", "number"), ENDINGS)
def test_the_last_number_is_found(text: str, number: str | None) -> None:
    """Without separators, currency and the sentence's full stop."""
    assert last_number(text) == number


FLEXIBLE = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")


def flexible_extract(text: str) -> str | None:
    """As lm-evaluation-harness does it for GSM8K: the stop sequence, the filter, what its comparison takes away."""
    found = FLEXIBLE.findall(text.partition("Question:")[0])
    if not found:
        return None
    number = next(group for group in found[-1] if group).strip()
    return re.sub(r"\.$", "", re.sub(r"[,$]", "", number))


DIFFERENT = {
    "10-12": ("-12", "12"),
    "(4+5)-3": ("-3", "3"),
    "1,2,3": ("123", "3"),
    "3{,}114{,}720": ("720", "3114720"),
    "42. ... ": ("..", "42"),
    "42 .,": ("", "42"),
    "$\\boxed{42}$.": ("", "42"),
    "1/2": ("2", "1/2"),
    "12 = x2": ("2", "12"),
    "\u22125": ("5", "-5"),
    "1.5e+20": ("20", "1.5e+20"),
    "it is...166": ("...166", "166"),
}
"""Texts, what the filter takes for the last number, and what it is."""


@pytest.mark.parametrize("text", DIFFERENT)
def test_differences_to_the_usual_grader_are_these(text: str) -> None:
    """In each the filter reads what nobody said."""
    assert (flexible_extract(text), last_number(text)) == DIFFERENT[text]


def test_otherwise_it_agrees_with_the_usual_grader() -> None:
    """On the first endings above, which are a small model's, but for an `E`, dollar signs and bold print."""
    model = [pair for pair in ENDINGS[:28] if not re.search(r"E17|\}\$|\*\*Question", pair[0])]
    assert len(model) == 25
    for text, number in model:
        found = flexible_extract(text)
        assert (None if found is None else found.rstrip(".")) == number, text


def dumped(said: str, truth: Any, *, correct: bool | None = False, shown: str = "", program: bool = False) -> Any:
    """A trajectory whose second and last turn says this."""
    last = turn(Outcome.SUCCESS) if program else turn(void=True)
    record = trajectory(turn(Outcome.SUCCESS), last, stop=StopReason.VOID)
    words = [("model", "```python\nprint(1)\n```"), ("tool", "99"), ("model", said), ("tool", shown)]
    return from_line(json.loads(json.dumps(line(words, record, correct=correct, ground_truth=truth))))


@pytest.mark.parametrize(
    ("said", "truth", "right"),
    [
        ("3114720 is the answer.", "3114720", True),
        ("3,114,720 is the answer.", "3114720", True),
        ("It is **3114720.0**", "3114720", True),
        ("The answer is 3114720, or 3.1 million.", "3114720", False),
        ("3114721", "3114720", False),
        ("-5", "5", False),
        ("$18.00", "18", True),
        ("18", "$18", True),
        ("18", "18 dollars", True),
        ("18", ["17", "18"], True),
        ("18", '["17", "18"]', True),
        ("18", 18, True),
        ("19", ["17", "18"], False),
        ("one half, 0.5", "\\frac{1}{2}", True),
        ("99", "99", True),
        ("I cannot say.", "99", False),
        ("It is 5 in all", "blue", False),
        ("1" * 6_000, "7", False),
        ("42", None, False),
    ],
)
def test_a_trajectory_is_right_where_its_last_number_is(said: str, truth: Any, right: bool) -> None:
    """By value, and any of several ground truths will do."""
    assert leniently_right(dumped(said, truth)) is right


def test_what_the_tool_printed_is_not_said() -> None:
    """The right number in the output of the last turn's program, or in an earlier turn, does not count."""
    assert not leniently_right(dumped("```python\nprint(6 * 7)\n```", "42", shown="42", program=True))
    assert not leniently_right(dumped("I am done.", "99"))


def test_what_is_right_in_the_box_is_right() -> None:
    """Whatever is said after it, and whoever boxed it."""
    assert leniently_right(dumped("\\boxed{42}\n\nQuestion: What is 5 + 6?", "42", correct=True))
    assert leniently_right(dumped("final_answer(x)", "42", correct=True))
    assert not leniently_right(dumped("7", "42", correct=None))
    nothing = trajectory(stop=StopReason.PROMPT_TOO_LONG)
    assert not leniently_right(from_line(line([], nothing, correct=None)))


def test_long_texts_take_little_time() -> None:
    """Of a hundred thousand characters of any sort."""
    texts = ("1", "1,", "-", ".", "\n", "$", "1{,}111", "\\frac", "1.", "{", "1e", "\n* Question")
    begin = time.perf_counter()
    for text in texts:
        last_number(text * (100_000 // len(text)))
    assert time.perf_counter() - begin < 5
