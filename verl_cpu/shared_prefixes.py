"""What rows of a micro-batch have in common at their beginnings is computed once.

The samples of a group begin with the same prompt, and often with the same first tokens of a response. verl computes
them again for each row: its `use_prefix_grouper` is not for the engine of the V1 trainer. On a CPU that is most of an
update where prompts are longer than responses. Here rows that begin alike come into one micro-batch, one after the
other; of each only what its predecessor does not have goes through the model, and its tokens attend to the
predecessor's too. Each log-probability, and each gradient, is what it would be without that, but for rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import wraps
from itertools import pairwise
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from verl_cpu.post_import import when_imported

ENGINE = "verl.workers.engine.fsdp.transformer_impl"
KEY = "shared_prefixes"
"""Under which a model passes a `SharedPrefixes` on to its attention."""


class SharedPrefixes:
    """Which of a packed micro-batch's tokens are computed, and where what was computed for each of them lies.

    Not a dataclass: FSDP would copy it on its way to the attention, which counts here.
    """

    def __init__(self, rows: Sequence[torch.Tensor]) -> None:
        """Find what each row, token ids of shape (length,), shares with the one before."""
        # The last token in common is computed again: what comes after it differs, and so does its log-probability.
        self.begins = [0, *(max(0, common_prefix(before, row) - 1) for before, row in pairwise(rows))]
        """Of each row, the first token that is computed for it."""
        self.lengths = [len(row) - begin for begin, row in zip(self.begins, rows, strict=True)]
        """Computed tokens of each row."""
        self.rows: list[torch.Tensor] = []
        """Of each row's tokens the places among the computed ones, or those of the predecessor's; shapes (length,)."""
        for own, begin in zip(torch.arange(sum(self.lengths)).split(self.lengths), self.begins, strict=True):
            self.rows.append(torch.cat([self.rows[-1][:begin], own]) if begin else own)
        self.places = torch.cat(self.rows)
        """The same for all tokens; shape (tokens,)."""
        starts = torch.tensor([0, *map(len, rows)]).cumsum(0).tolist()
        self.computed = torch.cat(
            [
                torch.arange(start + begin, end)
                for begin, (start, end) in zip(self.begins, pairwise(starts), strict=True)
            ]
        )
        """Of all tokens those that are computed, in order; shape (computed,)."""
        self.masks = [
            torch.ones(length, length + begin, dtype=torch.bool).tril(begin) if begin else None
            for begin, length in zip(self.begins, self.lengths, strict=True)
        ]
        """Of each row, which of its tokens its computed ones may look at, shape (computed, length); None where all of
        them are computed, and the mask is the usual one."""
        self.layers = 0
        """Attention layers that have used it."""

    def attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        dropout: float,
        scaling: float | None,
    ) -> torch.Tensor:
        """Attention of each row's computed tokens to the row's tokens; shapes (1, heads, computed, width of a head)."""
        self.layers += 1
        grouped = key.shape[1] != query.shape[1]
        attended = [
            scaled_dot_product_attention(
                own,
                key.index_select(2, places),
                value.index_select(2, places),
                attn_mask=mask,
                dropout_p=dropout,
                scale=scaling,
                is_causal=mask is None,
                enable_gqa=grouped,
            )
            for own, places, mask in zip(query.split(self.lengths, dim=2), self.rows, self.masks, strict=True)
        ]
        return torch.cat(attended, dim=2)


def common_prefix(first: torch.Tensor, second: torch.Tensor) -> int:
    """How many tokens two rows begin with alike."""
    length = min(len(first), len(second))
    different = torch.nonzero(first[:length] != second[:length])
    return int(different[0]) if len(different) else length


def together(rows: Sequence[torch.Tensor], most: int) -> list[list[int]]:
    """Rows in as few micro-batches as fit, those that begin alike side by side.

    Args:
        rows: token ids, shapes (length of the row,).
        most: tokens computed of a micro-batch; a longer row has one of its own.

    Returns:
        The rows' numbers, each once.
    """
    order = sorted(range(len(rows)), key=lambda number: rows[number].tolist())
    batches: list[list[int]] = []
    held = 0
    for number in order:
        row = rows[number]
        new = len(row) - max(0, common_prefix(rows[batches[-1][-1]], row) - 1) if batches else 0
        if not batches or held + new > most:
            batches.append([])
            held, new = 0, len(row)
        batches[-1].append(number)
        held += new
    return batches


def install() -> None:
    """Have verl's FSDP engine share prefixes, in the process that has one."""
    when_imported(ENGINE, _patch)


