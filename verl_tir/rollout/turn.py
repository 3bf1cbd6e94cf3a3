"""The rules of a turn: what it holds, and what happens after it.

After each turn the loop asks, in this order (SimpleTIR, section 3.2 and its public code):

1. The engine aborted the request                    → stop, ENGINE_ABORT.
2. No complete code block and no `\\boxed{`           → stop, VOID. A turn cut by a token limit counts the same.
3. There is code: it is run, also beside a `\\boxed{` and on the last turn. The sandbox failed → stop, SANDBOX_FAULT.
4. The observation is appended if it fits into the response budget. Whether or not it fits:
5. `\\boxed{` in the turn or in the full stdout       → stop, ANSWER.
6. The observation did not fit, or no token is left  → stop, RESPONSE_BUDGET.
7. This was turn `max_turns`                         → stop, MAX_TURNS.
8. The programs so far took `max_tool_seconds`       → stop, TOOL_TIME.
9. Otherwise the next turn begins.

Answers come before limits, so that a trajectory that finished is never called truncated; a failing program is not a
void turn, because the model acted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from verl_tir.rollout.code_block import CodeBlock, first_code_block
from verl_tir.trajectory import StopReason, Turn, TurnEnd

BOXED = "\\boxed{"

FINAL_ANSWER_PRELUDE = "def final_answer(answer): print('\\\\boxed{' + str(answer) + '}')\n"
"""Prepended to every program: `final_answer(x)` prints `\\boxed{x}` (SimpleTIR's prompt promises it)."""

# A whole import statement, over its lines, with the semicolon before another statement on the last of them.
_FUTURE_IMPORT = re.compile(
    r"^from[ \t]+__future__[ \t]+import[ \t]*(?:\([^()]*\)|(?:\\\n|[^\n;#\\])*)[ \t]*(?:;[ \t]*)?", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class ParsedTurn:
    """What a turn's text holds."""

    block: CodeBlock | None
    text: str
    """The turn as it enters the context: up to the end of its code block, or whole."""

    @property
    def has_answer(self) -> bool:
        return BOXED in self.text


def parse_turn(text: str) -> ParsedTurn:
    """Parse a turn's decoded text; parsing the resulting `text` again gives the same block."""
    block = first_code_block(text)
    return ParsedTurn(block=block, text=text if block is None else text[: block.end])


def program_of(code: str) -> str:
    """The program to run for a block of code: `final_answer` is defined, `from __future__` imports stay first."""
    future = max((match.end() for match in _FUTURE_IMPORT.finditer(code)), default=0)
    return (f"{code[:future]}\n" if future else "") + FINAL_ANSWER_PRELUDE + code[future:]


@dataclass(frozen=True, slots=True)
class Limits:
    """The budgets of one trajectory."""

    max_turns: int
    max_turn_tokens: int
    """Sampled tokens per turn."""
    max_response_tokens: int
    """Sampled and observation tokens of the whole response."""
    max_tool_seconds: float | None
    """Wall time of all programs of the trajectory; None for no limit."""


def stop_after(
    turn: Turn, *, turns_done: int, room: int, tool_seconds: float, observation_fits: bool, limits: Limits
) -> StopReason | None:
    """Decide steps 1, 2 and 5 to 9 of the module's order; None means that the next turn begins.

    Args:
        turn: the turn just finished.
        turns_done: turns finished, this one included.
        room: tokens left of the response budget after this turn and its observation.
        tool_seconds: wall time of the programs run so far.
        observation_fits: whether the observation, if any, was appended.
        limits: the trajectory's budgets.
    """
    if turn.end is TurnEnd.ABORTED:
        return StopReason.ENGINE_ABORT
    if turn.void:
        return StopReason.VOID
    if turn.has_answer:
        return StopReason.ANSWER
    if not observation_fits or room < 1:
        return StopReason.RESPONSE_BUDGET
    if turns_done >= limits.max_turns:
        return StopReason.MAX_TURNS
    if limits.max_tool_seconds is not None and tool_seconds >= limits.max_tool_seconds:
        return StopReason.TOOL_TIME
    return None
