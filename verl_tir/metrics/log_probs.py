"""Log-probabilities of sampled tokens: reduced to a histogram where they are sampled, added up where they are logged.

A step of 8,192 trajectories samples tens of millions of tokens in many processes. Each turn is reduced to counts in
fixed bins there, so that the driver only adds. Bins are ranges of the absolute log-probability, each `_RATIO` times as
wide as the one before; a percentile read from them is within 5% of the sample's own.
"""

from __future__ import annotations

import binascii
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from verl_tir.trajectory import LogProbs

UNKNOWN_LOG_PROB = math.nan
"""Stands for the log-probability of a token whose engine was not asked for it."""

_FINEST = 1e-4
"""Log-probabilities above minus this (probabilities above 0.9999) share the first bin and are read as 0."""
_RATIO = 1.1
"""A bin's middle is at most a twentieth away from its ends."""
_LAST = 145
"""The last bin holds what lies below -91, where probabilities are under 1e-39; it is read as the minimum."""
FLOOR = -1000.0
"""Stands for minus infinity, which a log file in JSON cannot hold."""
_MOST = 65535
"""The largest count of a word of the packed histogram."""

BINS = _LAST + 1
PERCENTS = (1, 5, 50)


@dataclass(frozen=True, slots=True)
class TokenSpread:
    """How the log-probabilities of a set of tokens are spread, in nats."""

    minimum: float
    mean: float
    percentiles: tuple[float, ...]
    """At each of `PERCENTS`: the value that this share of the tokens do not exceed (nearest rank)."""


@dataclass(frozen=True, slots=True)
class TokenTable:
    """Tokens counted by group, one row each."""

    counts: NDArray[np.int64]
    """By bin; shape (groups, BINS)."""
    totals: NDArray[np.float64]
    """Sums of the log-probabilities; shape (groups,)."""
    minima: NDArray[np.float64]
    """Shape (groups,)."""

    def spread(self, group: int | None = None) -> TokenSpread | None:
        """The spread of one group's tokens, or of all; None where there is no token."""
        rows = slice(None) if group is None else slice(group, group + 1)
        # From the least probable token on.
        reached = self.counts[rows].sum(axis=0)[::-1].cumsum()
        size = int(reached[-1])
        if not size:
            return None
        minimum = float(self.minima[rows].min())
        ranks = [-(-size * percent // 100) for percent in PERCENTS]
        percentiles = tuple(_middle(_LAST - int(np.searchsorted(reached, rank)), minimum) for rank in ranks)
        return TokenSpread(minimum, float(self.totals[rows].sum()) / size, percentiles)


def reduce_log_probs(values: Sequence[float]) -> LogProbs | None:
    """Reduce a turn's log-probabilities; None where none is known.

    Args:
        values: one per token, in nats. `UNKNOWN_LOG_PROB` is left out; a value above 0 is rounding and counts as 0.
    """
    known = np.asarray(values, dtype=np.float64)
    known = known[~np.isnan(known)].clip(FLOOR, 0.0)
    if not known.size:
        return None
    widths = np.log(np.maximum(-known, _FINEST / _RATIO) / _FINEST) / math.log(_RATIO)
    bins = (np.floor(widths) + 1).clip(0, _LAST).astype(np.int64)
    return LogProbs(
        count=int(known.size),
        # Adding 0.0 turns a minus zero into zero.
        total=float(known.sum()) + 0.0,
        minimum=float(known.min()) + 0.0,
        histogram=_pack(np.bincount(bins, minlength=BINS)),
    )


def add_up(parts: Sequence[LogProbs], groups: NDArray[np.integer], how_many: int) -> TokenTable:
    """Add up reduced turns by group.

    Args:
        parts: reduced turns.
        groups: the group of each, from 0; shape (len(parts),).
        how_many: groups that there are.
    """
    minima = np.zeros(how_many)
    np.minimum.at(minima, groups, [part.minimum for part in parts])
    return TokenTable(
        counts=_unpack([part.histogram for part in parts], groups, how_many),
        totals=np.bincount(groups, [part.total for part in parts], how_many).astype(np.float64),
        minima=minima,
    )


def _middle(number: int, minimum: float) -> float:
    """What the tokens of a bin are taken to have: its geometric middle, unless the minimum says better."""
    if number == 0:
        return 0.0
    return minimum if number == _LAST else max(minimum, -_FINEST * _RATIO ** (number - 0.5))


def _pack(counts: NDArray[np.int64]) -> str:
    """Three bytes per bin that holds a token: its number, then its count in two bytes. Four characters in base64."""
    held = np.flatnonzero(counts)
    words = -(-counts[held] // _MOST)
    numbers = np.repeat(held, words)
    values = np.full(numbers.size, _MOST)
    values[words.cumsum() - 1] = counts[held] - (words - 1) * _MOST
    packed = np.stack([numbers, values >> 8, values & 255], axis=1).astype(np.uint8)
    return binascii.b2a_base64(packed.tobytes(), newline=False).decode("ascii")


def _unpack(histograms: Sequence[str], groups: NDArray[np.integer], how_many: int) -> NDArray[np.int64]:
    """Counts by group and bin, shape (how_many, BINS)."""
    # Whole words need no padding, so that all of them are decoded as one.
    words = np.frombuffer(binascii.a2b_base64("".join(histograms)), dtype=np.uint8).reshape(-1, 3)
    # Millions of words: 32 bits are wide enough for their cells and, exactly, for their counts.
    starts = np.repeat((groups * BINS).astype(np.int32), [len(histogram) // 4 for histogram in histograms])
    weights = words[:, 1] * np.float32(256) + words[:, 2]
    counts = np.bincount(starts + words[:, 0], weights, how_many * BINS)
    return counts.astype(np.int64).reshape(how_many, BINS)
