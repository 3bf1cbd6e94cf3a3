"""Sizes that follow the model, as the platform's yaml asks for them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from cpu_launches import SMOLLM2, composed
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config

from verl_cpu.model_size import (
    MIB,
    ModelSize,
    ModelSizeError,
    fast_dtype,
    micro_batch_tokens,
    model_size,
    weight_bucket,
)

TINY = Qwen2Config(vocab_size=500, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2)


@pytest.fixture
def smollm2(tmp_path: Path) -> str:
    SMOLLM2.save_pretrained(tmp_path / "smollm2")
    return str(tmp_path / "smollm2")


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    TINY.save_pretrained(tmp_path / "tiny")
    return str(tmp_path / "tiny")


def test_a_models_size_is_that_of_its_weights(smollm2: str) -> None:
    """SmolLM2-135M's 134,515,008 parameters, and its tied embedding as the largest weight."""
    size = model_size(smollm2)
    assert size.parameters == 134_515_008
    assert size.largest_weight == 49_152 * 576


def test_a_bucket_holds_the_largest_weight(smollm2: str, tiny: str) -> None:
    """In fp32, as verl sends it; many small weights still go together."""
    assert 4 * 49_152 * 576 <= weight_bucket(smollm2) * MIB < 4 * 49_152 * 576 + MIB
    assert weight_bucket(tiny) == 64


def test_micro_batches_are_bounded_by_memory_and_hold_the_longest_row(smollm2: str, tiny: str) -> None:
    """1 GiB of a large model's tokens, verl's own bound for a tiny one's, and any row alone."""
    tokens = micro_batch_tokens(smollm2, "bfloat16", 100, 100)
    assert 500 < tokens < 1_000
    assert tokens * model_size(smollm2).bytes_per_token("bfloat16") <= 1024 * MIB
    assert micro_batch_tokens(smollm2, "float32", 100, 100) < tokens
    assert micro_batch_tokens(smollm2, "bfloat16", 2_000, 3_000) == 5_000
    assert micro_batch_tokens(tiny, "float32", 64, 64) == 16_384


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_what_a_token_keeps_is_about_what_torch_keeps(dtype: str) -> None:
    """Half to twice the bytes that autograd holds after a forward pass, for a model that is not all vocabulary."""
    config = LlamaConfig(
        vocab_size=1_000, hidden_size=96, intermediate_size=256, num_hidden_layers=4, num_attention_heads=4
    )
    model = LlamaForCausalLM._from_config(config, dtype=getattr(torch, dtype), attn_implementation="sdpa")
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    tokens = 200
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        logits = model(input_ids=torch.randint(0, 1_000, (1, tokens)), use_cache=False).logits
        logits.float().logsumexp(-1)
    size = ModelSize(0, 0, config.num_hidden_layers, config.hidden_size, config.intermediate_size, config.vocab_size)
    expected = size.bytes_per_token(dtype)
    assert 0.5 < expected / (sum(kept.values()) / tokens) < 2


def test_the_platform_asks_for_them(smollm2: str) -> None:
    """The composed launch has the model's sizes and one type for engine and trainer; each key can be overridden."""
    model = f"actor_rollout_ref.model.path={smollm2}"
    config = composed(model, "data.max_prompt_length=100", "data.max_response_length=60")
    actor, rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
    assert rollout.checkpoint_engine.update_weights_bucket_megabytes == weight_bucket(smollm2)
    assert rollout.dtype == actor.fsdp_config.mixed_precision.param_dtype == fast_dtype()
    tokens = micro_batch_tokens(smollm2, fast_dtype(), 100, 60)
    assert actor.ppo_max_token_len_per_gpu == rollout.log_prob_max_token_len_per_gpu == tokens
    assert config.critic.ppo_max_token_len_per_gpu == tokens
    config = composed(
        model, "actor_rollout_ref.rollout.dtype=float32", "actor_rollout_ref.actor.ppo_max_token_len_per_gpu=7"
    )
    assert config.actor_rollout_ref.actor.fsdp_config.mixed_precision.param_dtype == "float32"
    assert config.actor_rollout_ref.rollout.log_prob_max_token_len_per_gpu == 7


def test_the_fused_optimizer_is_that_of_adam(tiny: str) -> None:
    """Of actor and critic; torch's other fused optimizers take no sharded parameters."""
    model = f"actor_rollout_ref.model.path={tiny}"
    for override, expected in (("AdamW", True), ("SGD", False)):
        config = composed(
            model, f"actor_rollout_ref.actor.optim.optimizer={override}", f"critic.optim.optimizer={override}"
        )
        assert config.actor_rollout_ref.actor.optim.override_optimizer_config.fused is expected
        assert config.critic.optim.override_optimizer_config.fused is expected


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    """With its key, and not only as a file that was not found."""
    with pytest.raises(ModelSizeError, match=r"actor_rollout_ref\.model\.path=.*/none: .*give a model's folder"):
        model_size(str(tmp_path / "none"))


def test_a_type_that_is_none_for_a_cpu_is_named(tiny: str) -> None:
    """verl and vLLM know more types than run on a CPU."""
    with pytest.raises(ModelSizeError, match=r"rollout\.dtype=half: with platform=cpu it is bfloat16 or float32"):
        micro_batch_tokens(tiny, "half", 64, 64)


def test_the_fast_type_is_what_the_processor_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """bf16 with AMX or AVX-512's bf16 instructions, fp32 without."""
    for amx, avx, expected in ((True, False, "bfloat16"), (False, True, "bfloat16"), (False, False, "float32")):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda amx=amx: amx)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda avx=avx: avx)
        assert fast_dtype() == expected
