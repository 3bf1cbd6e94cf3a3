"""A model with the vocabulary of a real one through stock verl on the CPU, as the platform sizes it, two steps."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from arithmetic import split, transcripts
from transformers import AutoModelForCausalLM, AutoTokenizer

from verl_cpu.model_size import MIB, fast_dtype, micro_batch_tokens, model_size, weight_bucket

if TYPE_CHECKING:
    from conftest import RunVerl, VerlRun

pytestmark = pytest.mark.e2e

PROMPTS, SAMPLES, STEPS = 4, 32, 2
VOCABULARY = 152_064
"""Qwen's: three times SmolLM2's, so that at the toy's width too the embedding fills more than the smallest bucket."""


def _widen(folder: Path) -> None:
    """Give the model a vocabulary of a real model's size, of which it says what it said before.

    Each new token gets the embedding of the known one that is the least likely in a conversation.
    """
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("<|im_start|>user\nWhat is 12*3?<|im_end|>\n<|im_start|>assistant\n", return_tensors="pt").input_ids
    known = model.config.vocab_size
    with torch.no_grad():
        likelihoods = model(input_ids=ids).logits[0].log_softmax(-1).amax(0)
        model.resize_token_embeddings(VOCABULARY, mean_resizing=False)
        embedding = model.get_input_embeddings().weight
        embedding[known:] = embedding[likelihoods[:known].argmin()]
    model.save_pretrained(folder)


@pytest.fixture(scope="module")
def run(run_verl: RunVerl) -> VerlRun:
    """Two steps with the sizes and the type that the platform chooses."""
    problems, _ = split(seed=0, train=PROMPTS, validation=1)
    run = run_verl(
        problems,
        transcripts(0, itertools.cycle(problems)),
        {
            "actor_rollout_ref.actor.ppo_mini_batch_size": PROMPTS,
            "actor_rollout_ref.rollout.n": SAMPLES,
            # No row is cut, so that there is more than one micro-batch a step.
            "tir.filter.void": "off",
            "actor_rollout_ref.rollout.dtype": "${verl_cpu.fast_dtype:}",
            "trainer.total_training_steps": STEPS,
        },
        change_model=_widen,
    )
    assert run.status == 0, run.log[-6000:]
    return run


def test_the_weights_reach_the_engine(run: VerlRun) -> None:
    """The embedding is larger than the smallest bucket; both steps sample from weights that the trainer sent."""
    model = str(run.folder / "model")
    assert model_size(model).largest_weight * 4 > 64 * MIB
    assert weight_bucket(model) == 75
    assert len(run.metrics) == STEPS


def test_engine_and_trainer_agree_in_the_processors_type(run: VerlRun) -> None:
    """To rounding in fp32; in bf16 to a tenth of a probability on average, for the toy's logits are large."""
    close = 0.1 if fast_dtype() == "bfloat16" else 1e-4
    for metrics in run.metrics:
        assert metrics["training/rollout_probs_diff_valid"] == 1
        assert metrics["training/rollout_probs_diff_mean"] < close


def test_it_trains_in_micro_batches_that_fit(run: VerlRun) -> None:
    """More than one a step, by the recorder's count, each within the bound; and there is a gradient."""
    most = micro_batch_tokens(str(run.folder / "model"), fast_dtype(), 64, 96)
    computed = [record["tokens"] for record in run.records("computed")]
    assert len(computed) > STEPS
    assert all(tokens <= most for tokens in computed)
    assert max(computed) > most / 2
    assert any(metrics["actor/grad_norm"] > 0 for metrics in run.metrics)


def test_what_rows_share_is_computed_once(run: VerlRun) -> None:
    """The samples of a group have their prompt in common at least, but for its last token."""
    records = run.records("computed")
    assert all(record["tokens"] <= record["of"] for record in records)
    assert sum(record["tokens"] for record in records) < 0.9 * sum(record["of"] for record in records)


def test_it_stays_small(run: VerlRun) -> None:
    """The trainer's process, of which the toy's share is a hundredth, holds at most 4 GiB."""
    assert max(metrics["actor/perf/max_memory_allocated_gb"] for metrics in run.metrics) < 4
