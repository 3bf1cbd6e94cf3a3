"""The replay buffer that verl's trainer samples from: verl's own, with the gates before and the rules after.

verl builds it through `trainer.v1.sampler.custom_sampler` and calls `sample` once per step; the metrics returned with
the batch are logged with the step. Every override of verl's buffers stands in this file, and the contract tests pin
this list:

    __init__                    takes the settings; lets verl look as often as `poll_seconds` says, and refill by ones
    sample                      takes verl's batch and applies the rules to it
    wait_for_sampleable         notes how large a batch verl waits for, outside of `sample` and before the first
    _terminal_eviction_reasons  looks at groups as they finish, while others run: the refused ones count as failed
    _select_prompt_uids         puts groups of one age in an order
    _evict_terminal_groups      notes what verl evicts and why, and stops a run that would replace groups for ever

They also read these attributes and methods of verl's:

    partitions  finished_keys  failure_keys  _sampleable_terminal_keys  _metrics_prefix
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.padding_utils import SYNTHETIC_PADDING_SEQ_LEN
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer, ReplayBufferAsync

from verl_tir.config import TirConfig
from verl_tir.dump.writer import TrajectoryDump
from verl_tir.metrics.filter import filter_metrics
from verl_tir.metrics.sandbox import SandboxMeter
from verl_tir.metrics.summary import PREFIX, reward_metrics, summarize
from verl_tir.sampler.cut import shortest_row
from verl_tir.sampler.finished_row import FinishedRow, ResponseBudget
from verl_tir.sampler.gates import RefillBudget, gates_of
from verl_tir.sampler.groups import Groups
from verl_tir.sampler.loss_plan import LossPlan, MaskedTokens, plan_loss, plan_validation
from verl_tir.sampler.run_limits import alarm_of_undecided, check_aborted, check_failures, check_plan, check_replaced
from verl_tir.sampler.storage import cut_rows, mask_rows, mask_tokens, read_rows, set_apart, without
from verl_tir.sampler.token_rule import TokenRule

_VALIDATION = "val"
"""verl's partition."""
_Reasons = tuple[set[str], set[str], set[str], Counter[float]]
"""verl's stale, DAPO-filtered and failed `uid`s, and its count of the second by reward."""
_Sample = tuple[KVBatchMeta, dict[str, Any]]
"""A batch and its metrics."""


@dataclass(frozen=True, slots=True)
class _Taken:
    """What verl took, as one step hands it to the next."""

    step: int
    batch: KVBatchMeta
    metrics: dict[str, Any]
    """verl's; each step adds its own."""
    rows: list[FinishedRow]
    """The batch's."""
    replaced: tuple[FinishedRow, ...]
    """Those of the groups that were replaced for it."""
    failed: int
    """Prompt groups of either whose agent loop raised."""

    @property
    def sampled(self) -> list[FinishedRow]:
        """All that was rolled out for the batch."""
        return [*self.rows, *self.replaced]


