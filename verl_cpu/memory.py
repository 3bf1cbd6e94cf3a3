"""Does a launch fit into this machine's memory? Checked before Ray starts, for the kernel kills without a word.

The figures are sums of the processes' proportional set sizes, read while stock verl trained SmolLM2-135M (11.5 GiB,
which this puts at 10.6) and the demo's tiny model (6.6, put at 7.4).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from verl_cpu.model_size import ModelSizeError, dtype_bytes, model_size

_GIB = 2**30
_PROCESSES = 4.2 * _GIB
"""Of verl's, vLLM's and Ray's processes without any model: mostly what each of them imports."""
_RANK_PROCESSES = 1.2 * _GIB
"""The same, for a trainer's process and an engine's."""
_MASTER_BYTES = 20
"""Of a trained parameter: fp32 weight, gradient, gradient of the micro-batches so far, and AdamW's two moments."""
_FROZEN_BYTES = 4
_TOLERANCE = 1.15
"""What is refused needs more than what is free by so much: the estimate is no better."""


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes that all processes of a launch take together at their most."""

    processes: float
    trainer: float
    """Weights, gradients and optimizer states of all that is trained, and frozen copies."""
    micro_batches: float
    """What the forward pass keeps for the backward pass, on all ranks."""
    engines: float
    """vLLM's weights and KV caches."""
    weight_sync: float

    @property
    def total(self) -> float:
        """Of all parts."""
        return self.processes + self.trainer + self.micro_batches + self.engines + self.weight_sync

    def __str__(self) -> str:
        parts = {
            "processes": self.processes,
            "weights, gradients and optimizer": self.trainer,
            "micro-batches": self.micro_batches,
            "vLLM's weights and KV cache": self.engines,
            "weight sync": self.weight_sync,
        }
        return ", ".join(f"{name} {part / _GIB:.1f}" for name, part in parts.items())


def estimate(config: DictConfig) -> MemoryEstimate:
    """What a launch takes, by its composed configuration.

    Raises:
        ModelSizeError: the model's configuration cannot be read.
    """
    actor_rollout = config.actor_rollout_ref
    rollout = actor_rollout.rollout
    ranks = config.trainer.n_gpus_per_node
    size = model_size(actor_rollout.model.path)
    wide = dtype_bytes(rollout.dtype)
    reference = actor_rollout.actor.use_kl_loss or config.algorithm.use_kl_in_reward
    # As verl decides it.
    critic = config.algorithm.adv_estimator == "gae" if config.critic.enable is None else config.critic.enable
    row = config.data.max_prompt_length + config.data.max_response_length
    batch = config.data.train_batch_size * rollout.n * row // ranks
    tokens = min(actor_rollout.actor.ppo_max_token_len_per_gpu, batch)
    environment = config.ray_kwargs.ray_init.runtime_env.env_vars
    cache = int(environment.VLLM_CPU_KVCACHE_SPACE) * _GIB
    return MemoryEstimate(
        processes=_PROCESSES + ranks * _RANK_PROCESSES,
        trainer=size.parameters * (_MASTER_BYTES * (1 + critic) + _FROZEN_BYTES * reference + wide),
        micro_batches=ranks * tokens * size.bytes_per_token(rollout.dtype),
        engines=ranks * (size.parameters * wide + cache),
        weight_sync=2 * rollout.checkpoint_engine.update_weights_bucket_megabytes * 2**20,
    )


def available_bytes(root: Path = Path("/sys/fs/cgroup")) -> int:
    """Memory that new processes may take: the machine's, or less where a control group bounds this one."""
    free = psutil.virtual_memory().available
    # Version 2, then version 1; a container sees its own group here.
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        if (root / limit).exists():
            bound = (root / limit).read_text(encoding="ascii").strip()
            if bound != "max":
                free = min(free, int(bound) - int((root / used).read_text(encoding="ascii")))
    return free


class CheckMemory(Callback):
    """A Hydra callback of launches with `+platform=cpu`."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Stop a launch that does not fit.

        Raises:
            SystemExit: with the estimate by parts; Hydra turns other exceptions of a callback into warnings.
        """
        complaint = memory_complaint(config)
        if complaint is not None:
            raise SystemExit(complaint)


def memory_complaint(config: DictConfig, available: int | None = None) -> str | None:
    """Why a launch cannot run in `available` bytes, this machine's if None; None if it can, or its model is unknown."""
    try:
        needed = estimate(config)
    except ModelSizeError:
        # verl meets the same error when it resolves its configuration, and ends with it.
        return None
    free = available_bytes() if available is None else available
    if needed.total <= free * _TOLERANCE:
        return None
    return (
        f"verl_cpu: the launch was stopped, nothing was started: actor_rollout_ref.model.path="
        f"{config.actor_rollout_ref.model.path} needs about {needed.total / _GIB:.1f} GiB ({needed}) and "
        f"{free / _GIB:.1f} GiB are free: take a smaller model, or lower "
        "actor_rollout_ref.actor.ppo_max_token_len_per_gpu, or free memory"
    )
