"""Learning Impact Measurement: problems whose rewards follow the model's own learning curve.

Li, Zou and Liu, "LIMR: Less is More for RL Scaling" (arXiv 2502.11886, section 2.2). With r_i^k the mean reward of
problem i in epoch k and r^k its mean over the problems,

    s_i = 1 - sum_k (r_i^k - r^k)^2 / sum_k (1 - r^k)^2

and problems with a score of at least 0.6 are kept: 1,389 of 8,523 in the paper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tir_tools.data.errors import DataError

THRESHOLD = 0.6
"""The paper's."""

Curve = tuple[float | None, ...]
"""Mean rewards by epoch; None where a problem was not sampled."""


@dataclass(frozen=True, slots=True)
class Alignment:
    """How well each problem follows the mean."""

    scores: Mapping[str, float]
    """By problem; at most 1, for the mean curve itself."""
    mean_curve: tuple[float, ...]
    incomplete: tuple[str, ...]
    """Problems without a score, since epochs are missing."""


def alignment(curves: Mapping[str, Curve], epochs: int | None = None) -> Alignment:
    """The score of every problem that has a reward in all epochs.

    An epoch that is missing takes the next one's reward, as in the authors' code; what is missing then leaves the
    problem without a score, and out of the mean.

    Args:
        curves: rewards between 0 and 1.
        epochs: how many epochs count, from the first on; by default as many as the longest curve has.

    Raises:
        DataError: no curve is complete, or all problems are always solved.
    """
    length = epochs or max(map(len, curves.values()), default=0)
    complete: dict[str, Sequence[float]] = {}
    incomplete = []
    for key, curve in curves.items():
        filled = _filled(curve)[:length]
        known = [rate for rate in filled if rate is not None]
        if length and len(known) == length:
            complete[key] = known
        else:
            incomplete.append(key)
    if not complete:
        raise DataError(
            f"none of the {len(curves)} problems has a success rate in each of {length} epochs; give fewer: --epochs N"
        )
    mean = tuple(sum(rates) / len(rates) for rates in zip(*complete.values(), strict=True))
    scale = sum((1 - rate) ** 2 for rate in mean)
    if scale == 0:
        raise DataError("all problems are solved in all epochs: their curves cannot be told apart, and teach nothing")
    scores = {
        key: 1 - sum((rate - middle) ** 2 for rate, middle in zip(curve, mean, strict=True)) / scale
        for key, curve in complete.items()
    }
    return Alignment(scores, mean, tuple(incomplete))


def _filled(curve: Curve) -> Curve:
    following = (*curve[1:], None)
    return tuple(after if rate is None else rate for rate, after in zip(curve, following, strict=True))
