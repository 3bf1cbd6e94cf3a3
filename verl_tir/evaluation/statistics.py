"""Estimates over a benchmark's problems and how far they can be trusted. Pure, numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
CONFIDENCE = 0.95
_CHUNK = 2**22
"""Drawn numbers of problems that are held at once."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95% confidence interval."""

    value: float
    low: float | None = None
    """None where there is no interval."""
    high: float | None = None

    def holds(self, value: float) -> bool | None:
        """Whether a value lies within the interval; None where there is none."""
        return None if self.low is None or self.high is None else self.low <= value <= self.high


def pass_at_k(samples: int, right: int, k: int) -> float:
    """Chance that at least one of `k` samples drawn without replacement is right (Chen et al. 2021, section 2.1).

    Args:
        samples: of the problem.
        right: of them.
        k: drawn, at most all.
    """
    if not 1 <= k <= samples:
        raise ValueError(f"k={k} of {samples} samples")
    return 1.0 - comb(samples - right, k) / comb(samples, k)


def powers_up_to(samples: int) -> list[int]:
    """1, 2, 4 ... up to `samples`, and `samples` itself."""
    powers = [1 << exponent for exponent in range(samples.bit_length())]
    return sorted({*powers, samples})


def bootstrap(
    above: Sequence[float], below: Sequence[float] | None = None, *, seed: int = 0, resamples: int = RESAMPLES
) -> Estimate:
    """The mean over problems, or a ratio of two sums over them, with its percentile interval.

    Problems are drawn anew with replacement, with all their samples: what is asked is how the model would do on other
    problems of the kind.

    Args:
        above: a value for each problem.
        below: what the sum of `above` is divided by, problem by problem; 1 each if None.
        seed: of the draws.
        resamples: draws.

    Raises:
        ValueError: there is no problem, or nothing to divide by.
    """
    top = np.asarray(above, dtype=np.float64)
    bottom = np.ones_like(top) if below is None else np.asarray(below, dtype=np.float64)
    if not bottom.sum() > 0:
        raise ValueError("nothing to average over")
    draws = _resampled(top, bottom, np.random.default_rng(seed), resamples)
    tail = 100 * (1 - CONFIDENCE) / 2
    # A draw of problems that have nothing to divide by says nothing.
    low, high = np.nanpercentile(draws, [tail, 100 - tail])
    return Estimate(float(top.sum() / bottom.sum()), float(low), float(high))


def _resampled(
    top: NDArray[np.float64], bottom: NDArray[np.float64], random: np.random.Generator, resamples: int
) -> NDArray[np.float64]:
    """The estimate on `resamples` draws of as many problems as there are."""
    problems = len(top)
    chunk = max(1, _CHUNK // problems)
    parts = []
    for start in range(0, resamples, chunk):
        drawn = random.integers(problems, size=(min(chunk, resamples - start), problems))
        sums, weights = top[drawn].sum(axis=1), bottom[drawn].sum(axis=1)
        parts.append(np.divide(sums, weights, out=np.full_like(sums, np.nan), where=weights > 0))
    return np.concatenate(parts)
