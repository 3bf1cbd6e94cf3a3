r"""Numbers with colons between them: times of the day and of a clock, `9 a.m.`, `16:30`, `1:02:03`; and ratios.

A ratio is a point of a projective space, the same whatever all its parts are multiplied by.

`0:0` is not a point of it. `7:0` is one, but not the ratio of two numbers: it is the same as itself only.
`1:05` is a time, and so is `12:12` beside a whole number; `9:24` is 3/8.
"""

import re
from collections.abc import Sequence
from fractions import Fraction

from math_answers.estimate import Algebra
from math_answers.plain_number import read_number

_TIME = re.compile(r"(\d{1,2})(?:[:.](\d\d))?(?::(\d\d))?(?:([ap])\.?m\.?)?", re.IGNORECASE)
_SHAPE = re.compile(r"\d{1,2}(?::\d\d){1,2}")
_WITH_ZERO_IN_FRONT = re.compile(r"0\d+")


def same_time(answer: str, truth: str) -> bool | None:
    """Whether two compacted texts are the same time; None where they are not both times.

    Two texts without a.m. and p.m. are both times where they are both written as such, with two digits for minutes and
    seconds; they are then equal in each of these, and no seconds are none.
    """
    found = [_TIME.fullmatch(text.replace(" ", "")) for text in (answer, truth)]
    if not all(found):
        return None
    halves = {match[4].lower() for match in found if match and match[4]}
    hours, minutes, seconds = ([int(match[part] or 0) for match in found if match] for part in (1, 2, 3))
    if not halves:
        if not (_SHAPE.fullmatch(answer) and _SHAPE.fullmatch(truth)):
            return None
        return (hours[0], minutes[0], seconds[0]) == (hours[1], minutes[1], seconds[1])
    # On the clock of 24 hours.
    halves |= {"p" for hour in hours if hour > 12} | {"a" for hour in hours if hour == 0}
    same = hours[0] % 12 == hours[1] % 12 and minutes[0] == minutes[1] and seconds[0] == seconds[1]
    return same and len(halves) == 1


def is_time(text: str) -> bool:
    """Whether a compacted text may be a time of the day: `4:30`, `4 p.m.`, and also `4`."""
    return _TIME.fullmatch(text.replace(" ", "")) is not None


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
    """The number that a ratio of two parts is; None where it is not one."""
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
