"""The tiny model and its warm start."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tir_tools.demo.formats import transcripts
from tir_tools.demo.model import build, tiny_model
from tir_tools.demo.tokenizer import train_tokenizer
from tir_tools.demo.transcripts import good_walks
from tir_tools.demo.warm_start import WarmStart


def test_the_same_seed_gives_the_same_model_and_it_learns(tmp_path: Path) -> None:
    """Loss by loss, but for rounding: sums on a CPU depend on where in memory their terms lie."""
    losses: list[float] = []
    for name in ("first", "second"):
        stream = transcripts(good_walks(0), "simpletir")
        build(tmp_path / name, WarmStart(12, batch_size=8), stream, 3, lambda step, loss: losses.append(loss))
    assert losses[:12] == pytest.approx(losses[12:], rel=1e-4)
    assert losses[11] < losses[0]
    first, second = (AutoModelForCausalLM.from_pretrained(tmp_path / name) for name in ("first", "second"))
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-3)


def test_transformers_loads_the_tokenizer_as_it_was(tmp_path: Path) -> None:
    """It forces a pre-tokenizer for the model type; numbers stay whole all the same."""
    build(tmp_path, WarmStart(1, batch_size=2), transcripts(good_walks(0), "simpletir"))
    tokenizer, loaded = train_tokenizer(0), AutoTokenizer.from_pretrained(tmp_path)
    for walk in itertools.islice(good_walks(8), 20):
        text = f"{walk.problem.question} {walk.problem.answer}"
        assert loaded.encode(text) == tokenizer.encode(text)
        assert loaded.decode(loaded.encode(text)) == text


def test_attention_begins_as_a_copy() -> None:
    """In each layer, what the heads together read of a token is what they write."""
    torch.manual_seed(0)
    for layer in tiny_model(train_tokenizer(0)).model.layers:
        copied = layer.self_attn.o_proj.weight @ layer.self_attn.v_proj.weight
        assert torch.allclose(copied, torch.eye(128), atol=1e-5)
