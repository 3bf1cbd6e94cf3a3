"""The adapter that applies the void rule to each batch that verl's trainer samples.

verl builds it through `trainer.v1.sampler.custom_sampler` and calls `sample()` once per step; the metrics returned with
the batch are logged with the step. This is the only file that talks to TransferQueue.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transfer_queue as tq
from omegaconf import DictConfig, OmegaConf
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer, ReplayBufferAsync
from verl.utils.tensordict_utils import list_of_dict_to_tensordict

from verl_tir.config import TirConfig
from verl_tir.filters.void import Plan, Row, plan_batch
from verl_tir.metrics.summary import PREFIX, Scored, summarize
from verl_tir.trajectory import Trajectory

logger = logging.getLogger(__name__)


class OutageError(RuntimeError):
    """So many trajectories of a batch were aborted that the rest is no fair sample of the policy."""


class FailedRolloutsError(RuntimeError):
    """Too many agent loops raised: a programming or installation error, not a bad rollout."""


class _TirSampling:
    """Mixed into verl's replay buffers: samples as they do, then applies the plan to the batch."""

    def __init__(self, *, sampler_kwargs: DictConfig, **verl_kwargs: Any) -> None:
        settings = OmegaConf.to_container(sampler_kwargs, resolve=True)
        self.tir = TirConfig.from_node(settings["tir"])
        self.rollout_n = int(settings["rollout_n"])
        self.mini_batch_rows = int(settings["ppo_mini_batch_size"]) * self.rollout_n
        super().__init__(sampler_kwargs=sampler_kwargs, poll_interval=self.tir.filter.poll_seconds, **verl_kwargs)

    def sample(self, global_steps: int, partition_id: str, batch_size: int) -> tuple[KVBatchMeta, dict[str, Any]]:
        """Sample `batch_size` prompt groups and apply the void rule.

        Raises:
            OutageError: more trajectories were aborted than `tir.filter.max_aborted_ratio` allows.
            FailedRolloutsError: more agent loops raised than `tir.filter.max_failed_groups` allows.
        """
        try:
            batch, metrics = super().sample(global_steps, partition_id, batch_size)
        except RuntimeError:
            # verl found no trajectory at all; where loops raised, say so.
            self._check_failures(len(self.failure_keys[partition_id]), batch_size)
            raise
        # verl's asynchronous buffer replaces failed groups and counts them, the synchronous one goes on without them.
        evicted = metrics.get(f"{self._metrics_prefix(partition_id)}/rollout_failure/evicted_samples", 0)
        failed = len(self.failure_keys[partition_id]) + evicted
        self._check_failures(failed, batch_size)
        fields = tq.kv_batch_get(
            keys=batch.keys, partition_id=partition_id, select_fields=["extra_fields", "rm_scores"]
        )
        records = [_plain(value) for value in fields["extra_fields"]]
        # `rm_scores` holds the reward at one token of each row and zeros elsewhere.
        rewards = [float(row.sum()) for row in fields["rm_scores"]]
        scored = [
            Scored(Trajectory.from_record(record["tir"]), reward)
            for record, reward in zip(records, rewards, strict=True)
        ]
        rows = [_row(key, item, record) for key, item, record in zip(batch.keys, scored, records, strict=True)]
        self._check_aborted(rows, scored)
        validating = partition_id == "val"
        plan = plan_batch(
            rows,
            self.tir.filter.void,
            mini_batch_rows=self.mini_batch_rows,
            # Validation has no baseline: a row is as good alone.
            rollout_n=1 if validating else self.rollout_n,
        )
        if not plan.train and not plan.mask:
            raise OutageError("no prompt group of the batch has two trajectories left that can be used")
        if not validating:
            _mask_rows(batch, plan)
        if self.tir.dump_dir is not None:
            _dump(Path(self.tir.dump_dir), partition_id, global_steps, rows, records, plan)
        metrics |= summarize(scored) | _plan_metrics(plan, len(rows)) | {f"{PREFIX}filter/failed_groups": float(failed)}
        return _without(batch, plan.drop), metrics

    def _check_aborted(self, rows: Sequence[Row], scored: Sequence[Scored]) -> None:
        """A dead sandbox aborts those that write code: training on the others would teach the model not to."""
        aborted = [item.trajectory for row, item in zip(rows, scored, strict=True) if row.aborted]
        allowed = self.tir.filter.max_aborted_ratio
        if len(aborted) > allowed * len(rows) or len(aborted) == len(rows):
            reasons = Counter(str(item.stop_reason) if item.aborted else "undecided reward" for item in aborted)
            faults = [item.fault for item in aborted if item.fault is not None]
            last = f"; last fault: {faults[-1]}" if faults else ""
            raise OutageError(
                f"{len(aborted)} of the batch's {len(rows)} trajectories say nothing about the model (allowed share: "
                f"tir.filter.max_aborted_ratio={allowed}): {dict(reasons)}{last}. Check the sandbox with "
                "verl-tir doctor, then resume from the last checkpoint"
            )

    def _check_failures(self, failed: int, batch_size: int) -> None:
        if failed > self.tir.filter.max_failed_groups * batch_size:
            raise FailedRolloutsError(
                f"{failed} of {batch_size} prompt groups raised in the agent loop (allowed share: "
                f"tir.filter.max_failed_groups={self.tir.filter.max_failed_groups}). The traceback is in the log of "
                "AgentLoopWorkerTQ, at 'Error in _run_prompt'; 'Agent loop tir not registered' means that verl-tir is "
                "not installed on that worker's node"
            )


