"""Rows that begin alike: each log-probability and gradient is the same with sharing, and fewer tokens are computed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import AttentionInterface

from verl_cpu import packed_attention
from verl_cpu.shared_prefixes import KEY, SharedPrefixes, common_prefix, together

SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
CONFIGS = {
    "llama": LlamaConfig(**SIZES),
    "qwen2": Qwen2Config(**SIZES),
    "qwen3": Qwen3Config(**SIZES, head_dim=8),
}


def rows(*tokens: Sequence[int]) -> list[torch.Tensor]:
    return [torch.tensor(row) for row in tokens]


CASES = {
    "one prompt, several responses": rows([1, 2, 3, 4, 5], [1, 2, 3, 9, 9, 9], [1, 2, 3, 9, 9, 8, 7]),
    "two prompts": rows([1, 2, 3, 4], [1, 2, 3, 5, 6], [7, 8, 9], [7, 8, 10, 11]),
    "nothing in common": rows([1, 2, 3], [2, 2, 3], [3]),
    "a row twice": rows([1, 2, 3], [1, 2, 3], [1, 2, 3, 4]),
    "one is the other's beginning": rows([1, 2, 3, 4, 5, 6], [1, 2, 3], [1, 2, 3, 4]),
    "one token": rows([1], [1], [1, 2]),
    "the common part grows and shrinks": rows([1, 2, 3, 4], [1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 7], [1, 2, 8], [1, 9]),
}


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    packed_attention.install()
    yield
    AttentionInterface.register("sdpa", sdpa_attention_forward)


def model_of(config: PreTrainedConfig) -> PreTrainedModel:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa", dtype=torch.float32)


def results(
    config: PreTrainedConfig, sequences: Sequence[torch.Tensor], shared: SharedPrefixes | None
) -> list[torch.Tensor]:
    """The log-probability of each token but the rows' first, and the gradients of their weighted sum."""
    model = model_of(config)
    ids = torch.cat(list(sequences))
    positions = torch.cat([torch.arange(len(row)) for row in sequences])
    labels = ids.roll(-1)
    if shared is not None:
        ids, positions, labels = (tensor[shared.computed] for tensor in (ids, positions, labels))
    further = {} if shared is None else {KEY: shared}
    logits = model(input_ids=ids[None], position_ids=positions[None], use_cache=False, **further).logits[0]
    found = logits.log_softmax(-1).gather(-1, labels[:, None])[:, 0]
    if shared is not None:
        found = found[shared.places]
    known = torch.cat([torch.arange(len(row)) < len(row) - 1 for row in sequences])
    found = found[known]
    (found * torch.linspace(-1, 2, len(found))).sum().backward()
    return [found.detach(), *(weight.grad for weight in model.parameters())]


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("case", CASES)
def test_sharing_changes_no_number(name: str, case: str) -> None:
    """Log-probabilities of all tokens, and gradients with a weight of its own for each."""
    sequences = CASES[case]
    shared = SharedPrefixes(sequences)
    if not any(shared.begins):
        assert case in ("nothing in common", "one token")
        return
    expected = results(CONFIGS[name], sequences, None)
    for ours, theirs in zip(results(CONFIGS[name], sequences, shared), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert shared.layers == SIZES["num_hidden_layers"]


@pytest.mark.parametrize("seed", range(20))
def test_random_rows(seed: int) -> None:
    """Of few different tokens, so that they share much; in the order in which they are put together."""
    rng = random.Random(seed)
    sequences = [torch.tensor([rng.randrange(2) for _ in range(rng.randint(1, 9))]) for _ in range(rng.randint(8, 12))]
    (numbers,) = together(sequences, 1_000)
    sequences = [sequences[number] for number in numbers]
    shared = SharedPrefixes(sequences)
    assert sum(shared.lengths) == len(shared.computed) < sum(map(len, sequences))
    expected = results(CONFIGS["llama"], sequences, None)
    for ours, theirs in zip(results(CONFIGS["llama"], sequences, shared), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_group_costs_its_prompt_once() -> None:
    """And one token more for each further sample: what comes after the prompt's last differs."""
    prompt = [*range(50)]
    group = rows(*([*prompt, 50 + sample, 1, 2] for sample in range(8)))
    shared = SharedPrefixes(group)
    assert shared.begins == [0, *[49] * 7]
    assert shared.lengths == [53, *[4] * 7]


def test_a_token_s_place_has_the_same_tokens_up_to_it() -> None:
    """The next one included, where the log-probability is another row's."""
    for sequences in CASES.values():
        shared = SharedPrefixes(sequences)
        ids = torch.cat(sequences)
        ends = torch.tensor([len(row) for row in sequences]).cumsum(0)
        starts = ends - torch.tensor([len(row) for row in sequences])
        for start, row, places in zip(starts, sequences, shared.rows, strict=True):
            for position in range(len(row)):
                at = shared.computed[places[position]]
                other = int((ends <= at).sum())
                assert at - starts[other] == position
                upto = position + (2 if other != int((starts <= start).sum()) - 1 else 1)
                assert ids[starts[other] : starts[other] + upto].tolist() == row[:upto].tolist()


def test_common_prefixes() -> None:
    """Of rows of different lengths, and of none."""
    pairs = [([1, 2], [1, 2], 2), ([1, 2], [1, 2, 3], 2), ([1, 2, 3], [1, 4], 1), ([1], [2], 0), ([], [1], 0)]
    for first, second, expected in pairs:
        assert common_prefix(torch.tensor(first), torch.tensor(second)) == expected


def test_rows_that_begin_alike_come_together() -> None:
    """Each row once, in as few micro-batches as the tokens that are computed allow."""
    rng = random.Random(0)
    prompts = [[rng.randrange(64) for _ in range(100)] for _ in range(6)]
    sequences = rows(*([*prompts[rng.randrange(6)], *(rng.randrange(64) for _ in range(20))] for _ in range(60)))
    for most in (130, 400, 700, 10_000):
        batches = together(sequences, most)
        assert sorted(number for batch in batches for number in batch) == list(range(60))
        computed = [len(SharedPrefixes([sequences[number] for number in batch]).computed) for batch in batches]
        assert max(computed) <= most
        assert len(batches) <= 2 * -(-sum(computed) // most)
    assert sum(computed) < 6 * 100 + 60 * 22 < 60 * 120 / 3
    # A row that is longer than the limit is computed nevertheless.
    assert together(rows([1, 2, 3], [4]), 2) == [[0], [1]]


def test_a_mask_of_another_kind_is_refused() -> None:
    """Such as a window's, whose pairs are not those of whole rows."""
    sequences = CASES["two prompts"]
    shared = SharedPrefixes(sequences)
    size = len(shared.computed)
    states = torch.zeros(1, 4, size, 8)
    positions = torch.cat([torch.arange(len(row)) for row in sequences])[shared.computed][None]
    with pytest.raises(ValueError, match="use_remove_padding=False"):
        packed_attention.packed_attention(
            torch.nn.Module(), states, states, states, torch.ones(1, 1, size, size, dtype=torch.bool),
            position_ids=positions, **{KEY: shared},
        )  # fmt: skip
