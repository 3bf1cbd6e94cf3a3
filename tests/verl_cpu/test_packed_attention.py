"""Rows of several sequences: each attends to itself, and gives what transformers' own attention gives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
)
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import AttentionInterface

import verl_cpu.packed_attention as packed_attention

SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
LENGTHS = (7, 1, 12, 2)
CONFIGS = {"llama": LlamaConfig(**SIZES), "qwen2": Qwen2Config(**SIZES)}


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    yield
    AttentionInterface.register("sdpa", sdpa_attention_forward)


@pytest.fixture
def left_to_transformers(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The tokens of each call that the platform's attention leaves to transformers' own."""
    calls: list[int] = []

    def counted(module: torch.nn.Module, query: torch.Tensor, *rest: Any, **further: Any) -> Any:
        calls.append(query.shape[2])
        return sdpa_attention_forward(module, query, *rest, **further)

    monkeypatch.setattr(packed_attention, "sdpa_attention_forward", counted)
    return calls


def _model(config: PreTrainedConfig) -> PreTrainedModel:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa", dtype=torch.float32)


def _row() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    positions = torch.cat([torch.arange(length) for length in LENGTHS])
    return torch.randint(0, SIZES["vocab_size"], (1, sum(LENGTHS))), positions.unsqueeze(0)


def _results(config: PreTrainedConfig, ids: torch.Tensor, **inputs: torch.Tensor) -> list[torch.Tensor]:
    """Logits, and the gradients of all weights."""
    model = _model(config)
    logits = model(input_ids=ids, use_cache=False, **inputs).logits
    logits.logsumexp(-1).sum().backward()
    return [logits.detach(), *(weight.grad for weight in model.parameters())]


def _same_as_transformers(config: PreTrainedConfig, ids: torch.Tensor, **inputs: torch.Tensor) -> None:
    AttentionInterface.register("sdpa", sdpa_attention_forward)
    expected = _results(config, ids, **inputs)
    packed_attention.install()
    for ours, theirs in zip(_results(config, ids, **inputs), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_packed_rows_give_what_transformers_gives(name: str, left_to_transformers: list[int]) -> None:
    """Logits and gradients, without its mask over the whole row."""
    ids, positions = _row()
    _same_as_transformers(CONFIGS[name], ids, position_ids=positions)
    assert not left_to_transformers


def test_a_sequence_gives_the_same_in_any_company() -> None:
    """Alone, or packed with others."""
    packed_attention.install()
    model = _model(CONFIGS["llama"])
    ids, positions = _row()
    first = LENGTHS[0]
    packed = model(input_ids=ids, position_ids=positions, use_cache=False).logits[0, :first]
    alone = model(input_ids=ids[:, :first], position_ids=positions[:, :first], use_cache=False).logits[0]
    torch.testing.assert_close(packed, alone)


def test_what_is_more_than_packed_rows_is_left_to_transformers(left_to_transformers: list[int]) -> None:
    """A padded batch, a sliding window over packed rows, and a row of one sequence."""
    ids, positions = _row()
    padded = ids.view(2, 11)
    mask = torch.ones(2, 11, dtype=torch.long)
    mask[1, 6:] = 0
    _same_as_transformers(CONFIGS["llama"], padded, attention_mask=mask)
    _same_as_transformers(MistralConfig(**SIZES, sliding_window=4), ids, position_ids=positions)
    _same_as_transformers(CONFIGS["llama"], ids, position_ids=torch.arange(ids.shape[1]).unsqueeze(0))
    assert left_to_transformers == [11, 11, 22, 22, 22, 22]


def test_a_saved_configuration_loads_everywhere() -> None:
    """The name that a checkpoint's configuration has is transformers' own."""
    packed_attention.install()
    assert _model(CONFIGS["llama"]).config._attn_implementation == "sdpa"
    assert packed_attention.NAME == "sdpa"
