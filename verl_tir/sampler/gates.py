"""Gates: which prompt groups are worth training on. A group that is refused is replaced by another prompt.

Each gate is one small class with a `name`, under which its refusals are counted, the `setting` that it comes from, and
`admit(group) -> bool`. Rewards are judged as the group's baseline has them: without excluded rows, and without void
rows where these have no part in it. A name holds none of the words by which verl joins metrics (`max`, `min`, ...).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from math_answers.verdict import Verdict
from verl_tir.sampler.config import FilterConfig
from verl_tir.sampler.finished_row import FinishedRow
from verl_tir.sampler.loss_plan import LossRule


class Gate(Protocol):
    """What every gate has."""

    name: ClassVar[str]

    @property
    def setting(self) -> str:
        """The key that decides what it admits, with its value."""

    def admit(self, group: Sequence[FinishedRow]) -> bool:
        """Whether the group stays; `group` holds all its rows, excluded ones too."""


class NoVerdictError(RuntimeError):
    """A gate needs to know which answers are correct, and the reward function does not say."""


@dataclass(frozen=True, slots=True)
class SoundGate:
    """Admits a group that has enough trajectories left once the excluded ones are taken out.

    What a sandbox or engine aborted says nothing about the model. The mean and the spread of the few that are left
    would be a poor baseline, and the baseline of those that happened not to need the sandbox.
    """

    name: ClassVar[str] = "unsound"

    rollout_n: int
    """verl's `rollout.n`, the trajectories of a whole group."""
    min_ratio: float
    """Share of them that must be sound."""

    @property
    def least(self) -> int:
        """Sound trajectories that a group needs; never fewer than the two of which a baseline can be made."""
        return max(min(2, self.rollout_n), math.ceil(self.min_ratio * self.rollout_n))

    @property
    def setting(self) -> str:
        return f"tir.filter.min_sound_ratio={self.min_ratio:g}"

    def admit(self, group: Sequence[FinishedRow]) -> bool:
        """Whether the group stays."""
        return sum(not row.excluded for row in group) >= self.least


@dataclass(frozen=True, slots=True)
class UsableGate:
    """Admits a group of which enough trajectories stay in the loss.

    SimpleTIR's public code asks for 4 of them where it masks overlong trajectories.
    """

    name: ClassVar[str] = "few_usable"

    min_rows: int
    rule: LossRule

    @property
    def setting(self) -> str:
        return f"tir.filter.min_usable_rows={self.min_rows}"

    def admit(self, group: Sequence[FinishedRow]) -> bool:
        """Whether the group stays."""
        return sum(map(self.rule.trains, group)) >= self.min_rows


@dataclass(frozen=True, slots=True)
class VarianceGate:
    """Admits a group whose rewards differ: without a spread every advantage is zero.

    SimpleTIR's public code drops a group whose rewards have a standard deviation below 1e-3.
    """

    name: ClassVar[str] = "zero_variance"

    min_std: float
    rule: LossRule

    @property
    def setting(self) -> str:
        return f"tir.filter.min_reward_std={self.min_std:g}"

    def admit(self, group: Sequence[FinishedRow]) -> bool:
        """Whether the group stays; the deviation is that of the sample, as in verl's GRPO."""
        rewards = [row.reward for row in group if self.rule.in_baseline(row)]
        if len(rewards) < 2:
            return False
        mean = math.fsum(rewards) / len(rewards)
        return math.sqrt(math.fsum((reward - mean) ** 2 for reward in rewards) / (len(rewards) - 1)) >= self.min_std


@dataclass(frozen=True, slots=True)
class AccuracyGate:
    """Admits a group whose share of correct answers lies in a window, both ends included.

    Optional in SimpleTIR's public code, from 0.1 to 0.9: what is always or never solved teaches little.
    """

    name: ClassVar[str] = "accuracy"

    low: float
    high: float
    rule: LossRule

    @property
    def setting(self) -> str:
        return f"tir.filter.accuracy_window=[{self.low:g}, {self.high:g}]"

    def admit(self, group: Sequence[FinishedRow]) -> bool:
        """Whether the group stays.

        Raises:
            NoVerdictError: a row does not say whether its answer was correct.
        """
        verdicts = [row.verdict for row in group if self.rule.in_baseline(row)]
        if None in verdicts:
            raise NoVerdictError(
                "tir.filter.accuracy_window needs to know which answers are correct, and the reward function does not "
                "say: let its result hold `correct` (1.0 or 0.0) beside `score`, or set tir.filter.accuracy_window=null"
            )
        return bool(verdicts) and self.low <= verdicts.count(Verdict.CORRECT) / len(verdicts) <= self.high


def first_refusal(gates: Sequence[Gate], group: Sequence[FinishedRow]) -> str | None:
    """The name of the first gate that does not admit the group; None where all do."""
    return next((gate.name for gate in gates if not gate.admit(group)), None)


def gates_of(filters: FilterConfig, rollout_n: int) -> list[Gate]:
    """The gates that the settings ask for, in the order in which a group meets them."""
    rule = filters.loss_rule
    gates: list[Gate] = [SoundGate(rollout_n, filters.min_sound_ratio)]
    if filters.min_usable_rows:
        gates.append(UsableGate(filters.min_usable_rows, rule))
    if filters.min_reward_std is not None:
        gates.append(VarianceGate(filters.min_reward_std, rule))
    if filters.accuracy_window is not None:
        gates.append(AccuracyGate(*filters.accuracy_window, rule))
    return gates


UNTRAINABLE = "untrainable"
"""The name under which groups are counted that were refused because no row of a whole batch would have trained."""


@dataclass(slots=True)
class RefillBudget:
    """Counts the groups replaced since the last batch, all gates together."""

    max_refills: int
    """`tir.filter.max_refills`: refused groups per prompt of the batch."""
    refused: Counter[str] = field(default_factory=Counter)
    """Groups by the name of the gate that refused them."""
    refilled: int = 0
    """Prompts rolled out in their place, and in the place of groups whose agent loop raised."""

    def allows(self, groups: int, batch_size: int) -> bool:
        """Whether that many more groups may be replaced for a batch of `batch_size` prompts."""
        return self.refused.total() + groups <= self.max_refills * batch_size

    def only_unsound(self) -> bool:
        """Whether it is the sandbox, and not the data, that the groups are refused for."""
        return bool(self.refused) and set(self.refused) <= {SoundGate.name}

    def complaint(self, gates: Sequence[Gate], batch_size: int, reward: float) -> str:
        """What stops the run, with every count and the keys that change it.

        Args:
            gates: those in force.
            batch_size: prompts of the batch.
            reward: mean reward of the refused groups' trajectories that say something about the model.
        """
        counts = ", ".join(f"{name} {count}" for name, count in self.refused.most_common())
        settings = ", ".join(gate.setting for gate in gates if gate.name in self.refused)
        return (
            f"{self.refused.total()} prompt groups were evicted for one batch of {batch_size}, more than "
            f"tir.filter.max_refills={self.max_refills} per prompt allows. By gate: {counts}; mean reward of what "
            f"was evicted: {reward:.3g}.\nThe data cannot fill a batch under these gates ({settings}). A low mean "
            "reward says that it is too hard for this model, a high one too easy: change the data or the gates, or "
            "raise tir.filter.max_refills"
        )

    def clear(self) -> None:
        """A batch is complete; the next one has the whole budget again."""
        self.refused.clear()
        self.refilled = 0
