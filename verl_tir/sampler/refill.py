"""How many prompt groups may be replaced for one batch, and what to say when they were not enough."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from verl_tir.sampler.gates import Gate, SoundGate

UNTRAINABLE = "untrainable"
"""Under this name groups are counted that went because no row of a whole batch would have trained."""


class DataCannotFillBatchError(RuntimeError):
    """So many prompt groups were refused that the data, as the model solves it now, will not fill a batch."""


@dataclass(slots=True)
class RefillBudget:
    """Counts the groups evicted since the last batch, all gates together."""

    max_refills: int
    """`tir.filter.max_refills`: evicted groups per prompt of the batch."""
    evicted: Counter[str] = field(default_factory=Counter)
    """Groups by the name of the gate that refused them."""
    submitted: int = 0
    """Prompts rolled out in their place, and in the place of groups whose agent loop raised."""

    def allows(self, groups: int, batch_size: int) -> bool:
        """Whether that many more groups may be evicted for a batch of `batch_size` prompts."""
        return self.evicted.total() + groups <= self.max_refills * batch_size

    def only_unsound(self) -> bool:
        """Whether it is the sandbox, and not the data, that nothing comes of."""
        return bool(self.evicted) and set(self.evicted) <= {SoundGate.name}

    def complaint(self, gates: Sequence[Gate], batch_size: int, reward: float) -> str:
        """What stops the run, with every count and the keys that change it.

        Args:
            gates: those in force.
            batch_size: prompts of the batch.
            reward: mean reward of the evicted trajectories that say something about the model.
        """
        counts = ", ".join(f"{name} {count}" for name, count in self.evicted.most_common())
        settings = ", ".join(gate.setting for gate in gates if gate.name in self.evicted)
        return (
            f"{self.evicted.total()} prompt groups were evicted for one batch of {batch_size}, more than "
            f"tir.filter.max_refills={self.max_refills} per prompt allows. By gate: {counts}; mean reward of what "
            f"was evicted: {reward:.3g}.\nThe data cannot fill a batch under these gates ({settings}). A low mean "
            "reward says that it is too hard for this model, a high one too easy: change the data or the gates, or "
            "raise tir.filter.max_refills"
        )

    def clear(self) -> None:
        """A batch is complete; the next one has the whole budget again."""
        self.evicted.clear()
        self.submitted = 0