class TirReplayBuffer(ReplayBuffer):
    """For `trainer.v1.trainer_mode=sync`."""

    partitions: dict[str, dict[str, dict[str, Any]]]
    """verl's tags by key, by partition."""
    finished_keys: dict[str, set[str]]
    """verl's `uid`s of finished groups, by partition."""
    failure_keys: dict[str, set[str]]
    """verl's `uid`s of groups of which an agent loop raised, by partition."""

    def __init__(
        self,
        *,
        trainer_mode: str,
        sampler_kwargs: DictConfig,
        refill_fn: Callable[[int], int] | None = None,
        **verl_kwargs: Any,
    ) -> None:
        settings = cast(dict[str, Any], OmegaConf.to_container(sampler_kwargs, resolve=True))
        tir = TirConfig.from_node(settings["tir"])
        self._filters = filters = tir.filter
        self._rollout_n = int(settings["rollout_n"])
        self._mini_batch_rows = int(settings["ppo_mini_batch_size"]) * self._rollout_n
        # verl's asynchronous trainers always replace what they evict, its synchronous one when asked to.
        self._refills = trainer_mode != "sync" or bool(settings["refill"])
        self._rule = filters.loss_rule
        self._token_rule = TokenRule(filters.void, filters.min_token_probability)
        response_budget = ResponseBudget(
            tir.rollout.max_turn_tokens, int(settings["max_response_tokens"]), settings["max_model_len"]
        )
        self._groups = Groups(
            partial(read_rows, budget=response_budget),
            gates_of(filters, self._rollout_n),
            self._rule,
            RefillBudget(filters.max_refills),
        )
        self._shortest_row = shortest_row(settings.get("actor_strategy"), SYNTHETIC_PADDING_SEQ_LEN)
        self._meter = SandboxMeter()
        self.dump = None if tir.dump_dir is None else TrajectoryDump(Path(tir.dump_dir), tir.dump_max_mb)
        self._dumped: set[str] = set()
        """Groups of the validation batch under way that the dump holds."""
        # verl may look for groups before it first asks for a batch, which has at least a mini-batch's prompts.
        self._batch_size = int(settings["ppo_mini_batch_size"])
        if self._refills and trainer_mode == "sync":
            # With this setting verl fetches prompts one by one, so that a refill can have any size.
            verl_kwargs |= {"sync_refill_failed_groups": True, "gen_batch_size": 1}
        super().__init__(
            trainer_mode=trainer_mode,
            sampler_kwargs=sampler_kwargs,
            poll_interval=filters.poll_seconds,
            refill_fn=None if refill_fn is None else self._counting(refill_fn),
            **verl_kwargs,
        )

    def sample(self, global_steps: int, partition_id: str, batch_size: int) -> _Sample:
        """Sample `batch_size` prompt groups that pass the gates, and apply the rules; in validation there are none.

        Raises:
            OutageError: more trajectories were aborted than `tir.filter.max_aborted_ratio` allows.
            FailedRolloutsError: more agent loops raised than `tir.filter.max_failed_groups` allows.
            DataCannotFillBatchError: more groups were refused than `tir.filter.max_refills` allows.
            NoVerdictError: a gate needs to know which answers are correct, and the reward does not say.
        """
        self._batch_size = batch_size
        if partition_id == _VALIDATION:
            return self._sample_validation(global_steps, partition_id)
        return self._sample_training(global_steps, partition_id)

    def _sample_training(self, global_steps: int, partition_id: str) -> _Sample:
        taken = self._take(global_steps, partition_id, self._groups.replaced)
        tokens, plan = self._plan(taken)
        batch = self._apply(taken, plan)
        self._report(taken, plan, tokens)
        self._begin_next(taken)
        return batch, taken.metrics

    def _sample_validation(self, global_steps: int, partition_id: str) -> _Sample:
        taken = self._take(global_steps, partition_id, [])
        plan = check_plan(plan_validation(taken.rows))
        batch = without(taken.batch, plan.drop)
        self._report(taken, plan, MaskedTokens())
        self._forget_validation(taken)
        return batch, taken.metrics

    def _take(self, global_steps: int, partition_id: str, replaced: Sequence[FinishedRow]) -> _Taken:
        """Wait for verl's batch, read what has not been read of it, and stop the run where too much of it failed."""
        try:
            batch, metrics = super().sample(global_steps, partition_id, self._batch_size)
        except RuntimeError:
            # verl found no trajectory at all; where loops raised, say so.
            self._check_failures(len(self.failure_keys[partition_id]))
            raise
        failed = len(self.failure_keys[partition_id] | self._groups.raised)
        self._check_failures(failed)
        tags = dict(zip(batch.keys, batch.tags, strict=True))
        rows = self._groups.of_batch(batch.keys, tags, partition_id)
        taken = _Taken(global_steps, batch, metrics, rows, tuple(replaced), failed)
        check_aborted(taken.sampled, len(taken.sampled), self._filters.max_aborted_ratio)
        alarm_of_undecided(taken.sampled, self._filters.max_undecided_ratio)
        return taken

    def _plan(self, taken: _Taken) -> tuple[MaskedTokens, LossPlan]:
        """Mask tokens of the rows that train, and plan what becomes of all rows."""
        training = [row for row in taken.rows if self._rule.trains(row)]
        tokens = mask_tokens(training, self._token_rule, taken.batch.partition_id)
        plan = plan_loss(
            taken.rows,
            self._rule,
            mini_batch_rows=self._mini_batch_rows,
            rollout_n=self._rollout_n,
            empty_rows=tokens.empty_rows,
        )
        return tokens, check_plan(plan)

    def _apply(self, taken: _Taken, plan: LossPlan) -> KVBatchMeta:
        """Write what the plan says into storage."""
        batch = taken.batch
        if self._filters.cut_masked_rows:
            cut = cut_rows(batch, plan.mask, {row.key: row.reward for row in taken.rows}, self._shortest_row)
            taken.metrics.update({f"{PREFIX}filter/{name}/total": float(count) for name, count in cut.counts.items()})
            batch = cut.batch
        mask_rows(batch, plan)
        if plan.placeholder_row is not None:
            set_apart(plan.placeholder_row, batch)
        return without(batch, plan.drop)

    def _report(self, taken: _Taken, plan: LossPlan, tokens: MaskedTokens) -> None:
        """Write the dump and compute the metrics."""
        rows, replaced = taken.rows, taken.replaced
        if self.dump is not None:
            reasons = self._groups.reasons() | plan.causes(rows, self._rule)
            fresh = [row for row in rows if row.uid not in self._dumped]
            self.dump.write(taken.batch.partition_id, taken.step, fresh, plan, replaced, reasons)
        turns = [turn for row in taken.sampled for turn in row.trajectory.turns]
        clients = [row.record["sandbox"] for row in taken.sampled if row.record.get("sandbox")]
        taken.metrics.update(summarize(rows) | self._meter.measure(turns, clients) | reward_metrics(rows))
        taken.metrics.update(filter_metrics(rows, self._rule, plan, tokens, self._groups, replaced, taken.failed))

    def _begin_next(self, taken: _Taken) -> None:
        """Keep what the next batch may hold, and count anew."""
        left = self.finished_keys[taken.batch.partition_id] | self.failure_keys[taken.batch.partition_id]
        self._groups.next_batch(left - {row.uid for row in taken.rows})

    def _forget_validation(self, taken: _Taken) -> None:
        self._groups.discard({row.uid for row in taken.rows})
        self._dumped.clear()

    def _terminal_eviction_reasons(self, global_steps: int, partition_id: str) -> _Reasons:
        """verl's reasons, and as failed also the groups that a gate refuses."""
        stale, filtered, failed, counts = super()._terminal_eviction_reasons(global_steps, partition_id)
        if partition_id == _VALIDATION:
            self._dump_finished(global_steps)
        elif self._refills:
            terminal = self.finished_keys[partition_id] | self.failure_keys[partition_id]
            self._groups.look(terminal, self.partitions[partition_id], partition_id)
            failed |= self._groups.refused.keys() & terminal
            sampleable = self._sampleable_terminal_keys(partition_id, (stale, filtered, failed, counts))
            if len(sampleable) >= self._batch_size:
                uids, _, _ = self._select_prompt_uids(partition_id, sampleable, self._batch_size)
                failed |= self._groups.refuse_untrainable(uids, self._batch_size, self._rollout_n)
        return stale, filtered, failed, counts

    def _select_prompt_uids(self, partition_id: str, sampleable_keys: set[str], batch_size: int) -> Any:
        """verl's choice, the oldest first, made the same each time: among groups of one age it has no order."""
        return super()._select_prompt_uids(partition_id, sorted(sampleable_keys), batch_size)

    def _evict_terminal_groups(
        self, global_steps: int, partition_id: str, eviction_reasons: _Reasons
    ) -> tuple[set[str], int, int, dict[str, Any]]:
        """Remember what verl evicts and why, and stop a run that would replace groups for ever."""
        stale, filtered, failed, _ = eviction_reasons
        if failed:
            self._groups.replace(failed, failed & self.failure_keys[partition_id])
            check_replaced(self._groups, self._filters, self._batch_size, self._rollout_n)
        evicted, stale_count, filtered_count, metrics = super()._evict_terminal_groups(
            global_steps, partition_id, eviction_reasons
        )
        # What verl lets go for its own reasons was never counted as ours.
        self._groups.discard(stale | filtered)
        # verl takes them all for failed rollouts; `tir/filter/...` counts them apart.
        metrics.pop(f"{self._metrics_prefix(partition_id)}/rollout_failure/evicted_samples", None)
        return evicted, stale_count, filtered_count, metrics

    def _dump_finished(self, global_steps: int) -> None:
        """Write the validation groups that have finished: what is there outlives a run that is killed."""
        if self.dump is None:
            return
        rows = self._groups.read(self.finished_keys[_VALIDATION], self.partitions[_VALIDATION], _VALIDATION)
        if rows:
            self._dumped |= {row.uid for row in rows}
            self.dump.write(_VALIDATION, global_steps, rows, plan_validation(rows))

    def _counting(self, refill_fn: Callable[[int], int]) -> Callable[[int], int]:
        def refill(prompts: int) -> int:
            self._groups.budget.refilled += prompts
            return refill_fn(prompts)

        return refill

    def _check_failures(self, failed: int) -> None:
        check_failures(failed, self._batch_size, self._filters.max_failed_groups)


class TirReplayBufferAsync(TirReplayBuffer, ReplayBufferAsync):
    """For verl's asynchronous trainer modes."""

    def wait_for_sampleable(
        self, global_steps: int, partition_id: str, target_count: int
    ) -> tuple[set[str], dict[str, Any]]:
        """As verl's, which also calls it outside of `sample` and before the first; allowed shares are of the target."""
        self._batch_size = target_count
        return super().wait_for_sampleable(global_steps, partition_id, target_count)


def build_sampler(*, trainer_mode: str, **verl_kwargs: Any) -> TirReplayBuffer:
    """verl's `custom_sampler`: the replay buffer of the trainer mode, with the gates and the rules."""
    sampler = TirReplayBuffer if trainer_mode == "sync" else TirReplayBufferAsync
    return sampler(trainer_mode=trainer_mode, **verl_kwargs)
