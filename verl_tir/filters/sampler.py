"""The adapter that decides what verl's trainer trains on: groups through the gates, rows through the void rule.

verl builds it through `trainer.v1.sampler.custom_sampler` and calls `sample()` once per step; the metrics returned with
the batch are logged with the step. Groups are looked at as they finish, while others still run, so that one that must
be replaced is replaced early and the last look is cheap.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer, ReplayBufferAsync

from verl_tir.config import TirConfig
from verl_tir.filters.dump import write_dump
from verl_tir.filters.gates import SoundGate
from verl_tir.filters.storage import StoredRow, group_of, mask_rows, read_rows, without
from verl_tir.filters.void import Plan, plan_batch
from verl_tir.metrics.sandbox import SandboxMeter
from verl_tir.metrics.summary import PREFIX, summarize

logger = logging.getLogger(__name__)

_MAX_REFILLS = 4
"""Evicted groups per prompt of the batch after which the sandbox counts as down, whatever share may be aborted."""

_Reasons = tuple[set[str], set[str], set[str], Counter[float]]
"""verl's stale, DAPO-filtered and failed `uid`s, and its count of the second by reward."""


class OutageError(RuntimeError):
    """So many trajectories were aborted that the rest is no fair sample of the policy."""


class FailedRolloutsError(RuntimeError):
    """Too many agent loops raised: a programming or installation error, not a bad rollout."""


