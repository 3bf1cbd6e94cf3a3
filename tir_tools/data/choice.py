"""Which prepared problems to train on, by their success rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tir_tools.data.balance import BINS, Window, balanced
from tir_tools.data.errors import DataError
from tir_tools.data.lim import THRESHOLD, Curve, alignment


class Method(StrEnum):
    """How problems are chosen."""

    WINDOW = "window"
    """All whose success rate lies within the window."""
    BALANCE = "balance"
    """A number of these, equally many of each difficulty."""
    LIM = "lim"
    """Those whose success rate follows the mean from epoch to epoch (LIMR)."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What is asked of a problem."""

    method: Method = Method.BALANCE
    window: Window = field(default_factory=Window)
    count: int | None = None
    """Of `balance`: how many problems."""
    bins: int = BINS
    """Of `balance`."""
    seed: int = 0
    """Of `balance`."""
    threshold: float = THRESHOLD
    """Of `lim`."""
    epochs: int | None = None
    """Of `lim`: how many epochs count; None for all."""

    def __post_init__(self) -> None:
        if self.method is Method.BALANCE and self.count is None:
            raise DataError("balance needs a number of problems: --count N; without one take --method window")
        if (self.count is not None and self.count < 1) or self.bins < 1:
            raise DataError(f"--count {self.count} and --bins {self.bins} must be at least 1")


@dataclass(frozen=True, slots=True)
class Selected:
    """The choice, and the figures that it rests on."""

    ids: frozenset[str]
    figures: Mapping[str, Any]
    """For the manifest: counts, and what the method goes by."""


def select(ids: Sequence[str], curves: Mapping[str, Curve], choice: Choice) -> Selected:
    """Choose among problems by their success rates; one without a rate is never chosen.

    A problem's success rate is the mean over its epochs.

    Raises:
        DataError: the rates do not allow the method.
    """
    known = {key: curves[key] for key in ids if key in curves}
    rates = {key: mean for key, curve in known.items() if (mean := _mean(curve)) is not None}
    counts: dict[str, Any] = {
        "problems": len(ids),
        "without_rate": len(ids) - len(rates),
        "never_solved": sum(rate == 0 for rate in rates.values()),
        "always_solved": sum(rate == 1 for rate in rates.values()),
    }
    match choice.method:
        case Method.WINDOW:
            chosen = frozenset(key for key, rate in rates.items() if choice.window.holds(rate))
            figures: dict[str, Any] = {}
        case Method.BALANCE:
            assert choice.count is not None
            result = balanced(rates, choice.window, choice.count, choice.bins, choice.seed)
            chosen = result.chosen
            counts["asked_for"] = choice.count
            figures = {"bins": {"available": list(result.available), "taken": list(result.taken)}}
        case Method.LIM:
            lim = alignment({key: known[key] for key in rates}, choice.epochs)
            chosen = frozenset(key for key, score in lim.scores.items() if score >= choice.threshold)
            figures = {
                "mean_curve": [round(rate, 4) for rate in lim.mean_curve],
                "incomplete": len(lim.incomplete),
                "scores": {key: round(lim.scores[key], 4) for key in ids if key in lim.scores},
            }
    return Selected(chosen, {"counts": {**counts, "selected": len(chosen)}, **figures})


def _mean(curve: Curve) -> float | None:
    known = [rate for rate in curve if rate is not None]
    return sum(known) / len(known) if known else None