class TirReplayBuffer(_TirSampling, ReplayBuffer):
    """For `trainer.v1.trainer_mode=sync`."""


class TirReplayBufferAsync(_TirSampling, ReplayBufferAsync):
    """For verl's asynchronous trainer modes."""


def build_sampler(*, trainer_mode: str, **verl_kwargs: Any) -> ReplayBuffer:
    """verl's `custom_sampler`: the replay buffer of the trainer mode, with the void rule."""
    sampler: Callable[..., ReplayBuffer] = TirReplayBuffer if trainer_mode == "sync" else TirReplayBufferAsync
    return sampler(trainer_mode=trainer_mode, **verl_kwargs)


def _plain(value: Any) -> Mapping[str, Any]:
    """TransferQueue's backends return non-tensor data bare or wrapped."""
    return getattr(value, "data", value)


def _row(key: str, scored: Scored, record: Mapping[str, Any]) -> Row:
    trajectory = scored.trajectory
    undecided = bool(record.get("reward_extra_info", {}).get("undecided", 0.0))
    return Row(
        key=key,
        # verl's keys are `{uid}_{session_id}_{index}`.
        group=key.rsplit("_", 2)[0],
        void=trajectory.void,
        aborted=trajectory.aborted or undecided,
        reward=scored.reward,
        model_tokens=sum(turn.model_tokens for turn in trajectory.turns),
    )


def _mask_rows(batch: KVBatchMeta, plan: Plan) -> None:
    """Overwrite the masks of the plan's void rows with zeros, or with one token of `loss_mask` for an anchor."""
    if not plan.mask:
        return
    lengths = {key: tag["response_len"] for key, tag in zip(batch.keys, batch.tags, strict=True)}
    anchors = set(plan.loss_anchors)
    fields = []
    for key in plan.mask:
        response_mask = torch.zeros(lengths[key], dtype=torch.int64)
        loss_mask = response_mask.clone()
        loss_mask[0] = int(key in anchors)
        fields.append({"response_mask": response_mask, "loss_mask": loss_mask})
    tq.kv_batch_put(keys=list(plan.mask), partition_id=batch.partition_id, fields=list_of_dict_to_tensordict(fields))


def _without(batch: KVBatchMeta, drop: Sequence[str]) -> KVBatchMeta:
    """Take rows out of the batch and out of TransferQueue; verl pads what is left to whole mini-batches."""
    if not drop:
        return batch
    tq.kv_clear(partition_id=batch.partition_id, keys=list(drop))
    dropped = set(drop)
    kept = [(key, tag) for key, tag in zip(batch.keys, batch.tags, strict=True) if key not in dropped]
    return KVBatchMeta(
        partition_id=batch.partition_id,
        keys=[key for key, _ in kept],
        tags=[tag for _, tag in kept],
        fields=batch.fields,
        extra_info=batch.extra_info,
    )


def _plan_metrics(plan: Plan, rows: int) -> dict[str, float]:
    if plan.signal_anchor is not None:
        logger.warning("all %d trajectories of this batch are void or aborted: the update has zero gradient", rows)
    return {
        f"{PREFIX}filter/masked_rows": float(len(plan.mask)),
        f"{PREFIX}filter/dropped_rows": float(len(plan.drop)),
        f"{PREFIX}filter/loss_anchors": float(len(plan.loss_anchors)),
        f"{PREFIX}filter/updates_without_signal": float(plan.signal_anchor is not None),
    }


def _dump(
    folder: Path,
    partition_id: str,
    step: int,
    rows: Sequence[Row],
    records: Sequence[Mapping[str, Any]],
    plan: Plan,
) -> None:
    """Append one JSON line per trajectory to `{folder}/{partition}.jsonl`."""
    fate = dict.fromkeys(plan.train, "train") | dict.fromkeys(plan.mask, "mask") | dict.fromkeys(plan.drop, "drop")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{partition_id}.jsonl").open("a", encoding="utf-8") as file:
        for row, record in zip(rows, records, strict=True):
            line = {"step": step, "key": row.key, "reward": row.reward, "fate": fate[row.key], **record["tir"]}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
