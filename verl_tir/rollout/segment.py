"""A trajectory as people read it: stretches of text, and on request what the model thought of each of its tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from verl_tir.metrics.log_probs import FLOOR
from verl_tir.rollout.tokens import Decode, token_lengths


@dataclass(frozen=True, slots=True)
class SampledTokens:
    """The tokens of a model's segment."""

    lengths: tuple[int, ...]
    """Characters of the segment's text that each token adds; 0 for one that begins a character and does not end it."""
    log_probs: tuple[float | None, ...]
    """In nats, to hundredths, one per token; None where the engine was not asked for it."""

    @classmethod
    def of(cls, ids: Sequence[int], log_probs: Sequence[float], text: str, decode: Decode) -> SampledTokens:
        """Those of a text and their log-probabilities, as the engine gave them."""
        return cls(tuple(token_lengths(ids, text, decode)), tuple(map(_hundredths, log_probs)))


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of the prompt or the response."""

    role: str
    """`prompt`, `model` or `tool`."""
    text: str
    tokens: SampledTokens | None = None
    """Of the model's; None where they were not kept (`tir.dump_token_log_probs`)."""

    def to_record(self) -> dict[str, Any]:
        """Plain data, for the trajectory dump."""
        record: dict[str, Any] = {"role": self.role, "text": self.text}
        if self.tokens is not None:
            record["tokens"] = {"lengths": list(self.tokens.lengths), "log_probs": list(self.tokens.log_probs)}
        return record

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Segment:
        """Inverse of `to_record`."""
        tokens = record.get("tokens")
        sampled = None if tokens is None else SampledTokens(tuple(tokens["lengths"]), tuple(tokens["log_probs"]))
        return cls(record["role"], record["text"], sampled)


def _hundredths(log_prob: float) -> float | None:
    # JSON has no NaN and no infinity; adding 0.0 turns a minus zero into zero.
    return None if math.isnan(log_prob) else round(max(log_prob, FLOOR), 2) + 0.0
