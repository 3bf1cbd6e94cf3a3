"""The adapter that decides what verl's trainer trains on: groups through the gates, rows and tokens through the rules.

verl builds it through `trainer.v1.sampler.custom_sampler` and calls `sample()` once per step; the metrics returned with
the batch are logged with the step. Groups are looked at as they finish, while others still run, so that one that must
be replaced is replaced early and the last look is cheap.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.padding_utils import SYNTHETIC_PADDING_SEQ_LEN
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer, ReplayBufferAsync

from verl_tir.config import TirConfig
from verl_tir.dump.writer import TrajectoryDump
from verl_tir.metrics.filter import filter_metrics, reasons_of
from verl_tir.metrics.reward import reward_metrics
from verl_tir.metrics.sandbox import SandboxMeter
from verl_tir.metrics.summary import PREFIX, summarize
from verl_tir.sampler.config import FilterConfig
from verl_tir.sampler.cut import shortest_row
from verl_tir.sampler.finished_row import FinishedRow, ResponseBudget
from verl_tir.sampler.gates import AccuracyGate, Gate, SoundGate, UsableGate, VarianceGate
from verl_tir.sampler.groups import Groups
from verl_tir.sampler.loss_plan import LossPlan, plan_loss
from verl_tir.sampler.refill import UNTRAINABLE, DataCannotFillBatchError, RefillBudget
from verl_tir.sampler.run_limits import OutageError, alarm_of_undecided, check_aborted, check_failures, outage
from verl_tir.sampler.storage import cut_rows, mask_rows, set_apart, without
from verl_tir.sampler.token_rule import TokenRule
from verl_tir.sampler.trim import trim_rows

logger = logging.getLogger(__name__)

_Reasons = tuple[set[str], set[str], set[str], Counter[float]]
"""verl's stale, DAPO-filtered and failed `uid`s, and its count of the second by reward."""


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


