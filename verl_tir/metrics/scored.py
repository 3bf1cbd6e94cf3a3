"""A trajectory with what the reward function said of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from verl_tir.trajectory import Trajectory


@dataclass(frozen=True, slots=True)
class Scored:
    """A trajectory and the reward that verl computed for it."""

    trajectory: Trajectory
    reward: float
    correct: bool | None = None
    """Whether the answer is right; None where that is not known."""


def is_correct(trajectory: Trajectory, reward: float, reward_extra: Mapping[str, float]) -> bool | None:
    """Whether a trajectory's answer is right.

    Reward scales differ between recipes (1 and 0, or 1 and -1, with penalties or without), so the reward function's
    own `correct` decides. One that gives none is taken to reward right answers, and only those, with more than zero.

    Returns:
        None where nothing can be said: the trajectory was aborted, or the comparison could not be finished.
    """
    if trajectory.aborted or reward_extra.get("undecided"):
        return None
    return bool(reward_extra["correct"]) if "correct" in reward_extra else reward > 0
