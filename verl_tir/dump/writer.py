"""Writes the trajectory dump, beside the training and within its bounds. `dump.format` says what is in it."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from verl_tir.dump.format import PATTERN, Fate, to_line
from verl_tir.sampler.finished_row import FinishedRow
from verl_tir.sampler.loss_plan import LossPlan

logger = logging.getLogger(__name__)


class TrajectoryDump:
    """The dump of one run. A thread writes, so that a step goes on meanwhile; the next step waits for it."""

    def __init__(self, folder: Path, max_mb: int | None) -> None:
        """Write to `folder`, which keeps what is in it, at most `max_mb` MiB in all; None for no bound."""
        self._folder = folder
        self._max_bytes = float("inf") if max_mb is None else max_mb * 2**20
        self._run = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="tir-dump")
        self._writing: Future[None] | None = None
        self._warned: set[str] = set()

    def write(
        self,
        partition_id: str,
        step: int,
        batch: Sequence[FinishedRow],
        plan: LossPlan,
        evicted: Sequence[FinishedRow] = (),
        reasons: Mapping[str, str] | None = None,
    ) -> None:
        """Append a batch to its step's file.

        Args:
            partition_id: `train` or `val`.
            step: verl's global step.
            batch: its rows.
            plan: what became of them.
            evicted: the rows of groups that were replaced by others.
            reasons: by the key of a row, why it is not trained on, where the caller knows more than the trajectory
                itself says: the gate that refused its group, the rule that masked it.
        """
        self.wait()
        validating = partition_id == "val"
        # Validation masks nothing.
        fates = dict.fromkeys(plan.train, Fate.TRAIN)
        fates |= dict.fromkeys(plan.mask, Fate.TRAIN if validating else Fate.MASK)
        fates |= dict.fromkeys(plan.drop, Fate.DROP) | {row.key: Fate.EVICTED for row in evicted}
        lines = (
            to_line(
                row.record,
                row.trajectory,
                run=self._run,
                partition=partition_id,
                step=step,
                key=row.key,
                fate=fates[row.key],
                reason=_reason(row, fates[row.key], reasons or {}),
                reward=row.reward,
                reward_extra=row.reward_extra,
                correct=row.correct,
            )
            for row in (*batch, *evicted)
        )
        path = self._folder / partition_id / f"{step:06}.jsonl"
        self._writing = self._writer.submit(self._append, path, lines)
        if validating:
            # The last validation is the last thing that a run does, and its process ends without asking threads.
            self.wait()

    def wait(self) -> None:
        """Until what was given to `write` is in its file."""
        if self._writing is not None:
            self._writing.result()
            self._writing = None

    def _append(self, path: Path, lines: Iterator[dict[str, Any]]) -> None:
        try:
            self._append_within_bounds(path, lines)
        except OSError as error:  # a full disk, say: a reason to lose a step's dump, and none to lose the run
            logger.error("tir.dump_dir: step %s was not dumped whole: %s", path.stem, error)

    def _append_within_bounds(self, path: Path, lines: Iterator[dict[str, Any]]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        sizes = {found: found.stat() for found in self._folder.glob(PATTERN)}
        used = sum(found.st_size for found in sizes.values())
        sizes.pop(path, None)
        oldest_last = sorted(sizes, key=lambda found: sizes[found].st_mtime_ns, reverse=True)
        with path.open("a+b") as file:
            if file.tell():
                file.seek(-1, 2)
                if file.read() != b"\n":  # the last process to write here was killed in the middle of a line
                    used += file.write(b"\n")
            for line in lines:
                # Half a surrogate pair becomes the escape that JSON has for it.
                text = (json.dumps(line, ensure_ascii=False, default=_plain) + "\n").encode("utf-8", "backslashreplace")
                while used + len(text) > self._max_bytes:
                    if not oldest_last:
                        self._warn("trajectories of a step that is larger than that are left out")
                        return
                    self._warn("the oldest steps are deleted to make room for new ones")
                    old = oldest_last.pop()
                    used -= sizes[old].st_size
                    old.unlink(missing_ok=True)
                used += file.write(text)

    def _warn(self, what: str) -> None:
        if what not in self._warned:
            self._warned.add(what)
            logger.warning("%s has reached tir.dump_max_mb=%d: %s", self._folder, self._max_bytes // 2**20, what)


def _reason(row: FinishedRow, fate: Fate, reasons: Mapping[str, str]) -> str | None:
    """What the caller knows, else what the trajectory itself says."""
    trajectory = row.trajectory
    if fate is Fate.TRAIN:
        return None
    if reasons.get(row.key) or fate is Fate.EVICTED:
        return reasons.get(row.key)
    if fate is Fate.MASK:
        return "void" if trajectory.void else "empty"
    if trajectory.aborted:
        return str(trajectory.stop_reason)
    return "undecided" if row.undecided else "small_group"


def _plain(value: object) -> object:
    """What a data set or a reward function of the user's own may hold, and JSON does not know."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else repr(value)
