"""Attention for rows that hold several sequences one after the other, as verl packs them (`use_remove_padding`).

On a GPU that is flash-attention's work, which has no CPU build. transformers' own `sdpa` takes such rows too, with a
mask over all pairs of a row's tokens: its time grows with the square of the row. Here each sequence attends to itself.
The name stays, for a saved model's configuration has it, and is to load everywhere.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from verl_cpu.shared_prefixes import KEY

NAME = "sdpa"
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
    **further: Any,
) -> tuple[torch.Tensor, None]:
    """As transformers' `sdpa`, whose work it leaves to it unless a row's sequences are all that its mask says.

    Args:
        module: the attention layer.
        query: of shape (1, heads, tokens, width of a head); keys and values may have fewer heads.
        key: see `query`.
        value: see `query`.
        attention_mask: of shape (1, 1, tokens, tokens), True where a token may be looked at.
        dropout: probability.
        scaling: of the scores; None for the usual one.
        position_ids: of shape (1, tokens); a sequence begins where they do not go on by one.
        further: for `sdpa`.

    Returns:
        Of shape (1, tokens, heads, width of a head), and None in place of the weights.
    """
    shared = further.pop(KEY, None)
    lengths = _lengths(position_ids, attention_mask)
    if shared is not None:
        if lengths != shared.lengths:
            raise ValueError("a mask that is not of packed rows: use_remove_padding=False computes without prefixes")
        attended = shared.attend(query.float(), key.float(), value.float(), dropout=dropout, scaling=scaling)
        return attended.to(query.dtype).transpose(1, 2).contiguous(), None
    if lengths is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, position_ids=position_ids, **further
        )
    # In bf16 torch's kernel would compile a matrix product for each new length of a sequence.
    parts = zip(*(tensor.float().split(lengths, dim=2) for tensor in (query, key, value)), strict=True)
    grouped = key.shape[1] != query.shape[1]
    attended = [
        scaled_dot_product_attention(*part, dropout_p=dropout, scale=scaling, is_causal=True, enable_gqa=grouped)
        for part in parts
    ]
    return torch.cat(attended, dim=2).to(query.dtype).transpose(1, 2).contiguous(), None


def _lengths(positions: torch.Tensor | None, mask: torch.Tensor | None) -> list[int] | None:
    """Of a packed row's sequences; None where there are none, or the mask says more than them.

    A window, a bidirectional prefix or padding changes how many pairs of tokens see each other.
    """
    if positions is None or mask is None or mask.dtype != torch.bool or len(positions) != 1:
        return None
    tokens = positions.shape[-1]
    if mask.shape != (1, 1, tokens, tokens):
        return None
    begins = [0, *(torch.nonzero(positions[0].diff() != 1).view(-1) + 1).tolist()]
    lengths = [end - begin for begin, end in zip(begins, [*begins[1:], tokens], strict=True)]
    pairs = sum(length * (length + 1) // 2 for length in lengths)
    return lengths if int(mask.sum()) == pairs else None


def install() -> None:
    """Make transformers take it for `sdpa`."""
    AttentionInterface.register(NAME, packed_attention)
