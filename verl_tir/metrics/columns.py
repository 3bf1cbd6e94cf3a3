"""A batch of trajectories as arrays: one pass over the records, after which every metric is a sum over a column."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verl_tir.sampler.finished_row import FinishedRow
from verl_tir.trajectory import LogProbs, Outcome, StopReason, TurnEnd

Flags = NDArray[np.bool_]
Counts = NDArray[np.int64]
Seconds = NDArray[np.float64]
Column = NDArray[Any]
"""Of any of these."""


@dataclass(frozen=True, slots=True)
class BatchColumns:
    """The batch's trajectories, then all their turns in the order of the batch, one entry each."""

    stop: list[StopReason]
    void: Flags
    aborted: Flags
    answered: Flags
    correct: Flags
    incorrect: Flags
    """Neither `correct` nor `incorrect`: not known."""
    turns: Counts
    """Turns of each trajectory."""

    owner: Counts
    """Of each turn: the index of its trajectory."""
    index: Counts
    """Of each turn: how many came before it in its trajectory."""
    end: list[TurnEnd]
    turn_void: Flags
    has_code: Flags
    outcome: list[Outcome | None]
    called: Flags
    """A program was given to the sandbox."""
    ran: Flags
    """It was run: the call did not end in a fault of the sandbox."""
    passed: Flags
    truncated: Flags
    model: Counts
    """Tokens."""
    observation: Counts
    discarded: Counts
    generate: Seconds
    tool: Seconds
    log_probs: list[LogProbs | None]

    @classmethod
    def of(cls, batch: Sequence[FinishedRow]) -> BatchColumns:
        """Take a batch apart."""
        trajectories = [row.trajectory for row in batch]
        turns = [turn for trajectory in trajectories for turn in trajectory.turns]
        lengths = _counts(len(trajectory.turns) for trajectory in trajectories)
        owner = np.repeat(np.arange(len(batch)), lengths)
        starts = lengths.cumsum() - lengths
        outcomes = [turn.outcome for turn in turns]
        return cls(
            stop=[trajectory.stop_reason for trajectory in trajectories],
            void=_flags(trajectory.void for trajectory in trajectories),
            aborted=_flags(trajectory.aborted for trajectory in trajectories),
            answered=_flags(trajectory.answer is not None for trajectory in trajectories),
            correct=_flags(row.correct is True for row in batch),
            incorrect=_flags(row.correct is False for row in batch),
            turns=lengths,
            owner=owner,
            index=np.arange(len(turns)) - starts[owner],
            end=[turn.end for turn in turns],
            turn_void=_flags(turn.void for turn in turns),
            has_code=_flags(turn.has_code for turn in turns),
            outcome=outcomes,
            called=_flags(outcome is not None for outcome in outcomes),
            ran=_flags(outcome is not None and outcome is not Outcome.FAULT for outcome in outcomes),
            passed=_flags(outcome is Outcome.SUCCESS for outcome in outcomes),
            truncated=_flags(turn.observation_truncated for turn in turns),
            model=_counts(turn.model_tokens for turn in turns),
            observation=_counts(turn.observation_tokens for turn in turns),
            discarded=_counts(turn.discarded_tokens for turn in turns),
            generate=_seconds(turn.generate_seconds for turn in turns),
            tool=_seconds(turn.tool_seconds for turn in turns),
            log_probs=[turn.log_probs for turn in turns],
        )

    def per_trajectory(self, column: Column) -> NDArray[np.float64]:
        """Sums of a column of turns by trajectory, in the order of the batch."""
        return np.bincount(self.owner, column, len(self.stop)).astype(np.float64)


def mean(column: Column) -> float | None:
    """Of a column of flags: the share that is set. None where there is nothing to take it of."""
    return float(column.mean()) if column.size else None


def _flags(values: Iterable[bool]) -> Flags:
    return np.fromiter(values, dtype=np.bool_)


def _counts(values: Iterable[int]) -> Counts:
    return np.fromiter(values, dtype=np.int64)


def _seconds(values: Iterable[float]) -> Seconds:
    return np.fromiter(values, dtype=np.float64)
