"""Gates: which prompt groups are worth training on. A group that is not admitted is evicted and another one rolled out.

Each gate is one small class with a `name`, under which its evictions are counted, and `admit(group) -> bool`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from verl_tir.filters.void import Row


@dataclass(frozen=True, slots=True)
class SoundGate:
    """Admits a group that has enough trajectories left once the aborted ones are taken out.

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

    def admit(self, group: Sequence[Row]) -> bool:
        """Whether the group stays."""
        return sum(not row.aborted for row in group) >= self.least
