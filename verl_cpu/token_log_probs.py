"""Log-probabilities of a response's tokens from logits of a large vocabulary.

verl's own way for a machine without flash-attention's kernel goes token by token, and for bf16 logits it rounds the
log-probabilities to bf16: to a hundredth of what they are, and the importance ratios with them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.autograd.function import once_differentiable

_ROWS = 256
"""Computed at once in fp32: with a vocabulary of 49,152 that takes 50 MB."""


class _TokenLogProbs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        picked = logits.gather(-1, labels.unsqueeze(-1)).squeeze(-1).float()
        normalizer = torch.cat([logits[rows].float().logsumexp(-1) for rows in _slices(len(logits))])
        ctx.save_for_backward(logits, labels, normalizer)
        return picked - normalizer

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        logits, labels, normalizer = ctx.saved_tensors
        result = torch.zeros_like(logits)
        for rows in _slices(len(logits)):
            # Of a prompt and of tool output nothing is learned.
            inside = gradient[rows].nonzero().view(-1) + rows.start
            if len(inside) == 0:
                continue
            slope = logits[inside].float().sub_(normalizer[inside].unsqueeze(-1)).exp_().neg_()
            slope[torch.arange(len(inside)), labels[inside]] += 1
            result[inside] = slope.mul_(gradient[inside].unsqueeze(-1)).to(result.dtype)
        return result, None


def _slices(length: int) -> Iterator[slice]:
    return (slice(begin, min(begin + _ROWS, length)) for begin in range(0, length, _ROWS))


def token_log_probs(logits: torch.Tensor, labels: torch.Tensor, inplace_backward: bool = True) -> torch.Tensor:
    """As verl's `logprobs_from_logits`, computed in fp32 whatever the type of the logits.

    Args:
        logits: of shape (..., vocabulary).
        labels: token ids of shape (...).
        inplace_backward: for verl; the logits stay as they are.

    Returns:
        Natural logarithms, fp32, of the shape of `labels`.
    """
    flat = _TokenLogProbs.apply(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1))
    return flat.view(labels.shape)


def install() -> None:
    """Make verl's FSDP engine, which imports the function by name, take this one."""
    import verl.utils.torch_functional as torch_functional

    torch_functional.logprobs_from_logits = token_log_probs
