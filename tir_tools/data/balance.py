"""As many problems of each difficulty, where difficulty is the success rate of a model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from tir_tools.data.errors import DataError

BINS = 5


@dataclass(frozen=True, slots=True)
class Window:
    """Success rates that are neither too low nor too high; the ends are outside."""

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high <= 1:
            raise DataError(f"--window {self.low} {self.high}: give two numbers from 0 to 1, the lower one first")

    def holds(self, rate: float) -> bool:
        """Whether a rate lies between the ends: a group that always or never succeeds gives GRPO no gradient."""
        return self.low < rate < self.high

    def bin_of(self, rate: float, bins: int) -> int:
        """Which of the window's parts, all equally wide, a rate lies in, from the hardest on."""
        return min(int((rate - self.low) / (self.high - self.low) * bins), bins - 1)


@dataclass(frozen=True, slots=True)
class Balanced:
    """A choice of problems."""

    chosen: frozenset[str]
    available: tuple[int, ...]
    """Problems in each bin, from the hardest on."""
    taken: tuple[int, ...]
    """Of these, chosen."""


def balanced(rates: Mapping[str, float], window: Window, count: int, bins: int, seed: int) -> Balanced:
    """`count` problems within the window, as equally many from each bin as there are.

    A bin that has fewer gives all of its problems, and the others share the rest. Which ones a bin gives is drawn by a
    hash of seed and id: it depends neither on the order of the problems nor on those of other bins.
    """
    members: list[list[str]] = [[] for _ in range(bins)]
    for key, rate in rates.items():
        if window.holds(rate):
            members[window.bin_of(rate, bins)].append(key)
    sizes = tuple(map(len, members))
    shares = spread(count, sizes)
    chosen = frozenset(
        key
        for keys, share in zip(members, shares, strict=True)
        for key in sorted(keys, key=lambda item: _draw(seed, item))[:share]
    )
    return Balanced(chosen, sizes, shares)


def spread(count: int, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """`count` over bins of these sizes, as equally as they allow; what does not divide goes to the first ones.

    >>> spread(10, (1, 9, 9))
    (1, 5, 4)
    """
    shares = [0] * len(sizes)
    left = min(count, sum(sizes))
    while left:
        open_bins = [number for number, size in enumerate(sizes) if shares[number] < size]
        each = max(left // len(open_bins), 1)
        for number in open_bins[:left]:
            given = min(each, sizes[number] - shares[number])
            shares[number] += given
            left -= given
    return tuple(shares)


def _draw(seed: int, key: str) -> bytes:
    return hashlib.sha256(f"{seed}:{key}".encode()).digest()
