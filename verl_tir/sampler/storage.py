"""Rows of a batch in TransferQueue: read, masked, cut and taken out. The only file that talks to TransferQueue."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import transfer_queue as tq
from transfer_queue import KVBatchMeta
from verl.utils.tensordict_utils import list_of_dict_to_tensordict

from verl_tir.sampler.cut import RAGGED, RowLengths, cut_shape, misfits
from verl_tir.sampler.finished_row import FinishedRow, ResponseBudget, uid_of, verdict_of
from verl_tir.sampler.groups import Tags
from verl_tir.sampler.loss_plan import LossPlan, MaskedTokens
from verl_tir.sampler.token_rule import TokenRule, reward_at_last_token
from verl_tir.trajectory import Trajectory

logger = logging.getLogger(__name__)


_TOKEN_FIELDS = ["response_mask", "rollout_log_probs"]
_ROWS_AT_ONCE = 256
"""Rows of 16k tokens, masks and log-probabilities, then take about 50 MB of the driver's memory."""


def read_rows(keys: Sequence[str], tags: Tags, partition_id: str, *, budget: ResponseBudget) -> list[FinishedRow]:
    """The rows of `keys`, in their order.

    Args:
        keys: verl's keys of trajectories.
        tags: those of the keys.
        partition_id: `train` or `val`.
        budget: by which a row is overlong.
    """
    if not keys:
        return []
    fields = tq.kv_batch_get(keys=list(keys), partition_id=partition_id, select_fields=["extra_fields", "rm_scores"])
    rows = []
    for key, wrapped, scores in zip(keys, fields["extra_fields"], fields["rm_scores"], strict=True):
        # TransferQueue's backends return non-tensor data bare or wrapped.
        extra = getattr(wrapped, "data", wrapped)
        trajectory = Trajectory.from_record(extra["tir"])
        reward_extra = extra.get("reward_extra_info", {})
        row = FinishedRow(
            key=key,
            trajectory=trajectory,
            # `rm_scores` holds the reward at one token of each row and zeros elsewhere.
            reward=float(scores.sum()),
            verdict=verdict_of(reward_extra),
            reward_extra=reward_extra,
            overlong=budget.used_up_by(trajectory, tags[key]["seq_len"] - tags[key]["response_len"]),
            record=extra["tir"],
        )
        rows.append(row)
    return rows


@dataclass(frozen=True, slots=True)
class Cut:
    """What became of the rows that were to be cut."""

    batch: KVBatchMeta
    """The batch, with the lengths that its rows have now."""
    rows: int
    """Rows that were cut."""
    tokens: int
    """Tokens that they had and have no longer."""
    uncut_rows: int
    """Rows that could not be cut and are as they were."""

    @property
    def counts(self) -> dict[str, int]:
        """By the names of their metrics."""
        return {"cut_rows": self.rows, "cut_tokens": self.tokens, "uncut_rows": self.uncut_rows}


def cut_rows(batch: KVBatchMeta, keys: Sequence[str], rewards: Mapping[str, float], shortest: RowLengths) -> Cut:
    """Cut the rows of `keys` that are longer than `shortest` down to it, with their masks all zero.

    Each keeps its reward, now at its last token, so that its group's mean and standard deviation are the same to the
    last bit. Where the rows have a field of their length that this version does not know, all stay as they were.

    Args:
        batch: a batch that holds them, with the lengths of its rows in its tags.
        keys: rows that are out of the loss.
        rewards: the reward of each of them, by key.
        shortest: what their lengths become.
    """
    tags = dict(zip(batch.keys, batch.tags, strict=True))
    long = [key for key in keys if tags[key]["seq_len"] > shortest.sequence]
    if not long:
        return Cut(batch, 0, 0, 0)
    # The longest row: its lengths are the least likely to be those of something else as well.
    longest = max(long, key=lambda key: tags[key]["seq_len"])
    row = tq.kv_batch_get(keys=[longest], partition_id=batch.partition_id)[0]
    fields = {name: value for name, value in row.items() if isinstance(value, torch.Tensor)}
    lengths = RowLengths(tags[longest]["seq_len"] - tags[longest]["response_len"], tags[longest]["response_len"])
    unknown = misfits({name: tuple(value.shape) for name, value in fields.items()}, lengths)
    if unknown:
        logger.warning(
            "%d masked rows keep their tokens and cost as much as others: they cannot be cut without knowing more of "
            "their fields %s",
            len(long),
            ", ".join(unknown),
        )
        return Cut(batch, 0, 0, len(long))
    template: dict[str, Any] = _shortened(fields, shortest)
    if "multi_modal_inputs" in row.keys():  # noqa: SIM118 - iterating a TensorDict gives rows
        # No placeholder of an image is left in the row; verl's own padding rows carry this.
        template["multi_modal_inputs"] = {}
    cut_tags = {
        "prompt_len": shortest.prompt,
        "response_len": shortest.response,
        "seq_len": shortest.sequence,
    }
    cut = {key: template | {"rm_scores": _at_the_end(template["rm_scores"], rewards[key])} for key in long}
    tokens = sum(tags[key]["seq_len"] - shortest.sequence for key in long)
    tags |= {key: tags[key] | cut_tags for key in long}
    _overwrite(cut, batch.partition_id, [tags[key] for key in long])
    return Cut(_with_rows(batch, {key: tags[key] for key in batch.keys}), len(long), tokens, 0)


