"""What a model takes on a CPU, read from its configuration: so that sizes follow the model, and are checked before Ray.

The yaml asks by OmegaConf's resolvers, `${verl_cpu.weight_bucket:...}` for one, in whichever process reads the key.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from omegaconf import OmegaConf

MIB = 2**20
_MICRO_BATCH_BYTES = 1024 * MIB
"""Of what a micro-batch keeps for its backward pass. Packed rows gain nothing from more."""
_MOST_TOKENS = 16_384
"""verl's own default for a micro-batch."""
_SMALLEST_BUCKET = 64
"""MiB, for many small weights together."""
_DTYPE_BYTES = {"float32": 4, "bfloat16": 2}


class ModelSizeError(ValueError):
    """A model's configuration cannot be read, or its type is none for a CPU; the message says which."""


def dtype_bytes(dtype: str) -> int:
    """Of a number of the type that `actor_rollout_ref.rollout.dtype` names.

    Raises:
        ModelSizeError: engine and trainer do not both have this type on a CPU.
    """
    if dtype not in _DTYPE_BYTES:
        raise ModelSizeError(f"actor_rollout_ref.rollout.dtype={dtype}: with platform=cpu it is bfloat16 or float32")
    return _DTYPE_BYTES[dtype]


@dataclass(frozen=True, slots=True)
class ModelSize:
    """Of a causal language model."""

    parameters: int
    """Tied ones once."""
    largest_weight: int
    """Its number of elements."""
    layers: int
    hidden: int
    intermediate: int
    vocabulary: int

    def bytes_per_token(self, dtype: str) -> int:
        """What one token of a micro-batch keeps for the backward pass, logits included; without checkpointing.

        Fitted to SmolLM2-135M (1.4 MB in bf16 and 2.2 MB in fp32, which this puts at 1.6 and 2.4).
        """
        wide = dtype_bytes(dtype)
        return self.layers * (50 * self.hidden + 4 * wide * self.intermediate) + 4 * wide * self.vocabulary


@cache
def model_size(path: str) -> ModelSize:
    """The size of the model at a path, or of that name; no weights are loaded.

    Raises:
        ModelSizeError: transformers knows no such model.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
        with torch.device("meta"):
            weights = list(AutoModelForCausalLM.from_config(config).parameters())
    except (OSError, ValueError) as error:
        raise ModelSizeError(
            f"actor_rollout_ref.model.path={path}: the model's configuration cannot be read ({error}); give a "
            "model's folder, or a name that transformers knows"
        ) from error
    text = config.get_text_config()
    return ModelSize(
        parameters=sum(weight.numel() for weight in weights),
        largest_weight=max(weight.numel() for weight in weights),
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        intermediate=text.intermediate_size,
        vocabulary=text.vocab_size,
    )


def weight_bucket(path: str) -> int:
    """MiB of a bucket that holds the model's largest weight in fp32, which is how verl sends it."""
    return max(_SMALLEST_BUCKET, math.ceil(4 * model_size(path).largest_weight / MIB))


def micro_batch_tokens(path: str, dtype: str, prompt: int, response: int) -> int:
    """Tokens of a micro-batch that its memory allows, and at least those of the longest row."""
    allowed = _MICRO_BATCH_BYTES // model_size(path).bytes_per_token(dtype)
    return max(prompt + response, min(allowed, _MOST_TOKENS))


def fast_dtype() -> str:
    """The type in which this processor multiplies fastest: `bfloat16` where it has instructions for it."""
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bfloat16" if fast else "float32"


def fused_optimizer(optimizer: str) -> bool:
    """Whether torch has the optimizer of this name in one pass over sharded parameters."""
    return optimizer in ("Adam", "AdamW")


def register_resolvers() -> None:
    """Let the platform's yaml ask."""
    for ask in (weight_bucket, micro_batch_tokens, fast_dtype, fused_optimizer):
        OmegaConf.register_new_resolver(f"verl_cpu.{ask.__name__}", ask, replace=True)
