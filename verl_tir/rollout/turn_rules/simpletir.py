"""SimpleTIR (arXiv 2509.02479): the first complete code block ends the turn, and a box ends the trajectory."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from verl_tir.rollout.code_block import STOP_STRINGS, first_code_block
from verl_tir.rollout.frame import Frame
from verl_tir.rollout.observation import SIMPLETIR_FRAME
from verl_tir.rollout.turn import ParsedTurn

FINAL_ANSWER_PRELUDE = "def final_answer(answer): print('\\\\boxed{' + str(answer) + '}')\n"
"""Prepended to every program: `final_answer(x)` prints `\\boxed{x}` (SimpleTIR's prompt promises it)."""

# A whole import statement, over its lines, with the semicolon before another statement on the last of them.
_FUTURE_IMPORT = re.compile(
    r"^from[ \t]+__future__[ \t]+import[ \t]*(?:\([^()]*\)|(?:\\\n|[^\n;#\\])*)[ \t]*(?:;[ \t]*)?", re.MULTILINE
)


def parse_turn(text: str) -> ParsedTurn:
    """Parse a turn's decoded text; parsing the resulting `text` again gives the same block."""
    block = first_code_block(text)
    return ParsedTurn(block, text if block is None else text[: block.end], closed=block is not None)


def program_of(code: str) -> str:
    """The program to run for a block of code: `final_answer` is defined, `from __future__` imports stay first."""
    future = max((match.end() for match in _FUTURE_IMPORT.finditer(code)), default=0)
    return (f"{code[:future]}\n" if future else "") + FINAL_ANSWER_PRELUDE + code[future:]


@dataclass(frozen=True, slots=True)
class SimpleTir:
    """All turns and observations continue one message of the assistant."""

    stop_strings: tuple[str, ...] = STOP_STRINGS
    answer_ends: bool = True
    tool_may_answer: bool = True
    frame: Frame = SIMPLETIR_FRAME
    tools: tuple[Mapping[str, Any], ...] = ()

    def parse(self, text: str) -> ParsedTurn:
        """See `parse_turn`."""
        return parse_turn(text)

    def program(self, code: str) -> str:
        """See `program_of`."""
        return program_of(code)


RULE = SimpleTir()
