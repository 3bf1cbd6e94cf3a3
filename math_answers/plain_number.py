r"""Numbers that can be read without algebra: integers, decimals, fractions, mixed numbers, powers of ten, percentages.

Most comparisons of a training run are between two of these. They are exact fractions here, so that nothing is lost to
floating point, and every size is bounded.

What a decimal stands for: a number that was rounded or cut at its last digit, once it shows at least
`SIGNIFICANT_DIGITS`. `0.333333` is 1/3, `0.33` and `0.333334` are not; `3.14159` is pi, `3.14` is not. With fewer
digits a decimal is only its own value. What a program prints ends in rounding errors: within `FLOAT_ERROR` it is the
number.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

SIGNIFICANT_DIGITS = 6
"""Digits from which on a decimal may stand for the number that it was rounded from."""
FLOAT_ERROR = Fraction(1, 10**9)
"""Relative error of a computed decimal; an absolute one of `SMALLEST` holds beside it."""
SMALLEST = Fraction(1, 10**12)

_MAX_DIGITS = 1_000
_MAX_EXPONENT = 1_000

_IDLE_SPACE = re.compile(r" (?!\d)|(?<!\d) ")
_DECIMAL = r"(?:\d+(?:\.\d*)?|\.\d+)"
_NUMBER = re.compile(
    rf"""(?P<sign>[-+]?)
    (?: (?P<decimal>{_DECIMAL})
            (?: [eE](?P<e>[-+]?\d+) | (?:\\cdot|\\times|\*)10(?:\^|\*\*)(?:\{{(?P<braced>[-+]?\d+)\}}|(?P<bare>\d)) )?
      | (?P<over>[-+]?{_DECIMAL})/(?P<under>[-+]?{_DECIMAL})
      | (?P<whole>\d+)?\\frac\{{(?P<top>[-+]?{_DECIMAL})\}}\{{(?P<bottom>[-+]?{_DECIMAL})\}}
      | 10\^(?:\{{(?P<power>[-+]?\d+)\}}|(?P<digit>\d))
    )(?P<percent>%?)""",
    re.VERBOSE | re.ASCII,
)


@dataclass(frozen=True, slots=True)
class PlainNumber:
    """A number as it was written."""

    value: Fraction
    """Of what stands before the percent sign."""
    unit: Fraction | None
    """What one step of the last digit is worth; None for an integer or a fraction, which are exact."""
    significant: int
    """Digits from the first that is not zero on; 0 where `unit` is None."""
    percent: bool

    def as_share(self) -> "PlainNumber":
        """A percentage as the number that it is a name for: 5% as 0.05."""
        unit = None if self.unit is None else self.unit / 100
        return PlainNumber(self.value / 100, unit, self.significant, percent=False)


def read_number(tidied: str) -> PlainNumber | None:
    """The number that the whole of a tidied text is, None where it is anything else or too large to be plain."""
    if len(tidied) > _MAX_DIGITS:
        return None
    text = _IDLE_SPACE.sub("", tidied)
    while len(text) > 2 and text[0] + text[-1] in ("()", "{}") and not set(text[1:-1]) & set("(){}"):
        text = text[1:-1]
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    part = match.groupdict()
    sign, percent = (-1 if part["sign"] == "-" else 1), bool(part["percent"])
    if part["decimal"] is not None:
        exponent = int(part["e"] or part["braced"] or part["bare"] or 0)
        if abs(exponent) > _MAX_EXPONENT:
            return None
        return _decimal(sign, part["decimal"], exponent, percent)
    if part["power"] is not None or part["digit"] is not None:
        exponent = int(part["power"] or part["digit"])
        return (
            PlainNumber(sign * Fraction(10) ** exponent, None, 0, percent) if abs(exponent) <= _MAX_EXPONENT else None
        )
    over, under = Fraction(part["over"] or part["top"]), Fraction(part["under"] or part["bottom"])
    if not under:
        return None
    return PlainNumber(sign * (int(part["whole"] or 0) + over / under), None, 0, percent)


def same_number(one: PlainNumber, other: PlainNumber) -> bool:
    """Whether both are the same number; of a percentage its share (5% is 0.05) or bare number (5% is 5) will do."""
    if one.percent == other.percent:
        return _stand_for_the_same(one, other)
    percentage, bare = (one, other) if one.percent else (other, one)
    return _stand_for_the_same(percentage, bare) or _stand_for_the_same(percentage.as_share(), bare)


def stands_for(decimal: PlainNumber, value: Fraction) -> bool:
    """Whether a decimal is `value`, rounded, cut, or computed."""
    error = abs(decimal.value - value)
    if not error:
        return True
    if decimal.unit is None or decimal.significant < SIGNIFICANT_DIGITS:
        return False
    if error <= min(FLOAT_ERROR * abs(value), Fraction(1, 10**6)) or (not value and error <= SMALLEST):
        return True
    cut = decimal.value * value > 0 and abs(decimal.value) < abs(value) and error < decimal.unit
    return 2 * error <= decimal.unit or cut


def _decimal(sign: int, digits: str, exponent: int, percent: bool) -> PlainNumber:
    whole, point, fraction = digits.partition(".")
    value = sign * Fraction(int((whole + fraction) or "0")) * Fraction(10) ** (exponent - len(fraction))
    if value.denominator == 1 and not point:
        return PlainNumber(value, None, 0, percent)
    significant = len((whole + fraction).lstrip("0"))
    return PlainNumber(value, Fraction(10) ** (exponent - len(fraction)), significant, percent)


def _stand_for_the_same(one: PlainNumber, other: PlainNumber) -> bool:
    return stands_for(one, other.value) or stands_for(other, one.value)
