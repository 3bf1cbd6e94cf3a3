"""Finished prompt groups as the sampler knows them: each is read once and judged once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from verl_tir.sampler.gates import Gate, first_refusal
from verl_tir.sampler.loss_plan import LossRule, Row
from verl_tir.sampler.overlong import ResponseBudget
from verl_tir.sampler.storage import StoredRow, group_of, read_rows

Tags = Mapping[str, Mapping[str, Any]]
"""verl's tags by key; `seq_len` and `response_len` are read."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A trajectory as it lies in storage, and what the rules see of it."""

    stored: StoredRow
    row: Row


class Groups:
    """The finished training groups that no batch has taken yet, and what became of the evicted ones.

    Nothing here outlives the process: after a restart the groups that verl restored are read and judged anew.
    """

    def __init__(self, gates: Sequence[Gate], budget: ResponseBudget) -> None:
        self.gates = gates
        self.refused: dict[str, str] = {}
        """Groups by `uid` that must go, and the name of what refuses them."""
        self.evicted: list[Judged] = []
        """Trajectories of groups that went since the last batch."""
        self.evicted_by: dict[str, str] = {}
        """What refused these groups, by `uid`; nothing for one whose agent loop raised."""
        self._budget = budget
        self._known: dict[str, list[Judged]] = {}

    def look(self, uids: Collection[str], tags: Tags, partition_id: str) -> None:
        """Read and judge those of `uids` that have finished since the last look."""
        for uid in {item.row.group for item in self.read(uids, tags, partition_id)}:
            refusal = first_refusal(self.gates, self.rows(uid))
            if refusal is not None:
                self.refused[uid] = refusal

    def read(self, uids: Collection[str], tags: Tags, partition_id: str) -> list[Judged]:
        """Trajectories of those of `uids` that have not been read before; no gate looks at them."""
        new = uids - self._known.keys()
        if not new:
            return []
        items = self._read([key for key in tags if group_of(key) in new], tags, partition_id)
        for item in items:
            self._known.setdefault(item.row.group, []).append(item)
        return items

    def rows(self, uid: str) -> list[Row]:
        """What the rules see of a group; nothing of one that has no trajectory."""
        return [item.row for item in self._known.get(uid, ())]

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

    def of_batch(self, keys: Sequence[str], tags: Tags, partition_id: str) -> list[Judged]:
        """The rows of a batch in its order, read from storage where they have not been."""
        known = {item.row.key: item for group in self._known.values() for item in group}
        missing = [key for key in keys if key not in known]
        known |= {item.row.key: item for item in self._read(missing, tags, partition_id)}
        return [known[key] for key in keys]

    def next_batch(self, left: Collection[str]) -> None:
        """Keep only the groups that a later batch may still hold."""
        self._known = {uid: group for uid, group in self._known.items() if uid in left}
        self.evicted.clear()
        self.evicted_by.clear()

    def _read(self, keys: Sequence[str], tags: Tags, partition_id: str) -> list[Judged]:
        return [
            Judged(stored, stored.row(self._budget, tags[stored.key]["seq_len"] - tags[stored.key]["response_len"]))
            for stored in read_rows(keys, partition_id)
        ]
