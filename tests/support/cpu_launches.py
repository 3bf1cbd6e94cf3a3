"""Launches on the CPU platform, composed and not run."""

from __future__ import annotations

from hydra import compose, initialize_config_module
from omegaconf import DictConfig
from transformers import LlamaConfig

SMOLLM2 = LlamaConfig(
    vocab_size=49_152,
    hidden_size=576,
    intermediate_size=1_536,
    num_hidden_layers=30,
    num_attention_heads=9,
    num_key_value_heads=3,
    tie_word_embeddings=True,
)
"""The shape of SmolLM2-135M."""


def composed(*overrides: str) -> DictConfig:
    """A launch on this platform, by verl's own configuration."""
    import verl  # noqa: F401 - its plugins put the platform on Hydra's search path

    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose("ppo_trainer", ["+platform=cpu", *overrides])
