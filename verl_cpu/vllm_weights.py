"""Weights that verl can update in vLLM on a CPU; loaded through vLLM's entry point `vllm.general_plugins`.

vLLM's CPU backend packs linear weights when it loads them and drops the originals, so that verl's weight sync, which
loads new values into the original parameters, fails. With the originals kept and plain `linear`, it works.
"""

from __future__ import annotations

import os


def register() -> None:
    """Keep the original weights, if verl runs on the CPU.

    Raises:
        RuntimeError: this vLLM packs its weights elsewhere, so that a weight sync would fail or be lost.
    """
    if os.environ.get("VERL_PLATFORM") != "cpu":
        return
    import torch
    from vllm.model_executor.layers import utils

    if not hasattr(utils, "dispatch_cpu_unquantized_gemm"):
        raise RuntimeError(
            "verl-tir: vllm.model_executor.layers.utils.dispatch_cpu_unquantized_gemm is gone from this vLLM; "
            "install the versions in constraints/cpu.txt"
        )

    def keep_weights(layer: torch.nn.Module, remove_weight: bool) -> None:
        layer.cpu_linear = torch.nn.functional.linear

    utils.dispatch_cpu_unquantized_gemm = keep_weights
