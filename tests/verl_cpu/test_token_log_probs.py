"""Log-probabilities of tokens, and their gradients, against torch's own log-softmax."""

from __future__ import annotations

import pytest
import torch
from verl.utils.torch_functional import logprobs_from_logits_v2

from verl_cpu.token_log_probs import token_log_probs

ROWS, VOCABULARY = 300, 500
"""More rows than are computed at once."""


def _inputs(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits, labels, and weights of the loss: nothing in a first stretch longer than what is computed at once."""
    generator = torch.Generator().manual_seed(0)
    logits = (torch.randn(ROWS, VOCABULARY, generator=generator) * 4).to(dtype).requires_grad_()
    weights = torch.randn(ROWS, generator=generator)
    weights[:270:2] = 0
    weights[:258] = 0
    return logits, torch.randint(0, VOCABULARY, (ROWS,), generator=generator), weights


def _reference(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return logits.double().log_softmax(-1).gather(-1, labels.unsqueeze(-1)).squeeze(-1)


@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-5), (torch.bfloat16, 4e-3)])
def test_values_and_gradients(dtype: torch.dtype, close: float) -> None:
    """The values are exact for logits of any type; the gradients are rounded to it."""
    logits, labels, weights = _inputs(dtype)
    found = token_log_probs(logits, labels)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), _reference(logits, labels), rtol=1e-5, atol=1e-5)
    (found * weights).sum().backward()
    exact = logits.detach().double().requires_grad_()
    (_reference(exact, labels) * weights).sum().backward()
    torch.testing.assert_close(logits.grad.double(), exact.grad, rtol=2 * close, atol=close)


def test_every_shape_of_verls() -> None:
    """Packed tokens, and batches of rows."""
    logits, labels, _ = _inputs(torch.float32)
    flat = token_log_probs(logits, labels)
    batched = token_log_probs(logits.view(3, 100, VOCABULARY), labels.view(3, 100))
    assert torch.equal(batched, flat.view(3, 100))


def test_verls_own_rounds_them() -> None:
    """Which is why there is this one; when verl mends it, this file and what it tests can go."""
    logits, labels, _ = _inputs(torch.bfloat16)
    exact = _reference(logits, labels)
    theirs = (logprobs_from_logits_v2(logits, labels).double() - exact).abs().max()
    ours = (token_log_probs(logits, labels).double() - exact).abs().max()
    assert theirs > 0.02
    assert ours < 1e-4
