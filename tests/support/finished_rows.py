"""Finished rows made by hand, for tests of the sampler's rules."""

from __future__ import annotations

from math_answers.verdict import Verdict
from verl_tir.sampler.finished_row import FinishedRow
from verl_tir.trajectory import StopReason, Trajectory, Turn, TurnEnd


def finished_row(
    key: str,
    *,
    reward: float = 0.0,
    tokens: int = 10,
    void_from: int | None = None,
    aborted: bool = False,
    overlong: bool = False,
    verdict: Verdict | None = None,
) -> FinishedRow:
    """A row of `tokens` model tokens; `void_from` is how many of them come before its void turn, if it has one."""
    before = Turn(TurnEnd.CODE, void_from or 0, 0, 0, True, False, None, False, 0.0, 0.0)
    last = Turn(TurnEnd.EOS, tokens - (void_from or 0), 0, 0, False, void_from is None, None, False, 0.0, 0.0)
    reason = StopReason.ANSWER if void_from is None else StopReason.VOID
    turns = (before, last) if void_from else (last,)
    trajectory = Trajectory(turns, StopReason.SANDBOX_FAULT if aborted else reason)
    return FinishedRow(key, trajectory, reward, verdict, overlong=overlong)
