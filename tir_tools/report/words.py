"""Numbers as people read them."""

from __future__ import annotations

import math
from enum import StrEnum


class Unit(StrEnum):
    """What a number counts."""

    SHARE = "share"
    SECONDS = "seconds"
    NATS = "nats"
    COUNT = "count"
    NUMBER = "number"
    """Without a unit."""


def spell(value: float, unit: Unit) -> str:
    """A number with its unit, in three digits or so."""
    match unit:
        case Unit.SHARE:
            return f"{_digits(100 * value, 1 if abs(value) < 0.1 else 0)}%"
        case Unit.SECONDS if abs(value) >= 120:
            return f"{_digits(value / 60, 1)} min"
        case Unit.SECONDS if 0 < abs(value) < 0.1:
            return f"{_digits(1000 * value, 1 if abs(value) < 0.01 else 0)} ms"
        case Unit.SECONDS:
            return f"{_significant(value)} s"
        case Unit.COUNT if value == int(value):
            return f"{int(value):,}"
        case _:
            return _significant(value)


def _significant(value: float) -> str:
    """In three significant digits."""
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if size >= 6 or size < -4:
        return f"{value:.2e}"
    if size >= 2:
        return f"{value:,.0f}"
    return _digits(value, 2 - size)


def _digits(value: float, places: int) -> str:
    """Rounded, without zeros at the end."""
    text = f"{value:.{places}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "") else text
