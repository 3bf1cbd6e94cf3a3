"""Tokens drawn from a distribution, and where vLLM calls what draws them."""

from __future__ import annotations

import inspect

import pytest
import torch

from verl_cpu.vllm_engine import register, sample


def test_tokens_come_as_often_as_their_probability() -> None:
    """Over 40,000 draws, within five standard deviations; a token that must not be drawn never comes."""
    torch.manual_seed(0)
    draws = 40_000
    logits = torch.tensor([0.0, -float("inf"), 2.0, 1.0, -3.0, -float("inf")])
    counts = torch.bincount(sample(logits.repeat(draws, 1)), minlength=len(logits)) / draws
    expected = logits.softmax(-1)
    assert ((counts - expected).abs() <= 5 * (expected * (1 - expected) / draws).sqrt()).all()
    assert counts[1] == counts[5] == 0


@pytest.mark.parametrize("number", [0.0, 1 - 2**-53])
def test_the_ends_of_the_random_numbers_are_tokens(number: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest and the largest number that can be drawn give a token of probability above zero."""
    monkeypatch.setattr(torch, "rand", lambda *shape, dtype: torch.full(shape, number, dtype=dtype))
    logits = torch.full((3, 5), -float("inf"))
    logits[0, 0] = logits[1, 2] = logits[2, 4] = 1.0
    assert sample(logits).tolist() == [0, 2, 4]


def test_every_row_has_its_own_distribution() -> None:
    """A batch of certain rows gives each row's token, in a vocabulary as large as a real one."""
    torch.manual_seed(0)
    tokens = torch.randint(0, 49_152, (64,))
    logits = torch.zeros(64, 49_152)
    logits[torch.arange(64), tokens] = 60.0
    assert torch.equal(sample(logits), tokens)


def test_vllm_draws_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The function that is replaced is the one that vLLM's sampler calls on a CPU, by its module's name."""
    from vllm.v1.sample.ops import topk_topp_sampler

    monkeypatch.setenv("VERL_PLATFORM", "cpu")
    monkeypatch.setattr(topk_topp_sampler, "compiled_random_sample", topk_topp_sampler.compiled_random_sample)
    register()
    assert topk_topp_sampler.compiled_random_sample is sample
    assert "compiled_random_sample(logits)" in inspect.getsource(topk_topp_sampler.TopKTopPSampler.forward_cpu)


def test_a_vllm_without_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is gone would leave vLLM as it is, without a word."""
    from vllm.v1.sample.ops import topk_topp_sampler

    monkeypatch.setenv("VERL_PLATFORM", "cpu")
    monkeypatch.delattr(topk_topp_sampler, "compiled_random_sample")
    with pytest.raises(RuntimeError, match=r"topk_topp_sampler\.compiled_random_sample is gone"):
        register()
