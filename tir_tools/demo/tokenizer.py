"""The tiny model's tokenizer: byte-level BPE of the demo's words, and a token for each number of up to three digits."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2TokenizerFast

from tir_tools.demo.formats import CALLS, transcript
from tir_tools.demo.transcripts import walks

END_OF_TEXT, MESSAGE_START, MESSAGE_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""transformers forces Qwen2's own pre-tokenizer for model type qwen2, so the merges have to be learned with it."""

DIGITS = [str(digit) for digit in range(10)]
NUMBERS = [str(number).zfill(digits) for digits in (2, 3) for number in range(10**digits)]
"""As in Llama 3's tokenizer: a number of up to three digits is one token, which one attention head can copy."""


def train_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """Qwen2's special tokens and pre-tokenizer, merges learned from the demo's transcripts, and `NUMBERS`."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_QWEN2_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1000,
        min_frequency=20,
        special_tokens=[END_OF_TEXT, MESSAGE_START, MESSAGE_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(_corpus(seed), trainer)
    tokenizer = Qwen2TokenizerFast(
        tokenizer_object=bpe,
        eos_token=MESSAGE_END,
        pad_token=END_OF_TEXT,
        unk_token=None,
        bos_token=None,
        additional_special_tokens=[MESSAGE_START],
        chat_template=CHAT_TEMPLATE,
        model_max_length=8192,
    )
    tokenizer.add_tokens([AddedToken(number, normalized=False) for number in NUMBERS])
    return tokenizer


def _corpus(seed: int) -> Iterator[str]:
    for walk in itertools.islice(walks(seed), 1_000):
        for recipe in CALLS:
            shown = transcript(walk, recipe)
            yield f"{MESSAGE_START}user\n{shown.question}{MESSAGE_END}\n{MESSAGE_START}assistant\n" + "".join(
                span.text for span in shown.spans
            )
