"""Copies of the model that stay as they are while the model is trained on.

verl's `separate_async` keeps the weights at the beginning of a step to compute old log-probabilities with. It copies
them to the CPU with `.cpu()`, which on a CPU gives back the very tensor that the optimiser changes next.
"""

from __future__ import annotations

from functools import wraps
from typing import Any

import torch


def install() -> None:
    """Make verl's sharded save take real copies; inert on a second call."""
    import verl.utils.fsdp_utils as fsdp_utils

    original = fsdp_utils.fsdp2_sharded_save_to_cpu
    if hasattr(original, "__wrapped__"):
        return

    @wraps(original)
    def save(model: torch.nn.Module) -> tuple[dict[str, tuple[torch.Tensor, Any]], Any]:
        shards, spec = original(model)
        return {name: (shard.clone(), own) for name, (shard, own) in shards.items()}, spec

    fsdp_utils.fsdp2_sharded_save_to_cpu = save
