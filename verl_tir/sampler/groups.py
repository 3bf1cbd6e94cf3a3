"""Finished prompt groups as the sampler knows them: each is read once and judged once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from verl_tir.sampler.finished_row import FinishedRow, uid_of
from verl_tir.sampler.gates import UNTRAINABLE, Gate, RefillBudget, first_refusal
from verl_tir.sampler.loss_plan import LossRule

logger = logging.getLogger(__name__)

Tags = Mapping[str, Mapping[str, Any]]
"""verl's tags by key; `seq_len` and `response_len` are read."""
ReadRows = Callable[[Sequence[str], Tags, str], list[FinishedRow]]
"""Reads the rows of keys, in their order, given their tags and their partition."""


class Groups:
    """The finished groups that no batch has taken yet, and what became of those replaced since the last batch.

    Nothing here outlives the process: after a restart the groups that verl restored are read and judged anew.
    """

    def __init__(self, read_rows: ReadRows, gates: Sequence[Gate], rule: LossRule, budget: RefillBudget) -> None:
        self.gates = gates
        self.budget = budget
        self.refused: dict[str, str] = {}
        """Groups by `uid` that are to be replaced, and the name of what refuses them."""
        self.raised: set[str] = set()
        """Groups whose agent loop raised, and that were replaced since the last batch."""
        self.replaced: list[FinishedRow] = []
        """Rows of all groups that were replaced since the last batch."""
        self._reasons: dict[str, str] = {}
        """What refused these groups, by `uid`; nothing for one whose agent loop raised."""
        self._read_rows = read_rows
        self._rule = rule
        self._known: dict[str, list[FinishedRow]] = {}

    def look(self, uids: Collection[str], tags: Tags, partition_id: str) -> None:
        """Read and judge those of `uids` that have finished since the last look."""
        for uid in {row.uid for row in self.read(uids, tags, partition_id)}:
            refusal = first_refusal(self.gates, self._known[uid])
            if refusal is not None:
                self.refused[uid] = refusal

    def read(self, uids: Collection[str], tags: Tags, partition_id: str) -> list[FinishedRow]:
        """Rows of those of `uids` that have not been read before; no gate looks at them."""
        new = uids - self._known.keys()
        if not new:
            return []
        rows = self._read_rows([key for key in tags if uid_of(key) in new], tags, partition_id)
        for row in rows:
            self._known.setdefault(row.uid, []).append(row)
        return rows

    def refuse_untrainable(self, uids: Collection[str], batch_size: int, rollout_n: int) -> set[str]:
        """Refuse the groups of a whole batch if none of them can train; verl raises on such a batch.

        As long as a single one can, none is refused. Without budget for all, the batch is taken as it is.
        """
        if any(self._can_train(uid, rollout_n) for uid in uids) or not self.budget.allows(len(uids), batch_size):
            return set()
        logger.warning("no trajectory of %d prompt groups can train: other prompts are rolled out", len(uids))
        self.refused |= dict.fromkeys(uids, UNTRAINABLE)
        return set(uids)

    def replace(self, uids: Iterable[str], raised: Collection[str]) -> None:
        """Other prompts are rolled out in place of these groups, of which the agent loops of `raised` raised."""
        self.raised.update(raised)
        for uid in uids:
            self.replaced += self._known.pop(uid, [])
            if uid in self.refused:
                self._reasons[uid] = self.refused.pop(uid)
                self.budget.refused[self._reasons[uid]] += 1

    def discard(self, uids: Iterable[str]) -> None:
        """Forget groups that verl let go for its own reasons."""
        for uid in uids:
            self._known.pop(uid, None)
            self.refused.pop(uid, None)

    def of_batch(self, keys: Sequence[str], tags: Tags, partition_id: str) -> list[FinishedRow]:
        """The rows of a batch in its order, read from storage where they have not been."""
        known = {row.key: row for group in self._known.values() for row in group}
        missing = [key for key in keys if key not in known]
        known |= {row.key: row for row in self._read_rows(missing, tags, partition_id)}
        return [known[key] for key in keys]

    def reasons(self) -> dict[str, str]:
        """What refused the groups of the replaced rows, by the rows' keys."""
        return {row.key: self._reasons[row.uid] for row in self.replaced if row.uid in self._reasons}

    def next_batch(self, left: Collection[str]) -> None:
        """Keep only the groups that a later batch may still hold."""
        self._known = {uid: group for uid, group in self._known.items() if uid in left}
        self.replaced.clear()
        self.raised.clear()
        self._reasons.clear()
        self.budget.clear()

    def _can_train(self, uid: str, rollout_n: int) -> bool:
        """Whether a batch of this group alone would have a token in the loss."""
        rows = self._known.get(uid, [])
        return sum(map(self._rule.in_baseline, rows)) >= min(2, rollout_n) and any(map(self._rule.trains, rows))