def _shortened(fields: Mapping[str, torch.Tensor], to: RowLengths) -> dict[str, torch.Tensor]:
    """A row's fields of its length, as a valid row of the lengths `to` that has neither mask nor reward."""
    known = {name: value for name, value in fields.items() if name in RAGGED}
    short = {name: value.new_zeros(cut_shape(name, tuple(value.shape), to)) for name, value in known.items()}
    # What the model or the tool wrote is text: no token of it stands for a part of an image.
    token = int(fields["responses"][-1])
    for name in ("prompts", "responses", "input_ids"):
        short[name].fill_(token)
    if "attention_mask" in short:
        short["attention_mask"].fill_(1)
    short["position_ids"] += torch.arange(to.sequence, dtype=short["position_ids"].dtype)
    return short


def _at_the_end(scores: torch.Tensor, reward: float) -> torch.Tensor:
    scores = scores.clone()
    scores[-1] = reward
    return scores


def mask_rows(batch: KVBatchMeta, plan: LossPlan) -> None:
    """Overwrite the masks of the plan's masked rows with zeros, or with one token of `loss_mask` for an anchor."""
    lengths = {key: tag["response_len"] for key, tag in zip(batch.keys, batch.tags, strict=True)}
    anchors = set(plan.loss_anchors)
    rows: dict[str, dict[str, Any]] = {}
    for key in plan.mask:
        response_mask = torch.zeros(lengths[key], dtype=torch.int64)
        loss_mask = response_mask.clone()
        loss_mask[0] = int(key in anchors)
        rows[key] = {"response_mask": response_mask, "loss_mask": loss_mask}
    _overwrite(rows, batch.partition_id)


def mask_tokens(rows: Sequence[FinishedRow], rule: TokenRule, partition_id: str) -> MaskedTokens:
    """Overwrite the masks of the rows, each of which trains, with what the rule leaves of them.

    The reward of a row whose last token is not in the loss moves to its last one that is.
    """
    concerned = [row for row in rows if row.ends_in_observation or rule.applies_to(row)]
    names = _TOKEN_FIELDS[:1] if rule.min_probability is None else _TOKEN_FIELDS
    shortened = tokens = low_probability = 0
    empty_rows: set[str] = set()
    for start in range(0, len(concerned), _ROWS_AT_ONCE):
        part = concerned[start : start + _ROWS_AT_ONCE]
        stored = tq.kv_batch_get(keys=[row.key for row in part], partition_id=partition_id, select_fields=names)
        columns = [stored[name].unbind() if name in names else [None] * len(part) for name in _TOKEN_FIELDS]
        changed: dict[str, dict[str, Any]] = {}
        for row, mask, log_probs in zip(part, *columns, strict=True):
            after = rule.mask(row, mask, log_probs)
            lost = int(mask.sum() - after.mask.sum())
            shortened += lost > 0
            tokens += lost
            low_probability += after.low_probability
            if not after.mask.any():
                empty_rows.add(row.key)
            elif lost or not after.mask[-1]:
                # What left the loss leaves verl's denominators too.
                masks = {"response_mask": after.mask, "loss_mask": after.mask.clone()}
                changed[row.key] = masks | {"rm_scores": reward_at_last_token(after.mask, row.reward)}
        _overwrite(changed, partition_id)
    return MaskedTokens(shortened, tokens, low_probability, frozenset(empty_rows))


def set_apart(key: str, batch: KVBatchMeta) -> None:
    """Give a row a group of its own and a reward of zero: verl's advantage of it is zero, and so is its gradient.

    Where this is needed no row of the batch has a gradient.
    """
    logger.warning(
        "none of the %d trajectories of this batch can train (void, overlong or aborted): the update has zero gradient",
        len(batch.keys),
    )
    length = batch.tags[batch.keys.index(key)]["response_len"]
    _overwrite({key: {"uid": f"{uid_of(key)}-apart", "rm_scores": torch.zeros(length)}}, batch.partition_id)


def without(batch: KVBatchMeta, drop: Sequence[str]) -> KVBatchMeta:
    """Take rows out of the batch and out of TransferQueue; verl pads what is left to whole mini-batches."""
    if not drop:
        return batch
    tq.kv_clear(partition_id=batch.partition_id, keys=list(drop))
    dropped = set(drop)
    return _with_rows(batch, {key: tag for key, tag in zip(batch.keys, batch.tags, strict=True) if key not in dropped})


def _overwrite(
    rows: Mapping[str, Mapping[str, Any]], partition_id: str, tags: list[dict[str, Any]] | None = None
) -> None:
    """Write these fields of stored rows, by key; all rows have the same."""
    if rows:
        fields = list_of_dict_to_tensordict([dict(row) for row in rows.values()])
        tq.kv_batch_put(keys=list(rows), partition_id=partition_id, fields=fields, tags=tags)


def _with_rows(batch: KVBatchMeta, tags: Mapping[str, dict[str, Any]]) -> KVBatchMeta:
    """The batch with these rows and tags, in their order."""
    return KVBatchMeta(
        partition_id=batch.partition_id,
        keys=list(tags),
        tags=list(tags.values()),
        fields=batch.fields,
        extra_info=batch.extra_info,
    )
