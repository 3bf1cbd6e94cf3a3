r"""Times of the day and of a clock: `9 a.m.`, `16:30`, `1:02:03`."""

import re

_TIME = re.compile(r"(\d{1,2})(?:[:.](\d\d))?(?::(\d\d))?(?:([ap])\.?m\.?)?", re.IGNORECASE)
_SHAPE = re.compile(r"\d{1,2}(?::\d\d){1,2}")


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
