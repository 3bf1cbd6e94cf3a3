"""What a finished row says of itself: its verdict, whether it is excluded, and whether it is overlong."""

from __future__ import annotations

import pytest

from math_answers.verdict import Verdict
from verl_tir.sampler.finished_row import FinishedRow, ResponseBudget, verdict_of
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


# id: what the reward function returned beside the score, the verdict
VERDICTS = {
    "right": ({"correct": 1.0, "boxed": 1.0, "undecided": 0.0}, Verdict.CORRECT),
    "wrong": ({"correct": 0.0, "boxed": 1.0, "undecided": 0.0}, Verdict.WRONG),
    "without an answer": ({"correct": 0.0, "boxed": 0.0, "undecided": 0.0}, Verdict.NO_ANSWER),
    "undecided": ({"correct": 0.0, "boxed": 1.0, "undecided": 1.0}, Verdict.UNDECIDED),
    "a function of one's own that says whether": ({"correct": 0.0}, Verdict.WRONG),
    "a function of one's own that does not say": ({"style": 0.5}, None),
    "nothing": ({}, None),
}


@pytest.mark.parametrize(("reward_extra", "verdict"), VERDICTS.values(), ids=VERDICTS)
def test_the_verdict_is_read_from_what_the_reward_returns(
    reward_extra: dict[str, float], verdict: Verdict | None
) -> None:
    """verl averages numbers only, so that the verdict travels as three of them."""
    assert verdict_of(reward_extra) is verdict


# id: stop reason, verdict, aborted, undecided
EXCLUDED = {
    "sound": (StopReason.ANSWER, Verdict.WRONG, False, False),
    "void": (StopReason.VOID, Verdict.NO_ANSWER, False, False),
    "without a verdict": (StopReason.ANSWER, None, False, False),
    "undecided": (StopReason.ANSWER, Verdict.UNDECIDED, False, True),
    "aborted by the sandbox": (StopReason.SANDBOX_FAULT, None, True, False),
    "aborted by the engine": (StopReason.ENGINE_ABORT, None, True, False),
}


@pytest.mark.parametrize(("reason", "verdict", "aborted", "undecided"), EXCLUDED.values(), ids=EXCLUDED)
def test_excluded_is_aborted_or_undecided(
    reason: StopReason, verdict: Verdict | None, aborted: bool, undecided: bool
) -> None:
    """Either says nothing about the model."""
    row = FinishedRow("a_0_0", Trajectory((), reason), 0.0, verdict)
    assert (row.aborted, row.undecided, row.excluded) == (aborted, undecided, aborted or undecided)


def test_a_row_belongs_to_its_prompt() -> None:
    """A `uid` may hold what separates the parts of a key."""
    assert FinishedRow("ab_c_1_0", Trajectory((), StopReason.ANSWER), 0.0).uid == "ab_c"
