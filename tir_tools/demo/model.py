"""A tiny Qwen2, grown on the spot: no pretrained weights can be had on a bare machine."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM
from transformers.utils.logging import disable_progress_bar

from tir_tools.demo.formats import Transcript, transcripts
from tir_tools.demo.tokenizer import END_OF_TEXT, MESSAGE_END, train_tokenizer
from tir_tools.demo.transcripts import good_walks, walks
from tir_tools.demo.warm_start import Progress, WarmStart, warm_up

WARM_START = WarmStart(steps=600, batch_size=32)
SOLVED = 440 * WARM_START.batch_size
"""Transcripts of solved problems before the first bad one."""


def grow(folder: Path, recipe: str, seed: int, progress: Progress) -> None:
    """Write the demo's model for a recipe: able to solve the problems, and in the habit of seldom doing so.

    First it only sees problems solved, and learns to copy numbers and to write programs. Then good and bad ways show it
    how often to do what. What is left to GRPO is to choose: a transformer of two layers learns no more in some minutes.
    """
    solved = transcripts(itertools.islice(good_walks(seed), SOLVED), recipe)
    mixed = transcripts(walks(seed + 1), recipe)
    build(folder, WARM_START, itertools.chain(solved, mixed), seed, progress)


def build(
    folder: Path,
    warm_start: WarmStart,
    stream: Iterator[Transcript],
    seed: int = 0,
    progress: Progress = lambda step, loss: None,
) -> None:
    """Write a model warmed up on the stream's transcripts, and its tokenizer, to `folder` in Hugging Face's format.

    The same seed and the same stream give the same model, but for rounding.
    """
    torch.manual_seed(seed)
    tokenizer = train_tokenizer(seed)
    model = tiny_model(tokenizer)
    warm_up(model, tokenizer, warm_start, stream, progress)
    folder.mkdir(parents=True, exist_ok=True)
    disable_progress_bar()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def tiny_model(tokenizer: PreTrainedTokenizerFast) -> Qwen2ForCausalLM:
    """A model whose attention copies what it looks at, and does not know yet where to look."""
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=384,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=8192,
            # Short wavelengths: in conversations of 50 tokens a copying head forms several times sooner.
            rope_parameters={"rope_type": "default", "rope_theta": 1000.0},
            tie_word_embeddings=True,
            initializer_range=0.06,
            bos_token_id=tokenizer.convert_tokens_to_ids(END_OF_TEXT),
            eos_token_id=tokenizer.convert_tokens_to_ids(MESSAGE_END),
            pad_token_id=tokenizer.convert_tokens_to_ids(END_OF_TEXT),
            dtype="float32",
        )
    )
    with torch.no_grad():
        for layer in model.model.layers:
            # Values and outputs that undo each other: with tied embeddings, what is looked at is what is written. To
            # find this by gradient descent takes most of a warm start.
            value, output = layer.self_attn.v_proj.weight, layer.self_attn.o_proj.weight
            torch.nn.init.orthogonal_(value)
            output.copy_(value.T)
    return model
