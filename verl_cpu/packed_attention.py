"""Attention for rows that hold several sequences one after the other, as verl packs them (`use_remove_padding`).

On a GPU that is flash-attention's work, which has no CPU build. transformers' own `sdpa` takes such rows too, with a
mask over all pairs of a row's tokens: its time grows with the square of the row. Here each sequence attends to itself.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

NAME = "packed_sdpa"
"""For `attn_implementation`."""


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    position_ids: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each sequence, in the shape of transformers' attention functions.

    Args:
        module: the attention layer.
        query: of shape (rows, heads, tokens, width of a head); keys and values may have fewer heads.
        key: see `query`.
        value: see `query`.
        attention_mask: None; padding at a row's end needs none, for it comes after all that may attend to it.
        dropout: probability.
        scaling: of the scores; None for the usual one.
        position_ids: of shape (rows or 1, tokens); a sequence begins where they do not go on by one.

    Returns:
        Of shape (rows, tokens, heads, width of a head), and None in place of the weights.

    Raises:
        ValueError: there are no positions, or there is a mask, or a cache of earlier tokens.
    """
    if position_ids is None or attention_mask is not None or key.shape[2] != query.shape[2]:
        raise ValueError(
            f"attn_implementation={NAME} is for training on packed rows: it needs position_ids, and takes neither a "
            "mask nor cached keys; use sdpa"
        )
    # In bf16 torch's kernel would compile a matrix product for each new length of a sequence.
    wide_query, wide_key, wide_value = query.float(), key.float(), value.float()
    rows = [
        torch.cat(
            [
                scaled_dot_product_attention(
                    wide_query[row : row + 1, :, begin:end],
                    wide_key[row : row + 1, :, begin:end],
                    wide_value[row : row + 1, :, begin:end],
                    dropout_p=dropout,
                    scale=scaling,
                    is_causal=True,
                    enable_gqa=key.shape[1] != query.shape[1],
                )
                for begin, end in _sequences(position_ids[row % len(position_ids)])
            ],
            dim=2,
        )
        for row in range(len(query))
    ]
    return torch.cat(rows).to(query.dtype).transpose(1, 2).contiguous(), None


def _sequences(positions: torch.Tensor) -> list[tuple[int, int]]:
    """Where each sequence of a row begins and ends."""
    begins = [0, *(torch.nonzero(positions.diff() != 1).view(-1) + 1).tolist()]
    return list(zip(begins, [*begins[1:], len(positions)], strict=True))


def install() -> None:
    """Let models be loaded with `attn_implementation=packed_sdpa`."""
    AttentionInterface.register(NAME, packed_attention)
