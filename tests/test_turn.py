"""What a turn holds, what program is run for it, and what happens after it."""

import subprocess
import sys

import pytest

from verl_tir.rollout.turn import Limits, stop_after
from verl_tir.rollout.turn_rules.simpletir import parse_turn, program_of
from verl_tir.trajectory import Outcome, StopReason, Turn, TurnEnd


def _turn(
    *, end: TurnEnd = TurnEnd.CODE, code: bool = True, answer: bool = False, outcome: Outcome | None = Outcome.SUCCESS
) -> Turn:
    return Turn(
        end=end,
        model_tokens=10,
        observation_tokens=5,
        discarded_tokens=1,
        has_code=code,
        has_answer=answer,
        outcome=outcome if code else None,
        observation_truncated=False,
        generate_seconds=0.0,
        tool_seconds=0.0,
    )


GOES_ON = {"turns_done": 2, "room": 1, "tool_seconds": 0.9, "observation_fits": True}
OVER_ALL = {"turns_done": 3, "room": 0, "tool_seconds": 1.0, "observation_fits": False}
"""Every limit is reached."""

# id: turn, what is different from GOES_ON, reason
RULES = {
    "code and room: the next turn begins": (_turn(), {}, None),
    "failing code is not void": (_turn(outcome=Outcome.FAILED), {}, None),
    "code out of time is not void": (_turn(outcome=Outcome.TIME_LIMIT), {}, None),
    "1 aborted before everything": (_turn(end=TurnEnd.ABORTED, answer=True), OVER_ALL, StopReason.ENGINE_ABORT),
    "1 aborted before void": (_turn(end=TurnEnd.ABORTED, code=False), OVER_ALL, StopReason.ENGINE_ABORT),
    "2 void before all limits": (_turn(end=TurnEnd.EOS, code=False), OVER_ALL, StopReason.VOID),
    "2 void with room": (_turn(end=TurnEnd.EOS, code=False), {}, StopReason.VOID),
    "2 void by length": (_turn(end=TurnEnd.LENGTH, code=False), {}, StopReason.VOID),
    "5 answer without code": (_turn(end=TurnEnd.EOS, code=False, answer=True), {}, StopReason.ANSWER),
    "5 answer by length": (_turn(end=TurnEnd.LENGTH, code=False, answer=True), OVER_ALL, StopReason.ANSWER),
    "5 answer beside code": (_turn(answer=True), {}, StopReason.ANSWER),
    "5 answer before all limits": (_turn(answer=True), OVER_ALL, StopReason.ANSWER),
    "6 observation does not fit": (_turn(), {"observation_fits": False}, StopReason.RESPONSE_BUDGET),
    "6 no token left": (_turn(), {"room": 0}, StopReason.RESPONSE_BUDGET),
    "6 budget before turns and time": (_turn(), OVER_ALL, StopReason.RESPONSE_BUDGET),
    "6 no token left before turns and time": (
        _turn(),
        OVER_ALL | {"observation_fits": True},
        StopReason.RESPONSE_BUDGET,
    ),
    "7 last turn": (_turn(), {"turns_done": 3}, StopReason.MAX_TURNS),
    "7 last turn before time": (_turn(), {"turns_done": 3, "tool_seconds": 1.0}, StopReason.MAX_TURNS),
    "8 tool time": (_turn(), {"tool_seconds": 1.0}, StopReason.TOOL_TIME),
}


@pytest.mark.parametrize(("turn", "changes", "reason"), RULES.values(), ids=RULES)
def test_rules_are_checked_in_their_order(turn: Turn, changes: dict, reason: StopReason | None) -> None:
    """Each rule stops the trajectory and beats every later one."""
    limits = Limits(max_turns=3, max_turn_tokens=10, max_response_tokens=100, max_tool_seconds=1.0)
    assert stop_after(turn, limits=limits, **GOES_ON | changes) is reason


def test_no_tool_limit_means_no_limit() -> None:
    """Without `max_tool_seconds` programs may take any time."""
    limits = Limits(max_turns=3, max_turn_tokens=10, max_response_tokens=100, max_tool_seconds=None)
    assert stop_after(_turn(), limits=limits, **GOES_ON | {"tool_seconds": 1e9}) is None


