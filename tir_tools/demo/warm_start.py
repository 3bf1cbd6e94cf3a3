"""The supervised warm start of the tiny model: first what it can do, then what it is used to doing."""

from __future__ import annotations

import itertools
import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

from tir_tools.demo.formats import Transcript
from tir_tools.demo.tokenizer import DIGITS, MESSAGE_END, MESSAGE_START, NUMBERS

_TOKENS = 40
"""Of the model in a transcript, about; weighted."""

_IGNORED = -100
"""Label of a position where nothing is learned."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WarmStart:
    """How the tiny model is warmed up."""

    steps: int
    batch_size: int = 16
    learning_rate: float = 3e-3
    number_weight: float = 4.0
    """Weight of a number's loss; that of any other token is 1. Numbers have to be copied, which is learned last."""


Progress = Callable[[int, float], None]
"""`progress(step, loss)` after each step; the loss is in nats per token."""


def warm_up(
    model: Qwen2ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    warm_start: WarmStart,
    stream: Iterator[Transcript],
    progress: Progress = lambda step, loss: None,
) -> None:
    """Train the model on the stream's transcripts; the learning rate is constant at first, then falls to zero."""
    # torch's threads wait for each other by spinning: on cores that others use too, half of them are faster than all.
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // 2))
    started = time.perf_counter()
    weights = torch.ones(len(tokenizer))
    weights[tokenizer.convert_tokens_to_ids([*DIGITS, *NUMBERS])] = warm_start.number_weight
    optimizer = torch.optim.AdamW(model.parameters(), lr=warm_start.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    steps = warm_start.steps
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / 20, 2 * (1 - step / steps) + 0.01, 1.0)
    )
    batches = _alike_in_length(stream, warm_start.batch_size)
    for step in range(steps):
        ids, labels = batch_of(next(batches), tokenizer)
        # Only where something is learned: the vocabulary is the widest of the model's layers.
        hidden = model.model(ids).last_hidden_state[:, :-1]
        learned = labels[:, 1:] != _IGNORED
        targets = labels[:, 1:][learned]
        loss = cross_entropy(model.lm_head(hidden[learned]), targets, weight=weights, reduction="sum")
        optimizer.zero_grad()
        # A mean over tokens would give those of short transcripts, which share their batches, more weight than others.
        (loss / (_TOKENS * warm_start.batch_size)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        progress(step + 1, loss.item() / weights[targets].sum().item())
    logger.info("warm start of %d steps took %.1f s", steps, time.perf_counter() - started)


def _alike_in_length(stream: Iterator[Transcript], size: int) -> Iterator[list[Transcript]]:
    """Batches with little padding: of several batches' transcripts, those of about one length together."""
    rng = Random(0)
    while True:
        some = sorted(
            itertools.islice(stream, size * 8),
            key=lambda item: len(item.question) + sum(len(s.text) for s in item.spans),
        )
        batches = [some[begin : begin + size] for begin in range(0, len(some), size)]
        rng.shuffle(batches)
        yield from batches


def batch_of(batch: list[Transcript], tokenizer: PreTrainedTokenizerFast) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and labels of shape (batch, longest); -100 where nothing is learned: prompt, tool output, padding.

    Spans are tokenised one by one, as the rollout does it, so the model sees the same token boundaries.
    """
    pieces = [[(_prompt(item.question), False), *((span.text, span.trained) for span in item.spans)] for item in batch]
    encoded = iter(tokenizer([text for row in pieces for text, _ in row], add_special_tokens=False)["input_ids"])
    rows, label_rows = [], []
    for item, row_pieces in zip(batch, pieces, strict=True):
        row: list[int] = []
        labels: list[int] = []
        for _, trained in row_pieces:
            ids = next(encoded)
            row += ids
            labels += ids if trained else [_IGNORED] * len(ids)
        if item.ends:
            row.append(tokenizer.eos_token_id)
            labels.append(tokenizer.eos_token_id)
        rows.append(torch.tensor(row))
        label_rows.append(torch.tensor(labels))
    ids = pad_sequence(rows, batch_first=True, padding_value=tokenizer.pad_token_id)
    return ids, pad_sequence(label_rows, batch_first=True, padding_value=_IGNORED)


def _prompt(question: str) -> str:
    """As the tokenizer's chat template renders it, which takes longer than all of the tokenising."""
    return f"{MESSAGE_START}user\n{question}{MESSAGE_END}\n{MESSAGE_START}assistant\n"
