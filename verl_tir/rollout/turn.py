"""What a turn holds, and what happens after it.

Where a turn ends, what is a call in it and which box is an answer is the turn rule's (`rollout.turn_rule`); in which
order that counts is the same for all. After each turn the loop asks:

1. The engine aborted the request                    → stop, ENGINE_ABORT.
2. There is code, and calls are left: it is run, also beside a `\\boxed{` and on the last turn. The sandbox failed
                                                     → stop, SANDBOX_FAULT.
3. The observation is appended if it fits into the response budget. Whether or not it fits:
4. The turn answers                                  → stop, ANSWER. Where the rule says that a box ends the trajectory,
   that is a box in the turn or, if programs may answer, in the full stdout. Where not, it is a box in any of the
   model's texts so far, once a turn ends whose code was not run.
5. It began a call after the last allowed one        → stop, CALL_BUDGET.
6. It is void, with neither code nor an answer       → stop, VOID. A turn cut by a token limit counts the same. With
   `on_void_turn=continue` only where nothing was sampled.
7. The observation did not fit, or no token is left  → stop, RESPONSE_BUDGET.
8. This was turn `max_turns`                         → stop, MAX_TURNS.
9. The programs so far took `max_tool_seconds`       → stop, TOOL_TIME.
10. Otherwise the next turn begins. Behind a void turn it goes on from the very ids: nothing is appended.

Answers come before limits, so that a trajectory that finished is never called truncated; a failing program is not a
void turn, because the model acted.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from verl_tir.rollout.code_block import CodeBlock
from verl_tir.trajectory import StopReason, Turn, TurnEnd

BOXED = "\\boxed{"


class OnVoidTurn(StrEnum):
    """What follows a void turn."""

    STOP = "stop"
    """The trajectory ends (SimpleTIR, section 3.3)."""
    CONTINUE = "continue"
    """The model goes on from the same tokens, also behind its end of message: naive multi-turn."""


@dataclass(frozen=True, slots=True)
class ParsedTurn:
    """What a turn's text holds."""

    block: CodeBlock | None
    text: str
    """The turn as it enters the context: up to the end of its call, or whole."""
    closed: bool
    """The text holds a complete call, which ends the turn here, with or without code that can be run."""

    @property
    def boxed(self) -> bool:
        """Whether a box begins in the text; whether that answers is the rule's matter."""
        return BOXED in self.text


@dataclass(frozen=True, slots=True)
class Limits:
    """The budgets of one trajectory."""

    max_turns: int | None
    """Generations; None for no limit but the others."""
    max_turn_tokens: int
    """Sampled tokens per turn."""
    max_response_tokens: int
    """Sampled and observation tokens of the whole response."""
    max_tool_seconds: float | None
    """Wall time of all programs of the trajectory; None for no limit."""
    max_tool_calls: int | None = None
    """Programs that are run; None for no limit."""
    on_void_turn: OnVoidTurn = OnVoidTurn.STOP


def response_room(prompt_tokens: int, max_response_tokens: int, max_model_len: int | None) -> int:
    """Tokens that fit behind the prompt; the engine would cut at its context length without saying so.

    Args:
        prompt_tokens: of the templated prompt.
        max_response_tokens: verl's `rollout.response_length`.
        max_model_len: verl's `rollout.max_model_len`, prompt and response together; None for no such bound.
    """
    if max_model_len is None:
        return max_response_tokens
    return max(1, min(max_response_tokens, max_model_len - prompt_tokens))


def stop_after(
    turn: Turn,
    *,
    turns_done: int,
    room: int,
    tool_seconds: float,
    observation_fits: bool,
    limits: Limits,
    call_refused: bool = False,
) -> StopReason | None:
    """Decide steps 1 and 4 to 9 of the module's order; None means that the next turn begins.

    Args:
        turn: the turn just finished.
        turns_done: turns finished, this one included.
        room: tokens left of the response budget after this turn and its observation.
        tool_seconds: wall time of the programs run so far.
        observation_fits: whether the observation, if any, was appended.
        limits: the trajectory's budgets.
        call_refused: whether the turn called, and no call was left.
    """
    if turn.end is TurnEnd.ABORTED:
        return StopReason.ENGINE_ABORT
    if turn.has_answer:
        return StopReason.ANSWER
    if call_refused:
        return StopReason.CALL_BUDGET
    # Where nothing was sampled, nothing would be different the next time.
    if turn.void and (limits.on_void_turn is OnVoidTurn.STOP or not turn.model_tokens):
        return StopReason.VOID
    if not observation_fits or room < 1:
        return StopReason.RESPONSE_BUDGET
    if limits.max_turns is not None and turns_done >= limits.max_turns:
        return StopReason.MAX_TURNS
    if limits.max_tool_seconds is not None and tool_seconds >= limits.max_tool_seconds:
        return StopReason.TOOL_TIME
    return None
