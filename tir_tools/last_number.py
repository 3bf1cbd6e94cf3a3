r"""Lenient accuracy: a trajectory is right where the right number is the last thing that the model says, box or none.

The last number is found as GSM8K's graders do it, with the filter `flexible-extract` of lm-evaluation-harness: the last
match of `(-?[$0-9.,]{2,})|(-?[0-9]+)` before a next question that the model invents (for them, a stop sequence). Where
that filter misreads a text, this differs:

- Signs without a digit, such as `..` or `$.`, are no number and hide none; a trailing full stop is the sentence's.
- A comma separates thousands and not the items of a list; LaTeX's `{,}` and thin spaces do too.
- A minus sign after a letter, a digit or a bracket is a hyphen or a subtraction: `10-12` ends in 12.
- Digits that belong to a word, such as `x2`, are no number; `1/2`, `\frac12`, `5%` and `1.5e+20` are one.
- Numbers are compared by value, so that `18.00` is 18.
"""

from __future__ import annotations

import re
from collections import deque

from math_answers import accepted_answers
from math_answers.equivalence import settled
from verl_tir.dump.format import DumpedTrajectory

_NUMBER = re.compile(
    r"""
    (?<!\w)(?<!\d\.)
    (?:(?<![)\]}])(?P<sign>[-+\u2212]))? (?:\\?[$£€](?P<minus>-)?)?
    (?:
        (?P<fraction>\\[dt]?frac(?:\{\d+\}\{\d+\}|\d\d))
      | (?P<digits>(?:\d{1,3}(?:(?:\{,\}|,\\!|\\[,!]|[,\u00a0\u2009\u202f])\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<!\.)\.\d+)
        (?P<exponent>[eE][-+]?\d+)? (?P<under>/\d+)? (?P<percent>\\?%(?![\w(]))?
    )
    """,
    re.VERBOSE | re.ASCII,
)
_SEPARATOR = re.compile(r"[^\d.]+")
_NEXT_QUESTION = re.compile(r"^[^\w\n]*Question\b", re.MULTILINE)


def leniently_right(line: DumpedTrajectory) -> bool:
    """Whether a trajectory is right, or the last number of the model's last turn is its ground truth.

    What the tool printed is not said by the model. Numbers that only algebra could tell to be the same are not.

    Raises:
        TypeError: the ground truth is neither text, nor a number, nor a list of these.
    """
    if line.correct or line.ground_truth is None or not line.texts:
        return bool(line.correct)
    said = last_number(line.texts[-1].text)
    return said is not None and settled(said, accepted_answers(line.ground_truth, f"trajectory {line.key}")) is True


def last_number(text: str) -> str | None:
    """The last number in a text, without separators and currency; None where it has none."""
    last = deque(_NUMBER.finditer(_NEXT_QUESTION.split(text, maxsplit=1)[0]), maxlen=1)
    return _plain(last[0]) if last else None


def _plain(found: re.Match[str]) -> str:
    part = found.groupdict(default="")
    sign = "-" if part["minus"] or part["sign"] in ("-", "\u2212") else ""
    whole = part["fraction"] or _SEPARATOR.sub("", part["digits"]) + part["exponent"] + part["under"]
    return f"{sign}{whole}%" if part["percent"] else f"{sign}{whole}"
