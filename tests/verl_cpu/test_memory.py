"""A launch that does not fit into memory is refused before anything starts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cpu_launches import SMOLLM2, composed
from launches import Launcher
from transformers import Qwen2Config

from verl_cpu.memory import available_bytes, estimate, memory_complaint

GIB = 2**30


def smollm2(folder: Path) -> list[str]:
    """A launch like the demo's with a real model."""
    SMOLLM2.save_pretrained(folder / "smollm2")
    return [
        f"actor_rollout_ref.model.path={folder / 'smollm2'}",
        "algorithm.adv_estimator=grpo",
        "data.max_prompt_length=320",
        "data.max_response_length=192",
        "data.train_batch_size=8",
        "actor_rollout_ref.rollout.n=12",
    ]


def test_the_estimate_is_about_what_was_measured(tmp_path: Path) -> None:
    """11.5 GiB of proportional set sizes, in bf16 on one rank."""
    launch = [*smollm2(tmp_path), "actor_rollout_ref.rollout.dtype=bfloat16"]
    whole = estimate(composed(*launch))
    assert 10 * GIB < whole.total < 12 * GIB
    assert whole.trainer == 134_515_008 * 22


@pytest.mark.parametrize(
    ("override", "gibibytes"),
    [
        ("algorithm.use_kl_in_reward=true", 134_515_008 * 4 / GIB),
        ("algorithm.adv_estimator=gae", 134_515_008 * 20 / GIB),
        ("actor_rollout_ref.rollout.checkpoint_engine.update_weights_bucket_megabytes=620", 1.0),
        ("trainer.n_gpus_per_node=2", 1.2 + 1.0 + 1.0 + 134_515_008 * 2 / GIB),
    ],
    ids=["a reference policy", "a critic", "a larger bucket", "a second rank"],
)
def test_what_a_launch_adds_is_counted(override: str, gibibytes: float, tmp_path: Path) -> None:
    """Each in bytes of its own."""
    launch = [*smollm2(tmp_path), "actor_rollout_ref.rollout.dtype=bfloat16"]
    more = estimate(composed(*launch, override)).total - estimate(composed(*launch)).total
    assert more / GIB == pytest.approx(gibibytes, abs=0.02)


def test_a_launch_that_fits_is_left_alone_and_another_told_its_parts(tmp_path: Path) -> None:
    """The message has the estimate, its parts, what is free, and what to change."""
    config = composed(*smollm2(tmp_path))
    assert memory_complaint(config, available=16 * GIB) is None
    complaint = memory_complaint(config, available=4 * GIB)
    assert complaint is not None
    for said in ("nothing was started", "weights, gradients and optimizer 2.", "4.0 GiB are free", "smaller model"):
        assert said in complaint


def test_a_model_that_is_not_there_is_left_to_verl(tmp_path: Path) -> None:
    """Which ends with its name when it resolves the configuration; another check may have more to say before."""
    assert memory_complaint(composed(f"actor_rollout_ref.model.path={tmp_path / 'none'}"), available=1) is None


def test_a_model_of_seven_billion_is_refused_before_ray_starts(launch: Launcher, tmp_path: Path) -> None:
    """By verl's own launch command, in the time that composing takes."""
    Qwen2Config(
        hidden_size=3_584,
        intermediate_size=18_944,
        num_hidden_layers=28,
        num_attention_heads=28,
        num_key_value_heads=4,
        vocab_size=152_064,
    ).save_pretrained(tmp_path / "large")
    done = launch("+platform=cpu", f"actor_rollout_ref.model.path={tmp_path / 'large'}", cwd=tmp_path)
    assert done.returncode != 0
    assert "verl_cpu: the launch was stopped, nothing was started" in done.stdout
    assert re.search(r"needs about \d{3}\.\d GiB", done.stdout)
    assert "Started a local Ray instance" not in done.stdout


@pytest.mark.parametrize(
    ("files", "bound"),
    [
        ({"memory.max": "3000000\n", "memory.current": "1000000\n"}, 2_000_000),
        ({"memory.max": "max\n", "memory.current": "1000000\n"}, None),
        ({"memory/memory.limit_in_bytes": "5000000\n", "memory/memory.usage_in_bytes": "1\n"}, 4_999_999),
        ({}, None),
    ],
    ids=["version 2", "version 2, unbounded", "version 1", "no control groups"],
)
def test_a_control_group_bounds_what_is_free(files: dict[str, str], bound: int | None, tmp_path: Path) -> None:
    """In a container the machine has more memory than the container."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    found = available_bytes(tmp_path)
    assert found == bound if bound is not None else found > 100_000_000
