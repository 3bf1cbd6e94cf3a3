"""A finished trajectory with its reward: the one shape that gates, loss plan, metrics and dump read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from math_answers.verdict import Verdict
from verl_tir.rollout.loop import response_room
from verl_tir.trajectory import StopReason, Trajectory, TurnEnd


@dataclass(frozen=True, slots=True)
class FinishedRow:
    """One trajectory, what the reward function says of it, and what follows from both."""

    key: str
    """verl's `{uid}_{session_id}_{index}`."""
    trajectory: Trajectory
    reward: float
    verdict: Verdict | None = None
    """What the reward function says of the answer. None where it does not say, or where the trajectory was aborted and
    so was not scored."""
    reward_extra: Mapping[str, float] = field(default_factory=dict)
    """What the reward function returned beside the score; empty for a trajectory that was not scored."""
    overlong: bool = False
    """It used up its own response budget."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """The agent loop's record, as the dump writes it."""

    @property
    def uid(self) -> str:
        """The prompt's; the rows of a GRPO group share it."""
        return uid_of(self.key)

    @property
    def void(self) -> bool:
        return self.trajectory.void

    @property
    def void_from(self) -> int | None:
        """Response tokens, of model and tool, before the first void turn; None where there is none."""
        return self.trajectory.void_from

    @property
    def aborted(self) -> bool:
        """The sandbox or the engine failed."""
        return self.trajectory.aborted

    @property
    def undecided(self) -> bool:
        """The answer could not be compared with its ground truth."""
        return self.verdict is Verdict.UNDECIDED

    @property
    def excluded(self) -> bool:
        """The reward says nothing about the model: it is out of the loss and out of its group's baseline."""
        return self.aborted or self.undecided

    @property
    def correct(self) -> bool | None:
        """Whether the answer is right; None where nothing can be said.

        Reward scales differ between recipes (1 and 0, or 1 and -1, with penalties or without), so the reward function's
        own verdict decides. One that gives none is taken to reward right answers, and only those, with more than zero.
        """
        if self.excluded:
            return None
        return self.reward > 0 if self.verdict is None else self.verdict is Verdict.CORRECT

    @property
    def model_tokens(self) -> int:
        """Tokens with mask 1 before any rule is applied."""
        return sum(turn.model_tokens for turn in self.trajectory.turns)

    @property
    def ends_in_observation(self) -> bool:
        """Its last token is the tool's, and so has mask 0."""
        return self.trajectory.ends_in_observation


def uid_of(key: str) -> str:
    """The prompt's `uid` in the key of one of its trajectories."""
    return key.rsplit("_", 2)[0]


def verdict_of(reward_extra: Mapping[str, float]) -> Verdict | None:
    """The verdict in what a reward function returned beside the score; None where it does not say.

    Args:
        reward_extra: read are `correct`, `boxed` and `undecided`, 1 or 0 each, for verl averages numbers only.
    """
    if reward_extra.get("undecided"):
        return Verdict.UNDECIDED
    if "correct" not in reward_extra:
        return None
    if reward_extra["correct"] > 0.5:
        return Verdict.CORRECT
    return Verdict.WRONG if reward_extra.get("boxed", 1.0) else Verdict.NO_ANSWER


@dataclass(frozen=True, slots=True)
class ResponseBudget:
    """Where responses end, in tokens; a trajectory is overlong by its own budget, however long others are."""

    max_turn_tokens: int
    """`tir.rollout.max_turn_tokens`: a turn that ends there ended for its own limit."""
    max_response_tokens: int
    """verl's `rollout.response_length`."""
    max_model_len: int | None
    """verl's `rollout.max_model_len`: prompt and response together; None for no such bound."""

    def used_up_by(self, trajectory: Trajectory, prompt_tokens: int) -> bool:
        """Whether the trajectory wanted more than its budget gave.

        Either no room was left for what came next, or the last turn was cut where the budget ended. A turn cut by
        `max_turn_tokens` with room after it is void, not overlong.
        """
        if trajectory.stop_reason is StopReason.RESPONSE_BUDGET:
            return True
        if not trajectory.turns or trajectory.turns[-1].end is not TurnEnd.LENGTH:
            return False
        if trajectory.turns[-1].model_tokens < self.max_turn_tokens:
            return True
        used = sum(turn.model_tokens + turn.observation_tokens for turn in trajectory.turns)
        return used >= response_room(prompt_tokens, self.max_response_tokens, self.max_model_len)
