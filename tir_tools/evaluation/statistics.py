"""Estimates over a benchmark's problems and how far they can be trusted. Pure, numpy only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
CONFIDENCE = 0.95
_CHUNK = 2**22
"""Numbers of draws that are held at once."""


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


@dataclass(frozen=True, slots=True)
class Measure:
    """What is averaged over problems: the sum of `above` by the sum of `below`."""

    above: Sequence[float]
    """A value for each problem."""
    below: Sequence[float]
    """Its weight: 1 in a mean over problems, 0 for a problem that the measure leaves out, else a count."""


def bootstrap(measures: Mapping[str, Measure], *, seed: int = 0, resamples: int = RESAMPLES) -> dict[str, Estimate]:
    """Each measure with its percentile interval; one that has nothing to average over is left out.

    Problems are drawn anew with replacement, with all their samples: what is asked is how the model would do on other
    problems of the kind. All measures see the same draws.

    Args:
        measures: by name, each of the same problems.
        seed: of the draws.
        resamples: draws.
    """
    chosen = {name: measure for name, measure in measures.items() if sum(measure.below) > 0}
    if not chosen:
        return {}
    # Both of shape (problems, measures).
    above = np.array([measure.above for measure in chosen.values()], dtype=np.float64).T
    below = np.array([measure.below for measure in chosen.values()], dtype=np.float64).T
    values = above.sum(axis=0) / below.sum(axis=0)
    draws = _resampled(above, below, np.random.default_rng(seed), resamples)
    tail = 100 * (1 - CONFIDENCE) / 2
    # A draw of problems that have nothing to divide by says nothing.
    low, high = np.nanpercentile(draws, [tail, 100 - tail], axis=0)
    return {
        name: Estimate(float(value), float(start), float(end))
        for name, value, start, end in zip(chosen, values, low, high, strict=True)
    }


def _resampled(
    above: NDArray[np.float64], below: NDArray[np.float64], random: np.random.Generator, resamples: int
) -> NDArray[np.float64]:
    """The measures on `resamples` draws of as many problems as there are; of shape (resamples, measures)."""
    problems = len(above)
    chunk = max(1, _CHUNK // problems)
    parts = []
    for start in range(0, resamples, chunk):
        # How often each problem was drawn, of shape (draws, problems).
        drawn = random.multinomial(problems, np.full(problems, 1 / problems), size=min(chunk, resamples - start))
        sums, weights = drawn @ above, drawn @ below
        parts.append(np.divide(sums, weights, out=np.full_like(sums, np.nan), where=weights > 0))
    return np.concatenate(parts)
