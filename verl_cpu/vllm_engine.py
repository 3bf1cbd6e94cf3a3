"""vLLM's engine on a CPU, with weights that verl can update; loaded through its entry point `vllm.general_plugins`."""

from __future__ import annotations

import os

import torch


def register() -> None:
    """Change vLLM in this process, if verl runs on the CPU.

    Raises:
        RuntimeError: this vLLM has its parts elsewhere, so that a weight sync would fail or be lost.
    """
    if os.environ.get("VERL_PLATFORM") != "cpu":
        return
    from vllm.model_executor.layers import utils
    from vllm.v1.sample.ops import topk_topp_sampler

    for module, name in ((utils, "dispatch_cpu_unquantized_gemm"), (topk_topp_sampler, "compiled_random_sample")):
        if not hasattr(module, name):
            raise RuntimeError(
                f"verl-tir: {module.__name__}.{name} is gone from this vLLM; "
                "install the versions in constraints/cpu.txt"
            )
    utils.dispatch_cpu_unquantized_gemm = _keep_weights
    topk_topp_sampler.compiled_random_sample = sample


def _keep_weights(layer: torch.nn.Module, remove_weight: bool) -> None:
    """Compute with the original weights.

    vLLM's CPU backend packs linear weights when it loads them and drops the originals, so that verl's weight sync,
    which loads new values into the original parameters, fails.
    """
    layer.cpu_linear = torch.nn.functional.linear


def sample(logits: torch.Tensor) -> torch.Tensor:
    """Draw a token for each row by inverting its distribution function; with one random number a row.

    vLLM draws one for each token of the vocabulary, on one core: at 49,152 tokens that takes as long as the model.

    Args:
        logits: of shape (rows, vocabulary); a token that must not be drawn has -inf.

    Returns:
        Token ids of shape (rows,).
    """
    cumulative = logits.softmax(dim=-1, dtype=torch.float32).cumsum(dim=-1, dtype=torch.float64)
    # Above zero, so that the first token to reach it has a probability above zero itself.
    drawn = (1 - torch.rand(len(cumulative), 1, dtype=torch.float64)) * cumulative[:, -1:]
    return torch.searchsorted(cumulative, drawn).view(-1)
