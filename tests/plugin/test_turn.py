"""What a turn holds, what program is run for it, and what happens after it."""

import re
import subprocess
import sys

import pytest
from guard import guarded

from verl_tir.rollout.loop import TrajectoryLimits, stop_after
from verl_tir.rollout.turn_rule import BOXED
from verl_tir.rollout.turn_rules.simpletir import FINAL_ANSWER_PRELUDE, parse_turn, program_of
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
    "2 fault before an answer and all limits": (
        _turn(answer=True, outcome=Outcome.FAULT),
        OVER_ALL,
        StopReason.SANDBOX_FAULT,
    ),
    "5 void before all limits": (_turn(end=TurnEnd.EOS, code=False), OVER_ALL, StopReason.VOID),
    "5 void with room": (_turn(end=TurnEnd.EOS, code=False), {}, StopReason.VOID),
    "5 void by length": (_turn(end=TurnEnd.LENGTH, code=False), {}, StopReason.VOID),
    "3 answer without code": (_turn(end=TurnEnd.EOS, code=False, answer=True), {}, StopReason.ANSWER),
    "3 answer by length": (_turn(end=TurnEnd.LENGTH, code=False, answer=True), OVER_ALL, StopReason.ANSWER),
    "3 answer beside code": (_turn(answer=True), {}, StopReason.ANSWER),
    "3 answer before all limits": (_turn(answer=True), OVER_ALL, StopReason.ANSWER),
    "4 refused call before void and all limits": (
        _turn(end=TurnEnd.CALL, code=False),
        OVER_ALL | {"call_refused": True},
        StopReason.CALL_BUDGET,
    ),
    "4 an answer before a refused call": (_turn(answer=True), {"call_refused": True}, StopReason.ANSWER),
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
    limits = TrajectoryLimits(max_turns=3, max_turn_tokens=10, max_response_tokens=100, max_tool_seconds=1.0)
    assert stop_after(turn, limits=limits, **GOES_ON | changes) is reason


def test_no_tool_limit_means_no_limit() -> None:
    """Without `max_tool_seconds` programs may take any time."""
    limits = TrajectoryLimits(max_turns=3, max_turn_tokens=10, max_response_tokens=100, max_tool_seconds=None)
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
    assert (BOXED in parsed.text) is answer
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
    "future import after a carriage return": (
        "'d'\rfrom __future__ import annotations\rfinal_answer(1)",
        "\\boxed{1}\n",
    ),
    "future import with line feeds and carriage returns": (
        "from __future__ import annotations\r\nfinal_answer(1)\r\n",
        "\\boxed{1}\n",
    ),
    "future import behind a form feed": ("\f\nfrom __future__ import annotations\n\ffinal_answer(1)", "\\boxed{1}\n"),
    "future import behind an encoding": (
        "#!/usr/bin/env python\n# -*- coding: utf-8 -*-\nfrom __future__ import annotations\nfinal_answer('é')",
        "\\boxed{é}\n",
    ),
    "future import behind a docstring of lines": (
        "'''from __future__ import x\n\n'''\nfrom __future__ import annotations\nfinal_answer(2)",
        "\\boxed{2}\n",
    ),
    "future import behind a docstring of parts": (
        "('a'\n r'b')\nfrom __future__ import annotations\nfinal_answer(__doc__)",
        "\\boxed{ab}\n",
    ),
    "future import behind a docstring and a semicolon": (
        "'d'; from __future__ import annotations; final_answer(__doc__); print(2)",
        "\\boxed{d}\n2\n",
    ),
    "future imports on one line": (
        "from __future__ import annotations; from __future__ import division;\nfinal_answer(1)",
        "\\boxed{1}\n",
    ),
    "future import, a semicolon and a comment": (
        "from __future__ import annotations;  # ;\nfinal_answer(1)",
        "\\boxed{1}\n",
    ),
    "future import, a semicolon and a continued line": (
        "from __future__ import annotations; \\\n  final_answer(1)",
        "\\boxed{1}\n",
    ),
    "future import without blanks around its names": (
        "from  __future__\timport(annotations)\nfinal_answer(1)",
        "\\boxed{1}\n",
    ),
    "future import in a comment": ("# from __future__ import annotations\nfinal_answer(1)", "\\boxed{1}\n"),
    "future import in a text": (
        "s = '''\nfrom __future__ import annotations\n'''\nfinal_answer(len(s))",
        "\\boxed{36}\n",
    ),
    "future import in a text, behind a real one": (
        "from __future__ import annotations\ns = '''\nfrom __future__ import annotations\n'''\nfinal_answer(len(s))",
        "\\boxed{36}\n",
    ),
    "future import in an f-string": (
        "s = f'''\nfrom __future__ import {1}\n'''\nfinal_answer(len(s))",
        "\\boxed{26}\n",
    ),
    "future import in code of its own": (
        "exec('from __future__ import annotations\\nx = 1')\nfinal_answer(x)",
        "\\boxed{1}\n",
    ),
    "future import before deep code": (
        f"from __future__ import annotations\nx = {'-' * 300}1\nfinal_answer(x)",
        "\\boxed{1}\n",
    ),
    "future module by its name": ("import __future__\nfinal_answer(1)", "\\boxed{1}\n"),
}


