"""Token in, token out: the ids that the engine sampled are the ids that are trained.

Text is decoded only to look at it. What enters the context and the loss is always the sampled ids themselves, or a
prefix of them, and the ids of observations, each tokenised once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from verl_tir.metrics.log_probs import FLOOR
from verl_tir.trajectory import SampledTokens

Decode = Callable[[Sequence[int]], str]

_SETTLING_TOKENS = 64
"""Many times the tokens that one character can be made of."""
_CHARACTER_TOKENS = 4
"""The most tokens that one character can be made of: one for each of its bytes."""


@dataclass(slots=True)
class ResponseTokens:
    """The growing response: ids, mask and log-probabilities, always of equal length."""

    ids: list[int] = field(default_factory=list)
    mask: list[int] = field(default_factory=list)
    """1 for a token that the model sampled, 0 for a token of the tool's output."""
    log_probs: list[float] = field(default_factory=list)
    """The engine's log-probability of each sampled token; 0.0 at observation tokens, which the mask excludes."""

    def append_model(self, ids: Sequence[int], log_probs: Sequence[float]) -> None:
        """Append sampled tokens; `generation.Piece` has made sure that there is a log-probability for each."""
        self.ids.extend(ids)
        self.mask.extend([1] * len(ids))
        self.log_probs.extend(log_probs)

    def append_observation(self, ids: Sequence[int]) -> None:
        self.ids.extend(ids)
        self.mask.extend([0] * len(ids))
        self.log_probs.extend([0.0] * len(ids))

    def __len__(self) -> int:
        return len(self.ids)


def tokens_up_to(ids: Sequence[int], text: str, end: int, decode: Decode) -> int:
    """How many of `ids` to keep so that their text reaches offset `end` of `text`, the decoding of all of them.

    A token is never split: the one that holds the last wanted character is kept whole. The text is cut near its end
    in the common case (the engine stopped at the fence), so the search decodes short tails and widens them.
    """
    surplus = len(text) - end
    if surplus <= 0:
        return len(ids)
    # Largest m such that the last m tokens decode to at most `surplus` characters: those are wholly after the cut.
    low, high = 0, 1
    while high < len(ids) and len(decode(ids[len(ids) - high :])) <= surplus:
        low, high = high, high * 2
    high = min(high, len(ids))
    while low < high:
        middle = (low + high + 1) // 2
        if len(decode(ids[len(ids) - middle :])) <= surplus:
            low = middle
        else:
            high = middle - 1
    keep = len(ids) - low
    # A tail that starts inside a multi-byte character decodes longer or shorter than its share of the text, and some
    # tokenizers drop a tail's leading blank. A few tokens more before it settle that: they are the same in what is
    # compared, and far from the cut.
    start = max(0, keep - _SETTLING_TOKENS)
    tail = decode(ids[start:])
    end = len(tail) - surplus
    wanted = tail[:end]
    while keep > start + 1 and decode(ids[start : keep - 1])[:end] == wanted:
        keep -= 1
    while keep < len(ids) and decode(ids[start:keep])[:end] != wanted:
        keep += 1
    return keep


def token_lengths(ids: Sequence[int], text: str, decode: Decode) -> list[int]:
    """How many characters of `text`, the decoding of `ids`, each token adds; they add up to its length.

    A character that is made of several tokens is its last one's. Each token is decoded after the one before it, since
    some tokenizers drop the leading blank of what they decode.
    """
    ends: list[int] = []
    start = read = end = 0
    for position in range(1, len(ids) + 1):
        context, window = decode(ids[start:read]), decode(ids[start:position])
        # An unfinished character decodes to a replacement character; so does a byte that never becomes one.
        if not window.endswith("\ufffd") or position - read > _CHARACTER_TOKENS:
            end = min(end + max(0, len(window) - len(context)), len(text))
            start, read = read, position
        ends.append(end)
    if ends:
        ends[-1] = len(text)
    return [after - before for before, after in itertools.pairwise([0, *ends])]


def sampled_tokens(ids: Sequence[int], log_probs: Sequence[float], text: str, decode: Decode) -> SampledTokens:
    """The tokens of `text`, the decoding of `ids`, with their log-probabilities as the engine gave them."""
    # JSON has no NaN and no infinity; adding 0.0 turns a minus zero into zero.
    hundredths = (None if math.isnan(each) else round(max(each, FLOOR), 2) + 0.0 for each in log_probs)
    return SampledTokens(tuple(token_lengths(ids, text, decode)), tuple(hundredths))


def fit_observation(ids: Sequence[int], max_tokens: int) -> tuple[list[int], bool]:
    """Cut an observation to `max_tokens`, keeping its head and its tail; also say whether it cut."""
    if len(ids) <= max_tokens:
        return list(ids), False
    head = max_tokens // 2
    tail = max_tokens - head
    return [*ids[:head], *ids[len(ids) - tail :]], True