class _TirSampling:
    """Mixed into verl's replay buffers: samples as they do, with gates before and the rules after."""

    def __init__(
        self,
        *,
        trainer_mode: str,
        sampler_kwargs: DictConfig,
        refill_fn: Callable[[int], int] | None = None,
        **verl_kwargs: Any,
    ) -> None:
        settings = OmegaConf.to_container(sampler_kwargs, resolve=True)
        self.tir = TirConfig.from_node(settings["tir"])
        self.rollout_n = int(settings["rollout_n"])
        self.mini_batch_rows = int(settings["ppo_mini_batch_size"]) * self.rollout_n
        # verl's asynchronous trainers always replace what they evict, its synchronous one when asked to.
        self.refill = trainer_mode != "sync" or bool(settings["refill"])
        filters = self.tir.filter
        self._rule = filters.loss_rule
        self._token_rule = TokenRule(filters.void, filters.min_token_probability)
        self._gates = gates_of(filters, self.rollout_n)
        self._groups = Groups(
            self._gates,
            ResponseBudget(
                self.tir.rollout.max_turn_tokens, int(settings["max_response_tokens"]), settings["max_model_len"]
            ),
        )
        self._budget = RefillBudget(filters.max_refills)
        self.shortest_row = shortest_row(settings.get("actor_strategy"), SYNTHETIC_PADDING_SEQ_LEN)
        self._meter = SandboxMeter()
        folder = self.tir.dump_dir
        self.dump = None if folder is None else TrajectoryDump(Path(folder), self.tir.dump_max_mb)
        # verl may look for groups before it first asks for a batch, which has at least a mini-batch's prompts.
        self._batch_size = int(settings["ppo_mini_batch_size"])
        self._raised: set[str] = set()
        """Groups whose agent loop raised, and that were replaced, since the last batch."""
        self._dumped: set[str] = set()
        """Groups of the validation batch under way that the dump holds."""
        if self.refill and trainer_mode == "sync":
            # With this setting verl fetches prompts one by one, so that a refill can have any size.
            verl_kwargs |= {"sync_refill_failed_groups": True, "gen_batch_size": 1}
        super().__init__(
            trainer_mode=trainer_mode,
            sampler_kwargs=sampler_kwargs,
            poll_interval=filters.poll_seconds,
            refill_fn=None if refill_fn is None else self._counting(refill_fn),
            **verl_kwargs,
        )

    def sample(self, global_steps: int, partition_id: str, batch_size: int) -> tuple[KVBatchMeta, dict[str, Any]]:
        """Sample `batch_size` prompt groups that pass the gates, and apply the rules.

        Raises:
            OutageError: more trajectories were aborted than `tir.filter.max_aborted_ratio` allows.
            FailedRolloutsError: more agent loops raised than `tir.filter.max_failed_groups` allows.
            DataCannotFillBatchError: more groups were refused than `tir.filter.max_refills` allows.
            NoVerdictError: a gate needs to know which answers are correct, and the reward does not say.
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
        tags = dict(zip(batch.keys, batch.tags, strict=True))
        rows = self._groups.of_batch(batch.keys, tags, partition_id)
        validating = partition_id == "val"
        evicted = [] if validating else self._groups.evicted
        sampled = [*rows, *evicted]
        check_aborted(sampled, len(sampled), self.tir.filter.max_aborted_ratio)
        alarm_of_undecided(sampled, self.tir.filter.max_undecided_ratio)
        training = [row for row in rows if self._rule.trains(row) and not validating]
        trimmed = trim_rows(training, self._token_rule, partition_id)
        plan = self._plan(rows, validating, trimmed.emptied)
        if not plan.train and not plan.mask:
            raise OutageError("no prompt group of the batch has two trajectories left that can be used")
        if not validating:
            batch = self._apply(plan, batch, rows, metrics)
        if self.dump is not None:
            why = reasons_of(rows, evicted, self._groups.evicted_by, self._rule, plan)
            fresh = [row for row in rows if row.uid not in self._dumped]
            self.dump.write(partition_id, global_steps, fresh, plan, evicted, why)
        metrics |= summarize(rows) | self._sandbox_metrics(sampled)
        metrics |= reward_metrics([row.reward_extra for row in rows])
        metrics |= filter_metrics(rows, evicted, self._rule, plan, trimmed, self._budget, self._gates, failed)
        if validating:
            self._groups.discard({row.uid for row in rows})
            self._dumped.clear()
        else:
            left = self.finished_keys[partition_id] | self.failure_keys[partition_id]
            self._groups.next_batch(left - {row.uid for row in rows})
            self._budget.clear()
            self._raised.clear()
        return without(batch, plan.drop), metrics

    def _plan(self, rows: Sequence[FinishedRow], validating: bool, emptied: Collection[str] = frozenset()) -> LossPlan:
        return plan_loss(
            rows,
            # In validation a void row is a result like any other, and there is no baseline: a row is as good alone.
            replace(self._rule, void_in_baseline=True) if validating else self._rule,
            mini_batch_rows=self.mini_batch_rows,
            rollout_n=1 if validating else self.rollout_n,
            emptied=emptied,
        )

    def _dump_finished(self, global_steps: int) -> None:
        """Write the validation groups that have finished: what is there outlives a run that is killed."""
        if self.dump is None:
            return
        rows = self._groups.read(self.finished_keys["val"], self.partitions["val"], "val")
        if rows:
            self._dumped |= {row.uid for row in rows}
            self.dump.write("val", global_steps, rows, self._plan(rows, True))

    def _apply(
        self, plan: LossPlan, batch: KVBatchMeta, rows: Sequence[FinishedRow], metrics: dict[str, Any]
    ) -> KVBatchMeta:
        """Write what the plan says of masks into storage; what is masked is cut down, and that counted."""
        if self.tir.filter.cut_masked_rows:
            cut = cut_rows(batch, plan.mask, {row.key: row.reward for row in rows}, self.shortest_row)
            counts = {"cut_rows": cut.rows, "cut_tokens": cut.tokens, "uncut_rows": cut.uncut_rows}
            metrics |= {f"{PREFIX}filter/{name}/total": float(count) for name, count in counts.items()}
            batch = cut.batch
        mask_rows(batch, plan)
        if plan.signal_anchor is not None:
            lengths = dict(zip(batch.keys, (tag["response_len"] for tag in batch.tags), strict=True))
            set_apart(plan.signal_anchor, batch.partition_id, lengths[plan.signal_anchor])
            logger.warning(
                "none of the %d trajectories of this batch can train (void, overlong or aborted): the update has zero "
                "gradient",
                len(batch.keys),
            )
        return batch

    def _counting(self, refill_fn: Callable[[int], int]) -> Callable[[int], int]:
        def refill(prompts: int) -> int:
            self._budget.submitted += prompts
            return refill_fn(prompts)

        return refill

    def _terminal_eviction_reasons(self, global_steps: int, partition_id: str) -> _Reasons:
        """verl's reasons, and as failed also the groups that a gate refuses."""
        stale, filtered, failed, counts = super()._terminal_eviction_reasons(global_steps, partition_id)
        if partition_id == "val":
            self._dump_finished(global_steps)
        elif self.refill:
            terminal = self.finished_keys[partition_id] | self.failure_keys[partition_id]
            self._groups.look(terminal, self.partitions[partition_id], partition_id)
            failed |= self._groups.refused.keys() & terminal
            failed |= self._untrainable(partition_id, (stale, filtered, failed, counts))
        return stale, filtered, failed, counts

    def _untrainable(self, partition_id: str, reasons: _Reasons) -> set[str]:
        """The groups of the batch that would be taken now, if none of them can train; verl raises on such a batch.

        As long as a single one can, none is replaced. Without budget for all, the batch is taken as it is.
        """
        sampleable = self._sampleable_terminal_keys(partition_id, reasons)
        if len(sampleable) < self._batch_size:
            return set()
        uids, _, _ = self._select_prompt_uids(partition_id, sampleable, self._batch_size)
        if any(self._groups.can_train(uid, self._rule, self.rollout_n) for uid in uids):
            return set()
        if not self._budget.allows(len(uids), self._batch_size):
            return set()
        logger.warning("no trajectory of %d prompt groups can train: other prompts are rolled out", len(uids))
        self._groups.refused |= dict.fromkeys(uids, UNTRAINABLE)
        return set(uids)

    def _select_prompt_uids(self, partition_id: str, sampleable_keys: set[str], batch_size: int) -> Any:
        """verl's choice, the oldest first, made the same each time: among groups of one age it has no order."""
        return super()._select_prompt_uids(partition_id, sorted(sampleable_keys), batch_size)

    def _evict_terminal_groups(
        self, global_steps: int, partition_id: str, eviction_reasons: _Reasons
    ) -> tuple[set[str], int, int, dict[str, Any]]:
        """Remember what is evicted and why, and stop a run that would go on replacing."""
        stale, filtered, failed, _ = eviction_reasons
        if failed:
            self._note(failed, partition_id)
        evicted, stale_count, filtered_count, metrics = super()._evict_terminal_groups(
            global_steps, partition_id, eviction_reasons
        )
        # What verl lets go for its own reasons was never counted as ours.
        self._groups.discard(stale | filtered)
        # verl takes them all for failed rollouts; `tir/filter/...` counts them apart.
        metrics.pop(f"{self._metrics_prefix(partition_id)}/rollout_failure/evicted_samples", None)
        return evicted, stale_count, filtered_count, metrics

    def _note(self, failed: set[str], partition_id: str) -> None:
        """Count groups that go, and raise where they are too many."""
        self._raised |= failed & self.failure_keys[partition_id]
        self._budget.evicted.update(self._groups.refused[uid] for uid in failed & self._groups.refused.keys())
        self._groups.evict(failed)
        self._check_failures(len(self._raised))
        evicted = self._groups.evicted
        # The batch is still being collected: the share is that of the whole batch.
        expected = max(len(evicted), self._batch_size * self.rollout_n)
        check_aborted(evicted, expected, self.tir.filter.max_aborted_ratio)
        if self._budget.allows(0, self._batch_size):
            return
        if self._budget.only_unsound():
            raise outage(evicted, expected, self.tir.filter.max_aborted_ratio)
        sound = [row.reward for row in evicted if not row.excluded]
        raise DataCannotFillBatchError(self._budget.complaint(self._gates, self._batch_size, sum(sound) / len(sound)))

    def _check_failures(self, failed: int) -> None:
        check_failures(failed, self._batch_size, self.tir.filter.max_failed_groups)

    def _sandbox_metrics(self, rows: Sequence[FinishedRow]) -> dict[str, float]:
        turns = [turn for row in rows for turn in row.trajectory.turns]
        return self._meter.measure(turns, [row.record["sandbox"] for row in rows if row.record.get("sandbox")])


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
    """verl's `custom_sampler`: the replay buffer of the trainer mode, with the gates and the rules."""
    sampler: Callable[..., ReplayBuffer] = TirReplayBuffer if trainer_mode == "sync" else TirReplayBufferAsync
    return sampler(trainer_mode=trainer_mode, **verl_kwargs)