@pytest.mark.parametrize(("code", "stdout"), PROGRAMS.values(), ids=PROGRAMS)
def test_final_answer_prints_a_box(code: str, stdout: str) -> None:
    """Every program finds `final_answer` defined, and it prints the box."""
    run = subprocess.run(
        [sys.executable, "-I", "-c", program_of(code)], capture_output=True, text=True, timeout=20, check=False
    )
    assert (run.stdout, run.stderr) == (stdout, "")


BROKEN = {
    "future import behind a statement": (
        "x = 1\nfrom __future__ import annotations",
        "from __future__ imports must occur",
    ),
    "future import behind an f-string": (
        "f'x'\nfrom __future__ import annotations",
        "from __future__ imports must occur",
    ),
    "future import behind bytes": ("b'x'\nfrom __future__ import annotations", "from __future__ imports must occur"),
    "future import behind two docstrings": (
        "'a'\n'b'\nfrom __future__ import annotations",
        "from __future__ imports must occur",
    ),
    "future import behind another and a docstring": (
        "from __future__ import annotations\n'd'\nfrom __future__ import division",
        "from __future__ imports must occur",
    ),
    "future import that is indented": ("  from __future__ import annotations", "unexpected indent"),
    "no such feature": ("from __future__ import x", "future feature x is not defined"),
    "no feature": ("from __future__ import", "invalid syntax"),
    "a parenthesis too few": ("from __future__ import (annotations\nx = 1", "'(' was never closed"),
    "a text without an end": ("'''\nfrom __future__ import annotations\n", "unterminated triple-quoted string literal"),
    "wrong later on": ("from __future__ import annotations\nx = (", "'(' was never closed"),
    "a text without an end later on": ("from __future__ import annotations\nx = '''", "unterminated triple-quoted"),
    "another language later on": ("from __future__ import annotations\n!pip install x\n%time y", "invalid syntax"),
    "a null byte": ("from __future__ import annotations\nx = '\0'", "null bytes"),
}


@pytest.mark.parametrize(("code", "error"), BROKEN.values(), ids=BROKEN)
def test_wrong_code_fails_with_an_error_of_its_own(code: str, error: str) -> None:
    """Nothing raises here, and what the model is shown is what it did."""
    program = program_of(code)
    assert program.count(FINAL_ANSWER_PRELUDE) == 1
    with pytest.raises((SyntaxError, ValueError), match=re.escape(error)):
        compile(program, "program", "exec")


@pytest.mark.parametrize(
    "unit", ["x\n", "(", "\n", "'x'\n", "\\\n", " ", ";", "# x\n", "from __future__ import x\n"], ids=repr
)
@pytest.mark.parametrize(
    "start", ["", "'''", "from __future__ import (", "from __future__ import annotations;"], ids=repr
)
def test_the_way_to_a_program_is_linear(start: str, unit: str) -> None:
    """A hundred kilobytes of anything around a future import take no hours, where an answer has thirty."""
    with guarded():
        program_of(start + unit * (100_000 // len(unit)) + "from __future__ import annotations\n")


def test_program_ends_with_the_code() -> None:
    """The code is run as it was written, after what is put before it."""
    code = "x = '\\n\u2028'\n\tif: broken\r\n"
    assert program_of(code).endswith(code)
    assert program_of(code) != code
