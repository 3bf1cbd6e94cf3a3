r"""Ratios by their parts: a ratio is a point of a projective space, the same whatever all its parts are multiplied by.

`0:0` is no point of it. `7:0` is one, and says of no two numbers what their ratio is: it is the same as itself only.
`1:05` is a time, and so is `12:12` beside a whole number; `9:24` is 3/8.
"""

import re
from collections.abc import Sequence
from fractions import Fraction

from math_answers.no_algebra import Algebra
from math_answers.plain_number import read_number

_WITH_ZERO_IN_FRONT = re.compile(r"0\d+")


def same_ratio(answer: Sequence[str], truth: Sequence[str], algebra: Algebra) -> bool:
    """Whether two ratios, by their parts in tidied LaTeX, are the same point."""
    if len(answer) != len(truth) or not all(_is_ratio(parts, algebra) for parts in (answer, truth)):
        return False
    pivot = next(index for index, part in enumerate(truth) if not _is_zero(part, algebra))
    if _is_zero(answer[pivot], algebra):
        return False
    numbers = [[_exact(part) for part in parts] for parts in (answer, truth)]
    if all(number is not None for parts in numbers for number in parts):
        one, other = numbers
        return all(a * other[pivot] == b * one[pivot] for a, b in zip(one, other, strict=True))  # type: ignore[operator]
    return all(
        algebra.same_value(_over(part, answer[pivot]), _over(other, truth[pivot]))
        for index, (part, other) in enumerate(zip(answer, truth, strict=True))
        if index != pivot
    )


def as_number(parts: Sequence[str], algebra: Algebra) -> str | None:
    """The number that a ratio of two parts is; None where it is none."""
    if len(parts) != 2 or not _is_ratio(parts, algebra):
        return None
    may_be_time = all(part.isdigit() for part in parts) and len(parts[0]) <= 2 == len(parts[1])
    return None if may_be_time and int(parts[0]) % int(parts[1]) == 0 else _over(*parts)


def _is_ratio(parts: Sequence[str], algebra: Algebra) -> bool:
    if any(map(_WITH_ZERO_IN_FRONT.fullmatch, parts)):
        return False
    return sum(not _is_zero(part, algebra) for part in parts) > 1


def _is_zero(part: str, algebra: Algebra) -> bool:
    exact = _exact(part)
    return algebra.same_value(part, "0") if exact is None else not exact


def _exact(part: str) -> Fraction | None:
    number = read_number(part)
    return None if number is None else number.value


def _over(part: str, other: str) -> str:
    return rf"\frac{{{part}}}{{{other}}}"