_sharing = False
"""Whether the engine that computes now shares."""


def _patch(engine: Any) -> None:
    model, prepare = engine.FSDPEngineWithLMHead, engine.prepare_micro_batches
    if hasattr(prepare, "__wrapped__"):
        # A process that was activated twice: what has been left out cannot be left out again.
        return
    inputs, outputs, unpad = (
        model.prepare_model_inputs,
        model.prepare_model_outputs,
        model._gather_and_unpad_packed,
    )
    batch = model.forward_backward_batch

    @wraps(batch)
    def forward_backward_batch(self: Any, data: Any, *args: Any, **kwargs: Any) -> Any:
        global _sharing
        _sharing = _may_share(self, engine, data)
        try:
            return batch(self, data, *args, **kwargs)
        finally:
            _sharing = False

    @wraps(prepare)
    def prepare_micro_batches(data: Any, *args: Any, **kwargs: Any) -> Any:
        if not _sharing:
            return prepare(data, *args, **kwargs)
        batches = together(data["input_ids"].unbind(), data["max_token_len_per_gpu"])
        return [engine.tu.index_select_tensor_dict(data, numbers) for numbers in batches], batches

    @wraps(inputs)
    def prepare_model_inputs(self: Any, micro_batch: Any) -> Any:
        model_inputs, output_args = inputs(self, micro_batch)
        if not _sharing:
            return model_inputs, output_args
        shared = SharedPrefixes(micro_batch["input_ids"].unbind())
        if not any(shared.begins):
            return model_inputs, output_args
        for name in ("input_ids", "position_ids"):
            model_inputs[name] = model_inputs[name][:, shared.computed]
        for name in ("input_ids_rmpad_rolled", "temperature_rmpad"):
            output_args[name] = output_args[name][shared.computed]
        self._shared_prefixes = shared
        return model_inputs | {KEY: shared}, output_args

    @wraps(outputs)
    def prepare_model_outputs(self: Any, *args: Any, **kwargs: Any) -> Any:
        shared = getattr(self, "_shared_prefixes", None)
        try:
            if shared is not None and not shared.layers:
                raise RuntimeError(
                    f"{type(self.module).__name__} does not pass keywords on to its attention, and so cannot share "
                    "prefixes: set actor_rollout_ref.model.use_remove_padding=False"
                )
            return outputs(self, *args, **kwargs)
        finally:
            self._shared_prefixes = None

    @wraps(unpad)
    def gather_and_unpad_packed(self: Any, tensor: torch.Tensor, pad_size: int) -> torch.Tensor:
        result = unpad(self, tensor, pad_size)
        shared = getattr(self, "_shared_prefixes", None)
        return result if shared is None else result[shared.places]

    model.forward_backward_batch, model.prepare_model_inputs = forward_backward_batch, prepare_model_inputs
    model.prepare_model_outputs, model._gather_and_unpad_packed = prepare_model_outputs, gather_and_unpad_packed
    engine.prepare_micro_batches = prepare_micro_batches


def _may_share(self: Any, engine: Any, data: Any) -> bool:
    """Whether this engine's rows are plain text, packed, seen whole by each layer, and all of this process's."""

    def told(key: str, default: object) -> Any:
        return engine.tu.get_non_tensor_data(data=data, key=key, default=default)

    config = self.model_config.hf_config
    windows = {*(getattr(config, "layer_types", None) or ())} - {"full_attention"}
    return (
        not isinstance(self, engine.FSDPEngineWithValueHead)
        and told("use_remove_padding", True)
        and told("use_dynamic_bsz", True)
        and not told("use_fused_kernels", False)
        and not told("distillation_use_topk", False)
        and told("force_group_size", 1) == 1
        and not self.pad_to_length
        and not getattr(self, "pass_packed_cu_seqlens", False)
        and not self.use_ulysses_sp
        and torch.distributed.get_world_size() == 1
        and data["position_ids"].dim() == 2
        and not engine.extract_multi_modal_inputs(data.get("multi_modal_inputs", []))
        and config._attn_implementation == "sdpa"
        and not windows
        and not (getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True))
    )
