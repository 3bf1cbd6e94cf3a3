"""Which trajectories count as overlong."""

from __future__ import annotations

import pytest

from verl_tir.sampler.finished_row import ResponseBudget
from verl_tir.trajectory import StopReason, Trajectory, Turn, TurnEnd

BUDGET = ResponseBudget(max_turn_tokens=10, max_response_tokens=30, max_model_len=None)


def turn(end: TurnEnd, model: int, observation: int = 0) -> Turn:
    """A turn of so many tokens."""
    return Turn(end, model, observation, 0, end is TurnEnd.CODE, False, None, False, 0.0, 0.0)


CODE, LENGTH, EOS = TurnEnd.CODE, TurnEnd.LENGTH, TurnEnd.EOS

# id: turns, stop reason, prompt tokens, budget, overlong
TRAJECTORIES = {
    "no room for the next turn": ([turn(CODE, 9, 21)], StopReason.RESPONSE_BUDGET, 5, BUDGET, True),
    "no room for the observation": ([turn(CODE, 9)], StopReason.RESPONSE_BUDGET, 5, BUDGET, True),
    "cut by what was left of the budget": ([turn(CODE, 10, 14), turn(LENGTH, 6)], StopReason.VOID, 5, BUDGET, True),
    "cut there behind its answer": ([turn(CODE, 10, 14), turn(LENGTH, 6)], StopReason.ANSWER, 5, BUDGET, True),
    "cut by the turn's own limit": ([turn(CODE, 9, 4), turn(LENGTH, 10)], StopReason.VOID, 5, BUDGET, False),
    "cut by both limits at once": ([turn(CODE, 10, 10), turn(LENGTH, 10)], StopReason.VOID, 5, BUDGET, True),
    "ended by itself on the last token": ([turn(CODE, 10, 14), turn(EOS, 6)], StopReason.ANSWER, 5, BUDGET, False),
    "an earlier turn's cut is not the end": ([turn(LENGTH, 4), turn(EOS, 3)], StopReason.ANSWER, 5, BUDGET, False),
    "out of turns": ([turn(CODE, 10, 20)], StopReason.MAX_TURNS, 5, BUDGET, False),
    "nothing generated": ([], StopReason.PROMPT_TOO_LONG, 50, BUDGET, False),
    # The prompt takes its part of the context: 22 tokens were this row's whole budget, though others had 30.
    "its own budget, not the widest": (
        [turn(CODE, 8, 4), turn(LENGTH, 10)],
        StopReason.VOID,
        18,
        ResponseBudget(10, 30, 40),
        True,
    ),
    "room in the context": (
        [turn(CODE, 8, 4), turn(LENGTH, 10)],
        StopReason.VOID,
        17,
        ResponseBudget(10, 30, 40),
        False,
    ),
}


@pytest.mark.parametrize(("turns", "reason", "prompt", "budget", "overlong"), TRAJECTORIES.values(), ids=TRAJECTORIES)
def test_overlong(turns: list[Turn], reason: StopReason, prompt: int, budget: ResponseBudget, overlong: bool) -> None:
    """A trajectory is overlong that wanted more than its own budget, judged by itself alone."""
    assert budget.used_up_by(Trajectory(tuple(turns), reason), prompt) is overlong