# id: decoded text, text of the turn, code, answer
TURNS = {
    "code": ("a\n```py\nx\n```\nb", "a\n```py\nx\n```", "x", False),
    "answer": ("so \\boxed{5}", "so \\boxed{5}", None, True),
    "neither": ("so 5", "so 5", None, False),
    "unfinished answer": ("so \\boxed{", "so \\boxed{", None, True),
    "answer before the code": ("\\boxed{5}\n```py\nx\n```", "\\boxed{5}\n```py\nx\n```", "x", True),
    "answer in the code": ("```py\n'\\boxed{5}'\n```", "```py\n'\\boxed{5}'\n```", "'\\boxed{5}'", True),
    "answer behind the code is cut off": ("```py\nx\n```\n\\boxed{5}", "```py\nx\n```", "x", False),
    "boxed without braces": ("\\boxed 5", "\\boxed 5", None, False),
    "empty": ("", "", None, False),
}


@pytest.mark.parametrize(("decoded", "text", "code", "answer"), TURNS.values(), ids=TURNS)
def test_turn_ends_with_its_code(decoded: str, text: str, code: str | None, answer: bool) -> None:
    """A turn is its text up to the end of its block, and only that is searched for an answer."""
    parsed = parse_turn(decoded)
    assert parsed.text == text
    assert (parsed.block and parsed.block.code) == code
    assert parsed.boxed is answer
    assert parse_turn(parsed.text) == parsed


PROGRAMS = {
    "number": ("final_answer(42)", "\\boxed{42}\n"),
    "text": ("final_answer('x + y')", "\\boxed{x + y}\n"),
    "braces": ("final_answer({1, 1})", "\\boxed{{1}}\n"),
    "fraction": ("from fractions import Fraction\nfinal_answer(Fraction(1, 2))", "\\boxed{1/2}\n"),
    "twice": ("print(1)\nfinal_answer(2)\nfinal_answer(3)\n", "1\n\\boxed{2}\n\\boxed{3}\n"),
    "own definition wins": ("def final_answer(x): print('mine', x)\nfinal_answer(1)", "mine 1\n"),
    "future import": ("from __future__ import annotations\nfinal_answer(1)", "\\boxed{1}\n"),
    "future import alone": ("from __future__ import annotations", ""),
    "two future imports": (
        "from __future__ import annotations\nfrom __future__ import division\nfinal_answer(1)\n",
        "\\boxed{1}\n",
    ),
    "future import behind a comment": ("# c\n\nfrom __future__ import annotations\nfinal_answer(1)", "\\boxed{1}\n"),
    "future import behind a docstring": (
        '"""doc"""\nfrom __future__ import annotations\nfinal_answer(__doc__)',
        "\\boxed{doc}\n",
    ),
    "future import in parentheses": (
        "from __future__ import (\n    annotations,\n    division,\n)\nfinal_answer(1)",
        "\\boxed{1}\n",
    ),
    "future import over a continued line": (
        "from __future__ import annotations, \\\n    division\nfinal_answer(1)",
        "\\boxed{1}\n",
    ),
    "future import and a statement": (
        "from __future__ import annotations; final_answer(1)\nprint(2)",
        "\\boxed{1}\n2\n",
    ),
    "future import with a comment": ("from __future__ import annotations  # (\nfinal_answer(1)", "\\boxed{1}\n"),
    "future module by its name": ("import __future__\nfinal_answer(1)", "\\boxed{1}\n"),
}


@pytest.mark.parametrize(("code", "stdout"), PROGRAMS.values(), ids=PROGRAMS)
def test_final_answer_prints_a_box(code: str, stdout: str) -> None:
    """Every program finds `final_answer` defined, and it prints the box."""
    run = subprocess.run(
        [sys.executable, "-I", "-c", program_of(code)], capture_output=True, text=True, timeout=20, check=False
    )
    assert (run.stdout, run.stderr) == (stdout, "")


def test_program_ends_with_the_code() -> None:
    """The code is run as it was written, after what is put before it."""
    code = "x = '\\n\u2028'\n\tif: broken\r\n"
    assert program_of(code).endswith(code)
    assert program_of(code) != code
