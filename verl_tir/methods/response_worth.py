"""What a response is worth by its parts: the numbers that recipes choose."""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields

from math_answers import Verdict

REWARD_KWARGS = "reward.custom_reward_function.reward_kwargs"
"""Where a launch sets these."""


@dataclass(frozen=True, slots=True)
class Worth:
    """Score of a response by its parts. SimpleTIR's is 1 and 0, ToRL's 1 and -1.

    Raises:
        ValueError: a number is none, or would teach the wrong thing; the message has the launch's key.
    """

    correct_reward: float = 1.0
    wrong_reward: float = 0.0
    """Also of a missing answer and, so that there is a number, of an undecided one."""
    boxed_reward: float | None = None
    """Of a wrong answer in a box; None for `wrong_reward`."""
    executable_reward: float = 0.0
    """Added where programs ran and all ended well."""
    execution_penalty: float = 0.0
    """Taken off where any program failed or ran out of time or memory (ToRL's ablation takes 0.5). Where none ran, none
    failed, and a fault of the sandbox is nobody's failure."""

    def __post_init__(self) -> None:
        for part in fields(self):
            value = getattr(self, part.name)
            if value is None and part.name == "boxed_reward":
                continue
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"{REWARD_KWARGS}.{part.name}={value!r}: give a number")
        for name, use in (("execution_penalty", "taken off"), ("executable_reward", "added to")):
            value = getattr(self, name)
            if not 0 <= value <= sys.float_info.max:
                raise ValueError(
                    f"{REWARD_KWARGS}.{name}={value}: it is {use} the score, so give 0 or a positive number"
                )
        for part in fields(self):
            value = getattr(self, part.name)
            if value is not None and not abs(value) <= sys.float_info.max:
                raise ValueError(f"{REWARD_KWARGS}.{part.name}={value}: give a finite number")
        least, boxed = self.wrong_reward, self.wrong_reward if self.boxed_reward is None else self.boxed_reward
        if not least <= boxed < self.correct_reward:
            raise ValueError(
                f"{REWARD_KWARGS}: wrong_reward={least} must not be above boxed_reward={boxed}, and both must be below "
                f"correct_reward={self.correct_reward}"
            )

    def of(self, verdict: Verdict, *, executable: bool, failed: bool) -> float:
        """The score of a response with these parts."""
        if verdict is Verdict.CORRECT:
            score = self.correct_reward
        elif verdict is Verdict.WRONG and self.boxed_reward is not None:
            score = self.boxed_reward
        else:
            score = self.wrong_reward
        return float(score + self.executable_reward * executable - self.execution_penalty * failed)
