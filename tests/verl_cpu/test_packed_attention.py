"""Rows of several sequences: each attends to itself, and gives what transformers' own attention gives."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedConfig, PreTrainedModel, Qwen2Config

from verl_cpu.packed_attention import NAME, install, packed_attention

install()

SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
LENGTHS = (7, 1, 12, 2)


def _model(config: PreTrainedConfig, attention: str) -> PreTrainedModel:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, attn_implementation=attention, dtype=torch.float32)


def _row() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    positions = torch.cat([torch.arange(length) for length in LENGTHS])
    return torch.randint(0, SIZES["vocab_size"], (1, sum(LENGTHS))), positions.unsqueeze(0)


@pytest.mark.parametrize("config", [LlamaConfig(**SIZES), Qwen2Config(**SIZES)], ids=["llama", "qwen2"])
def test_logits_and_gradients_are_those_of_transformers_own_attention(config: PreTrainedConfig) -> None:
    """For packed rows, which sdpa takes with a mask over the whole row, and for a row of one sequence."""
    ids, positions = _row()
    for row, where in ((ids, positions), (ids[:, :9], torch.arange(9).unsqueeze(0))):
        found = {}
        for attention in ("sdpa", NAME):
            model = _model(config, attention)
            logits = model(input_ids=row, position_ids=where, use_cache=False).logits
            logits.logsumexp(-1).sum().backward()
            found[attention] = [logits, *(weight.grad for weight in model.parameters())]
        for ours, reference in zip(found[NAME], found["sdpa"], strict=True):
            torch.testing.assert_close(ours, reference, rtol=1e-4, atol=1e-5)


def test_a_sequence_gives_the_same_in_any_company() -> None:
    """Alone, packed with others, or in a padded batch, whose padding comes after it."""
    model = _model(LlamaConfig(**SIZES), NAME)
    ids, positions = _row()
    first = LENGTHS[0]
    packed = model(input_ids=ids, position_ids=positions, use_cache=False).logits[0, :first]
    alone = model(input_ids=ids[:, :first], position_ids=positions[:, :first], use_cache=False).logits[0]
    padding = torch.zeros(1, 3, dtype=torch.long)
    batch = torch.cat([torch.cat([ids[:, :first], padding], 1), torch.cat([padding, ids[:, :first]], 1)])
    where = torch.cat([torch.cat([positions[:, :first], padding], 1), torch.arange(first + 3).unsqueeze(0)])
    padded = model(input_ids=batch, position_ids=where, use_cache=False).logits[0, :first]
    torch.testing.assert_close(packed, alone)
    torch.testing.assert_close(padded, alone)


@pytest.mark.parametrize(
    "broken",
    [
        lambda query, key: {"key": key, "position_ids": None},
        lambda query, key: {"key": key, "attention_mask": torch.ones(1, 1, 4, 4)},
        lambda query, key: {"key": torch.cat([key, key], 2)},
    ],
    ids=["no positions", "a mask", "a cache"],
)
def test_what_it_is_not_for_is_refused(broken: Callable[[torch.Tensor, torch.Tensor], dict[str, torch.Tensor]]) -> None:
    """Without a word it would attend to the wrong tokens."""
    query = torch.randn(1, 2, 4, 8)
    arguments = {"key": query, "attention_mask": None, "position_ids": torch.arange(4).unsqueeze(0)}
    arguments |= broken(query, query)
    with pytest.raises(ValueError, match="is for training on packed rows"):
        packed_attention(torch.nn.Module(), query, value=arguments["key"], **arguments)
