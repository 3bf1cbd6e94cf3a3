"""A tiny Qwen2 and its tokenizer, grown on the spot: no pretrained weights can be had on a bare machine."""

from __future__ import annotations

import itertools
import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.functional import cross_entropy
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM, Qwen2TokenizerFast
from transformers.utils.logging import disable_progress_bar

from verl_tir.demo.tasks import Transcript, transcripts

logger = logging.getLogger(__name__)

END_OF_TEXT, MESSAGE_START, MESSAGE_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""transformers forces Qwen2's own pre-tokenizer for model type qwen2, so the merges have to be learned with it."""


@dataclass(frozen=True, slots=True)
class WarmStart:
    """How the tiny model is warmed up."""

    seed: int = 0
    steps: int = 500
    batch_size: int = 16
    learning_rate: float = 1.5e-3


Progress = Callable[[int, float], None]
"""`progress(step, loss)` after each step; the loss is in nats per token."""


def build(
    folder: Path,
    warm_start: WarmStart,
    stream: Iterator[Transcript] | None = None,
    progress: Progress = lambda step, loss: None,
) -> None:
    """Write a warmed-up model and its tokenizer to `folder` in Hugging Face's format; the same for the same seed.

    `stream` gives the transcripts to learn from; by default the demo's own.
    """
    torch.manual_seed(warm_start.seed)
    # torch's threads wait for each other by spinning: on cores that others use too, half of them are faster than all.
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // 2))
    tokenizer = train_tokenizer(warm_start.seed)
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
            bos_token_id=tokenizer.convert_tokens_to_ids(END_OF_TEXT),
            eos_token_id=tokenizer.convert_tokens_to_ids(MESSAGE_END),
            pad_token_id=tokenizer.convert_tokens_to_ids(END_OF_TEXT),
            dtype="float32",
        )
    )
    started = time.perf_counter()
    _train(model, tokenizer, warm_start, stream or transcripts(warm_start.seed), progress)
    logger.info("warm start of %d steps took %.1f s", warm_start.steps, time.perf_counter() - started)
    folder.mkdir(parents=True, exist_ok=True)
    disable_progress_bar()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def train_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE of a few hundred tokens, with Qwen2's pre-tokenizer and special tokens."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_QWEN2_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=340,
        special_tokens=[END_OF_TEXT, MESSAGE_START, MESSAGE_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    corpus = (
        f"{MESSAGE_START}user\n{transcript.problem.question}{MESSAGE_END}\n{MESSAGE_START}assistant\n"
        + "".join(span.text for span in transcript.spans)
        for transcript in itertools.islice(transcripts(seed), 2000)
    )
    bpe.train_from_iterator(corpus, trainer)
    return Qwen2TokenizerFast(
        tokenizer_object=bpe,
        eos_token=MESSAGE_END,
        pad_token=END_OF_TEXT,
        unk_token=None,
        bos_token=None,
        additional_special_tokens=[MESSAGE_START],
        chat_template=CHAT_TEMPLATE,
        model_max_length=8192,
    )


def _train(
    model: Qwen2ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    warm_start: WarmStart,
    stream: Iterator[Transcript],
    progress: Progress,
) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=warm_start.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    warm_up = max(1, warm_start.steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min((step + 1) / warm_up, 0.5 * (1 + math.cos(math.pi * step / warm_start.steps))),
    )
    for step in range(warm_start.steps):
        ids, labels = _batch(list(itertools.islice(stream, warm_start.batch_size)), tokenizer)
        logits = model(ids).logits[:, :-1]
        loss = cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        progress(step + 1, loss.item())


def _batch(batch: list[Transcript], tokenizer: PreTrainedTokenizerFast) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and labels of shape (batch, longest); -100 where nothing is learned: prompt, tool output, padding.

    Spans are tokenised one by one, as the rollout does it, so the model sees the same token boundaries.
    """
    rows, label_rows = [], []
    for transcript in batch:
        messages = [{"role": "user", "content": transcript.problem.question}]
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        row = tokenizer.encode(text, add_special_tokens=False)
        labels = [-100] * len(row)
        for span in transcript.spans:
            ids = tokenizer.encode(span.text, add_special_tokens=False)
            row += ids
            labels += ids if span.trained else [-100] * len(ids)
        if transcript.ends:
            row.append(tokenizer.eos_token_id)
            labels.append(tokenizer.eos_token_id)
        rows.append(torch.tensor(row))
        label_rows.append(torch.tensor(labels))
    pad = torch.nn.utils.rnn.pad_sequence
    ids = pad(rows, batch_first=True, padding_value=tokenizer.pad_token_id)
    return ids, pad(label_rows, batch_first=True, padding_value=-100)
