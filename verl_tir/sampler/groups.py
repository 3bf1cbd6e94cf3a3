"""Finished prompt groups as the sampler knows them: each is read once and judged once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from verl_tir.sampler.finished_row import FinishedRow, ResponseBudget, uid_of
from verl_tir.sampler.gates import Gate, first_refusal
from verl_tir.sampler.loss_plan import LossRule
from verl_tir.sampler.storage import Tags, read_rows


class Groups:
    """The finished training groups that no batch has taken yet, and what became of the evicted ones.

    Nothing here outlives the process: after a restart the groups that verl restored are read and judged anew.
    """

    def __init__(self, gates: Sequence[Gate], budget: ResponseBudget) -> None:
        self.gates = gates
        self.refused: dict[str, str] = {}
        """Groups by `uid` that must go, and the name of what refuses them."""
        self.evicted: list[FinishedRow] = []
        """Trajectories of groups that went since the last batch."""
        self.evicted_by: dict[str, str] = {}
        """What refused these groups, by `uid`; nothing for one whose agent loop raised."""
        self._budget = budget
        self._known: dict[str, list[FinishedRow]] = {}

    def look(self, uids: Collection[str], tags: Tags, partition_id: str) -> None:
        """Read and judge those of `uids` that have finished since the last look."""
        for uid in {row.uid for row in self.read(uids, tags, partition_id)}:
            refusal = first_refusal(self.gates, self.rows(uid))
            if refusal is not None:
                self.refused[uid] = refusal

    def read(self, uids: Collection[str], tags: Tags, partition_id: str) -> list[FinishedRow]:
        """Trajectories of those of `uids` that have not been read before; no gate looks at them."""
        new = uids - self._known.keys()
        if not new:
            return []
        rows = self._read([key for key in tags if uid_of(key) in new], tags, partition_id)
        for row in rows:
            self._known.setdefault(row.uid, []).append(row)
        return rows

    def rows(self, uid: str) -> list[FinishedRow]:
        """The rows of a group; none of one that has no trajectory."""
        return self._known.get(uid, [])

    def can_train(self, uid: str, rule: LossRule, rollout_n: int) -> bool:
        """Whether a batch of this group alone would have a token in the loss."""
        rows = self.rows(uid)
        return sum(map(rule.in_baseline, rows)) >= min(2, rollout_n) and any(map(rule.trains, rows))

    def evict(self, uids: Iterable[str]) -> None:
        """Move groups to `evicted`."""
        for uid in uids:
            self.evicted += self._known.pop(uid, [])
            if uid in self.refused:
                self.evicted_by[uid] = self.refused.pop(uid)

    def discard(self, uids: Iterable[str]) -> None:
        """Forget groups that verl let go for its own reasons."""
        for uid in uids:
            self._known.pop(uid, None)
            self.refused.pop(uid, None)

    def of_batch(self, keys: Sequence[str], tags: Tags, partition_id: str) -> list[FinishedRow]:
        """The rows of a batch in its order, read from storage where they have not been."""
        known = {row.key: row for group in self._known.values() for row in group}
        missing = [key for key in keys if key not in known]
        known |= {row.key: row for row in self._read(missing, tags, partition_id)}
        return [known[key] for key in keys]

    def next_batch(self, left: Collection[str]) -> None:
        """Keep only the groups that a later batch may still hold."""
        self._known = {uid: group for uid, group in self._known.items() if uid in left}
        self.evicted.clear()
        self.evicted_by.clear()

    def _read(self, keys: Sequence[str], tags: Tags, partition_id: str) -> list[FinishedRow]:
        return read_rows(keys, tags, self._budget, partition_id)
