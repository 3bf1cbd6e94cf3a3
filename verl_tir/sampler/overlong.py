"""Which trajectories are overlong: those that used up their own response budget, however long others are."""

from __future__ import annotations

from dataclasses import dataclass

from verl_tir.rollout.turn import response_room
from verl_tir.trajectory import StopReason, Trajectory, TurnEnd


@dataclass(frozen=True, slots=True)
class ResponseBudget:
    """Where responses end, in tokens."""

    max_turn_tokens: int
    """`tir.rollout.max_turn_tokens`: a turn that ends there ended for its own limit."""
    max_response_tokens: int
    """verl's `rollout.response_length`."""
    max_model_len: int | None
    """verl's `rollout.max_model_len`: prompt and response together; None for no such bound."""

    def used_up_by(self, trajectory: Trajectory, prompt_tokens: int) -> bool:
        """Whether the trajectory wanted more than its budget gave.

        Either no room was left for what came next, or the last turn was cut where the budget ended. A turn cut by
        `max_turn_tokens` with room behind it is void, not overlong.
        """
        if trajectory.stop_reason is StopReason.RESPONSE_BUDGET:
            return True
        if not trajectory.turns or trajectory.turns[-1].end is not TurnEnd.LENGTH:
            return False
        if trajectory.turns[-1].model_tokens < self.max_turn_tokens:
            return True
        used = sum(turn.model_tokens + turn.observation_tokens for turn in trajectory.turns)
        return used >= response_room(prompt_tokens, self.max_response_tokens, self.max_model_len)