class _TirSampling:
    """Mixed into verl's replay buffers: samples as they do, with gates before and the void rule after."""

    def __init__(self, *, trainer_mode: str, sampler_kwargs: DictConfig, **verl_kwargs: Any) -> None:
        settings = OmegaConf.to_container(sampler_kwargs, resolve=True)
        self.tir = TirConfig.from_node(settings["tir"])
        self.rollout_n = int(settings["rollout_n"])
        self.mini_batch_rows = int(settings["ppo_mini_batch_size"]) * self.rollout_n
        # verl's asynchronous trainers always replace what they evict, its synchronous one when asked to.
        self.refill = trainer_mode != "sync" or bool(settings["refill"])
        self._gate = SoundGate(self.rollout_n, self.tir.filter.min_sound_ratio)
        self._meter = SandboxMeter()
        self._batch_size = 0
        self._groups: dict[str, list[StoredRow]] = {}
        """Finished training groups by `uid`, read once."""
        self._refused: set[str] = set()
        """Those of them that a gate does not admit."""
        self._evicted: dict[str, list[StoredRow]] = {}
        """Groups that a gate refused since the last batch."""
        self._raised: set[str] = set()
        """Groups whose agent loop raised, and that were replaced, since the last batch."""
        if self.refill and trainer_mode == "sync":
            # With this setting verl fetches prompts one by one, so that a refill can have any size.
            verl_kwargs |= {"sync_refill_failed_groups": True, "gen_batch_size": 1}
        super().__init__(
            trainer_mode=trainer_mode,
            sampler_kwargs=sampler_kwargs,
            poll_interval=self.tir.filter.poll_seconds,
            **verl_kwargs,
        )

    def sample(self, global_steps: int, partition_id: str, batch_size: int) -> tuple[KVBatchMeta, dict[str, Any]]:
        """Sample `batch_size` prompt groups that pass the gates, and apply the void rule.

        Raises:
            OutageError: more trajectories were aborted than `tir.filter.max_aborted_ratio` allows.
            FailedRolloutsError: more agent loops raised than `tir.filter.max_failed_groups` allows.
        """
        self._batch_size = batch_size
        try:
            batch, metrics = super().sample(global_steps, partition_id, batch_size)
        except RuntimeError:
            # verl found no trajectory at all; where loops raised, say so.
            self._check_failures(len(self.failure_keys[partition_id]))
            raise
        failed = len(self.failure_keys[partition_id] | self._raised)
        self._check_failures(failed)
        rows = self._rows_of(batch)
        validating = partition_id == "val"
        evicted = [] if validating else [row for group in self._evicted.values() for row in group]
        self._check_aborted([*rows, *evicted], len(rows) + len(evicted))
        plan = plan_batch(
            [row.row for row in rows],
            self.tir.filter.void,
            mini_batch_rows=self.mini_batch_rows,
            # Validation has no baseline: a row is as good alone.
            rollout_n=1 if validating else self.rollout_n,
        )
        if not plan.train and not plan.mask:
            raise OutageError("no prompt group of the batch has two trajectories left that can be used")
        if not validating:
            mask_rows(batch, plan)
        if self.tir.dump_dir is not None:
            write_dump(Path(self.tir.dump_dir), partition_id, global_steps, rows, plan, evicted)
        metrics |= summarize([row.scored for row in rows]) | self._sandbox_metrics([*rows, *evicted])
        metrics |= self._filter_metrics(plan, len(rows), failed, evicted)
        if not validating:
            self._forget(batch)
        return without(batch, plan.drop), metrics

    def _terminal_eviction_reasons(self, global_steps: int, partition_id: str) -> _Reasons:
        """verl's reasons, and as failed also the groups that a gate refuses."""
        stale, filtered, failed, counts = super()._terminal_eviction_reasons(global_steps, partition_id)
        if partition_id != "val" and self.refill:
            self._read_finished(partition_id)
            failed |= self._refused & self.finished_keys[partition_id]
        return stale, filtered, failed, counts

    def _evict_terminal_groups(
        self, global_steps: int, partition_id: str, eviction_reasons: _Reasons
    ) -> tuple[set[str], int, int, dict[str, Any]]:
        """Remember what is evicted and why, and stop a run that would go on replacing."""
        for uid in eviction_reasons[2]:
            if uid in self._groups:
                self._evicted[uid] = self._groups[uid]
            else:
                self._raised.add(uid)
        self._check_failures(len(self._raised))
        rows = [row for group in self._evicted.values() for row in group]
        # The batch is still being collected: the share is that of the whole batch.
        self._check_aborted(rows, max(len(rows), self._batch_size * self.rollout_n))
        evicted, stale, filtered, metrics = super()._evict_terminal_groups(global_steps, partition_id, eviction_reasons)
        for uid in evicted:
            self._groups.pop(uid, None)
            self._refused.discard(uid)
        # verl takes them all for failed rollouts; `tir/filter/...` counts them apart.
        metrics.pop(f"{self._metrics_prefix(partition_id)}/rollout_failure/evicted_samples", None)
        return evicted, stale, filtered, metrics

    def _read_finished(self, partition_id: str) -> None:
        """Read the groups that have finished since the last look."""
        new = self.finished_keys[partition_id] - self._groups.keys()
        rows = read_rows([key for key in self.partitions[partition_id] if group_of(key) in new], partition_id)
        for row in rows:
            self._groups.setdefault(group_of(row.key), []).append(row)
        # A finished group does not change, and the next looks come every fraction of a second.
        read = new & self._groups.keys()
        self._refused |= {uid for uid in read if not self._gate.admit([row.row for row in self._groups[uid]])}

    def _rows_of(self, batch: KVBatchMeta) -> list[StoredRow]:
        """The batch's rows in its order, read from storage where they have not been."""
        known = {row.key: row for group in self._groups.values() for row in group}
        known |= {
            row.key: row for row in read_rows([key for key in batch.keys if key not in known], batch.partition_id)
        }
        return [known[key] for key in batch.keys]

    def _forget(self, batch: KVBatchMeta) -> None:
        """Keep only the groups that a later batch may still hold."""
        left = self.finished_keys[batch.partition_id] - {group_of(key) for key in batch.keys}
        self._groups = {uid: group for uid, group in self._groups.items() if uid in left}
        self._evicted.clear()
        self._raised.clear()

    def _check_aborted(self, rows: Sequence[StoredRow], expected: int) -> None:
        """A dead sandbox aborts those that write code: training on the others would teach the model not to.

        `expected` is the number of trajectories that the allowed share is a share of.
        """
        aborted = [row.scored.trajectory for row in rows if row.row.aborted]
        allowed = self.tir.filter.max_aborted_ratio
        too_many = len(aborted) > allowed * expected or 0 < len(aborted) == expected
        if not too_many and len(self._evicted) <= _MAX_REFILLS * self._batch_size:
            return
        reasons = Counter(str(item.stop_reason) if item.aborted else "undecided reward" for item in aborted)
        faults = [item.fault for item in aborted if item.fault is not None]
        last = f"; last fault: {faults[-1]}" if faults else ""
        raise OutageError(
            f"{len(aborted)} of the batch's {expected} trajectories say nothing about the model (allowed share: "
            f"tir.filter.max_aborted_ratio={allowed}): {dict(reasons)}{last}. Check the sandbox with "
            "verl-tir doctor, then resume from the last checkpoint"
        )

    def _check_failures(self, failed: int) -> None:
        if failed > self.tir.filter.max_failed_groups * self._batch_size:
            raise FailedRolloutsError(
                f"{failed} of {self._batch_size} prompt groups raised in the agent loop (allowed share: "
                f"tir.filter.max_failed_groups={self.tir.filter.max_failed_groups}). The traceback is in the log of "
                "AgentLoopWorkerTQ, at 'Error in _run_prompt'; 'Agent loop tir not registered' means that verl-tir is "
                "not installed on that worker's node"
            )

    def _sandbox_metrics(self, rows: Sequence[StoredRow]) -> dict[str, float]:
        turns = [turn for row in rows for turn in row.scored.trajectory.turns]
        return self._meter.measure(turns, [row.record["sandbox"] for row in rows if row.record.get("sandbox")])

    def _filter_metrics(self, plan: Plan, rows: int, failed: int, evicted: Sequence[StoredRow]) -> dict[str, float]:
        if plan.signal_anchor is not None:
            logger.warning("all %d trajectories of this batch are void or aborted: the update has zero gradient", rows)
        values = {
            "masked_rows": len(plan.mask),
            "dropped_rows": len(plan.drop) + len(evicted),
            "loss_anchors": len(plan.loss_anchors),
            "updates_without_signal": plan.signal_anchor is not None,
            "failed_groups": failed,
            f"evicted_groups/{self._gate.name}": len({group_of(row.key) for row in evicted}),
        }
        return {f"{PREFIX}filter/{name}": float(value) for name, value in values.items()}


class TirReplayBuffer(_TirSampling, ReplayBuffer):
    """For `trainer.v1.trainer_mode=sync`."""


class TirReplayBufferAsync(_TirSampling, ReplayBufferAsync):
    """For verl's asynchronous trainer modes."""

    def wait_for_sampleable(
        self, global_steps: int, partition_id: str, target_count: int
    ) -> tuple[set[str], dict[str, Any]]:
        """As verl's, which also calls it outside of `sample` and before the first; allowed shares are of the target."""
        self._batch_size = target_count
        return super().wait_for_sampleable(global_steps, partition_id, target_count)


def build_sampler(*, trainer_mode: str, **verl_kwargs: Any) -> ReplayBuffer:
    """verl's `custom_sampler`: the replay buffer of the trainer mode, with the gates and the void rule."""
    sampler: Callable[..., ReplayBuffer] = TirReplayBuffer if trainer_mode == "sync" else TirReplayBufferAsync
    return sampler(trainer_mode=trainer_mode, **verl_kwargs)
