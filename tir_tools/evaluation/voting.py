"""Majority votes: which samples gave the same answer, and how often the majority is right."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from fractions import Fraction
from functools import lru_cache
from math import comb

from math_answers import Verdict
from math_answers.latex_text import compact, is_words, tidy
from math_answers.python_text import python_to_latex
from tir_tools.evaluation.samples import Sample

CORRECT = 0
"""The vote for the right answer."""

_NUMBER = re.compile(r"[-+]?\d{1,50}(?:\.\d{1,50})?(?:/\d{1,50})?|[-+]?\.\d{1,50}")
_FRACTION = re.compile(r"([-+]?)\\frac\{(\d{1,50})\}\{(\d{1,50})\}")

Same = Callable[[str, str], Awaitable[bool]]
"""Whether two answers are equal, where their texts do not tell."""


async def votes(samples: Sequence[Sample], same: Same) -> list[int | None]:
    """For each sample of a problem, which of its different answers it gave.

    All right answers are one; wrong ones are one where their normalised texts or numbers are equal, or `same` says so.

    Returns:
        `CORRECT` for a right answer, from 1 for wrong ones in the order in which they come; None for a sample without
        an answer or without a verdict, which has no vote.
    """
    found: list[int | None] = []
    known: dict[str | Fraction, int] = {}
    first: list[str] = []
    """An answer of each vote from 1."""
    for sample in samples:
        if sample.verdict is Verdict.CORRECT:
            found.append(CORRECT)
        elif sample.verdict is not Verdict.WRONG or sample.answer is None:
            found.append(None)
        else:
            form = canonical(sample.answer)
            if form not in known:
                known[form] = await _vote(sample.answer, form, first, same)
                if known[form] > len(first):
                    first.append(sample.answer)
            found.append(known[form])
    return found


async def _vote(answer: str, form: str | Fraction, first: Sequence[str], same: Same) -> int:
    for vote, other in enumerate(first, start=1):
        # Two numbers are equal as numbers, or not at all.
        plain = isinstance(form, Fraction) and isinstance(canonical(other), Fraction)
        if not plain and await same(answer, other):
            return vote
    return len(first) + 1


@lru_cache(maxsize=4096)
def canonical(answer: str) -> str | Fraction:
    """An answer's value where it is a plain number or fraction, else its normalised text."""
    if len(answer) > 2_000:
        return answer
    text = compact(tidy(python_to_latex(answer) or answer))
    if fraction := _FRACTION.fullmatch(text):
        sign, above, below = fraction.groups()
        text = f"{sign}{above}/{below}"
    if _NUMBER.fullmatch(text) and "." not in text.partition("/")[0].partition(".")[2]:
        above, _, below = text.partition("/")
        if not below:
            return Fraction(above)
        if int(below):
            return Fraction(above) / int(below)
    return text.casefold() if is_words(text) else text


@lru_cache(maxsize=65536)
def majority_at_k(right: int, wrong: tuple[int, ...], none: int, k: int) -> float:
    """Chance that the majority of `k` samples, drawn without replacement, is right; ties are broken at random.

    The draws are not sampled but counted: for each number of right votes, the ways in which no wrong answer has more,
    by how many have as many. With `k` all samples it is 1, 0, or 1 in the number of answers that are tied.

    Args:
        right: samples with the right answer.
        wrong: samples of each wrong answer; the order does not matter.
        none: samples without a vote.
        k: samples drawn, at most all of them.
    """
    total = right + sum(wrong) + none
    if not 1 <= k <= total:
        raise ValueError(f"k={k} of {total} samples")
    favourable = 0.0
    for most in range(1, min(right, k) + 1):
        ways = comb(right, most)
        for tied, count in enumerate(_ways(wrong, none, k - most, most)):
            favourable += ways * count / (tied + 1)
    return favourable / comb(total, k)


def _ways(wrong: tuple[int, ...], none: int, k: int, most: int) -> list[int]:
    """Ways to draw `k` samples with at most `most` of each wrong answer, by the number of answers with `most`."""
    # By drawn samples, then by answers with `most` among them.
    table = [[comb(none, drawn)] for drawn in range(k + 1)]
    for count in wrong:
        deepest = k // most
        new = [[0] * (deepest + 1) for _ in range(k + 1)]
        for drawn, row in enumerate(table):
            for tied, ways in enumerate(row):
                if not ways:
                    continue
                for taken in range(min(count, most, k - drawn) + 1):
                    new[drawn + taken][tied + (taken == most)] += ways * comb(count, taken)
        table = new
    return table[k]
