r"""What an answer says of its letters after it: `n = 3k \text{ for positive integers } k`, `2^n - 1 \quad (n \ge 1)`.

A qualifier counts only against another one: who leaves it out answers the same. It is taken off only where it speaks
of a letter of the answer, and where the answer is not a condition itself: in `x > 0, x \ne 1` both are the answer. What
stands under `if` or `when` is another answer without it.
"""

from __future__ import annotations

import re
import string
from dataclasses import dataclass
from enum import StrEnum

from math_answers.latex_text import compact, is_words, unwrapped


class Domain(StrEnum):
    """What numbers a letter stands for."""

    POSITIVE_INTEGERS = "positive integers"
    POSITIVE_NUMBERS = "positive numbers"
    """Integers or not."""
    NATURAL_NUMBERS = "natural numbers"
    """With or without zero: books differ."""
    INTEGERS_FROM_ZERO = "integers from zero"
    INTEGERS = "integers"
    RATIONALS = "rationals"
    REALS = "reals"
    COMPLEX_NUMBERS = "complex numbers"
    PRIMES = "primes"
    CONSTANT = "constant"
    """Of whatever kind."""


_ALIKE = (
    {Domain.POSITIVE_INTEGERS, Domain.NATURAL_NUMBERS},
    {Domain.POSITIVE_INTEGERS, Domain.POSITIVE_NUMBERS},
    {Domain.NATURAL_NUMBERS, Domain.POSITIVE_NUMBERS},
    {Domain.INTEGERS_FROM_ZERO, Domain.NATURAL_NUMBERS},
    {Domain.CONSTANT, Domain.REALS},
    {Domain.CONSTANT, Domain.COMPLEX_NUMBERS},
)
_IN_WORDS = (
    (re.compile(r"prime"), Domain.PRIMES),
    (re.compile(r"positive integer"), Domain.POSITIVE_INTEGERS),
    (re.compile(r"positive"), Domain.POSITIVE_NUMBERS),
    (re.compile(r"non-?\s?negative|whole"), Domain.INTEGERS_FROM_ZERO),
    (re.compile(r"natural"), Domain.NATURAL_NUMBERS),
    (re.compile(r"integer"), Domain.INTEGERS),
    (re.compile(r"rational"), Domain.RATIONALS),
    (re.compile(r"real"), Domain.REALS),
    (re.compile(r"complex"), Domain.COMPLEX_NUMBERS),
    (re.compile(r"constant"), Domain.CONSTANT),
)
_BY_SET = {
    "Z": Domain.INTEGERS,
    "N": Domain.NATURAL_NUMBERS,
    "Q": Domain.RATIONALS,
    "R": Domain.REALS,
    "C": Domain.COMPLEX_NUMBERS,
}
_BY_BOUND = {
    "ge1": Domain.POSITIVE_INTEGERS,
    "gt0": Domain.POSITIVE_NUMBERS,
    ">0": Domain.POSITIVE_NUMBERS,
    "ge0": Domain.INTEGERS_FROM_ZERO,
}
_GREEK = r"\\(?:alpha|beta|lambda|mu|theta)(?![A-Za-z])"
_LETTER = rf"(?:[A-Za-z]|{_GREEK})"
_LETTERS = rf"{_LETTER}(?:\s*(?:,|and)\s*{_LETTER}){{0,3}}"
_KIND = (
    r"(?P<kind>(?:(?:arbitrary|positive|non-?\s?negative|whole|natural|real|rational|complex|prime|fixed)\s+){0,2}"
    r"(?:integer|number|constant|real|rational|prime)s?)"
)
# After \text{} is unwrapped and the words in front are off.
_TAILS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"(?P<letters>{_LETTERS})\s*(?:\\in(?![A-Za-z])|\u2208)\s*"
        r"(?:\\(?:mathbb|mathbf|Bbb)\s*\{?\s*|\\)?(?P<set>[ZNQRC])\s*\}?(?P<which>[\s^_{}+*0-9>\\geq-]{0,14})",
        rf"(?P<letters>{_LETTER})\s*(?P<sign>\\(?:geq?|leq?|neq?|gt|lt|geqslant|leqslant)(?![A-Za-z])|[<>]=?|[\u2264\u2265\u2260])"
        r"\s*(?P<limit>-?\d{1,6})",
        rf"(?P<letters>{_LETTER})\s*=\s*(?P<first>-?\d{{1,3}})(?P<more>(?:\s*,\s*(?:\\pm|\u00b1)?\s*\d{{1,3}}){{1,5}})"
        r"\s*,\s*(?:\\[lc]?dots|\.{2,3}|\u2026)",
        rf"{_KIND}\s*(?P<letters>{_LETTERS})",
        rf"(?P<letters>{_LETTERS})\s*(?:(?:is|are|being|an?|any|some)\s+)*{_KIND}",
    )
)
_LEAD = re.compile(r"^(?:(?:for|where|with|and|over|all|any|every|each|some|an?|the|\\forall|\u2200)(?![A-Za-z])\s*)+")
_BREAK = re.compile(r"[,;(]|\\(?:text|textrm|mathrm|mbox)\s*\{|\\forall|\u2200|(?<=\s)(?:for|where|with)\s")
_MAX_BREAKS = 40
_CONDITION = re.compile(r"[<>\u2264\u2265\u2260\u2208]|\\(?:geq?|leq?|neq?|gt|lt|in|geqslant|leqslant)(?![A-Za-z])")
_BUILDER = re.compile(r"\\\{(?P<main>[^{}|:]*(?:\{[^{}]*\}[^{}|:]*)*)(?:\\mid|[|:])(?P<tail>.*)\\\}", re.DOTALL)
_VARIABLES = frozenset(string.ascii_letters) - frozenset("eiEI")
_NO_LETTER = re.compile(r"\\[A-Za-z]+")


@dataclass(frozen=True, slots=True)
class Qualified:
    """An answer taken apart."""

    main: str
    """The answer itself, in tidied LaTeX."""
    letters: tuple[str, ...] = ()
    """Of which it speaks; empty where nothing is said of any."""
    domains: frozenset[Domain | str] = frozenset()
    """Where they come from; a bound such as `>=2` as it is written."""


def read_qualified(tidied: str) -> Qualified:
    """A tidied text as answer and what it says of its letters. Takes time linear in the length for each comma."""
    builder = _BUILDER.fullmatch(tidied)
    if builder and (found := _qualifier(builder["main"].strip(), builder["tail"])):
        return found
    if builder and (inner := read_qualified(builder["tail"].strip())).main.startswith(f"{builder['main'].strip()}="):
        return inner
    for count, place in enumerate(_BREAK.finditer(tidied)):
        if count == _MAX_BREAKS:
            break
        main, tail = tidied[: place.start()].strip().rstrip(",;").strip(), tidied[place.start() :].strip(" ,;")
        if tail.startswith("(") != tail.endswith(")"):
            continue
        if found := _qualifier(main, tail.removeprefix("(").removesuffix(")")):
            return found
    return Qualified(tidied)


def with_same_letters(answer: Qualified, truth: Qualified) -> tuple[str, str] | None:
    """Both answers by themselves, to be compared; None where what they say of their letters differs.

    A letter that runs through the integers may have another name.
    """
    if answer.domains and truth.domains and not _agree(answer.domains, truth.domains):
        return None
    only = _letters_of(answer.main) - _letters_of(truth.main), _letters_of(truth.main) - _letters_of(answer.main)
    if not all(len(letters) == 1 for letters in only):
        return answer.main, truth.main
    (letter,), (other,) = only
    if (answer.letters and letter not in answer.letters) or (truth.letters and other not in truth.letters):
        return answer.main, truth.main
    return re.sub(rf"(?<![A-Za-z\\]){re.escape(letter)}(?![A-Za-z])", lambda _: other, answer.main), truth.main


def _qualifier(main: str, tail: str) -> Qualified | None:
    words = _LEAD.sub("", unwrapped(tail).strip()).strip(" .,")
    match = next(filter(None, (pattern.fullmatch(words) for pattern in _TAILS)), None)
    if match is None:
        return None
    inner = read_qualified(main)
    if _CONDITION.search(inner.main) or len(compact(inner.main)) < 2 or is_words(compact(inner.main)):
        return None
    letters = tuple(re.findall(_LETTER, re.sub(r"\band\b", ",", match["letters"])))
    if not _letters_of(inner.main) & set(letters):
        return None
    return Qualified(inner.main, letters, inner.domains | {_domain(match)})


def _domain(match: re.Match[str]) -> Domain | str:
    part = match.groupdict()
    if part.get("kind"):
        return next(domain for words, domain in _IN_WORDS if words.search(part["kind"] + " constant"))
    if part.get("set"):
        which = re.sub(r"[\s^_{}]", "", part["which"])
        if part["set"] in "ZN" and which:
            return Domain.INTEGERS_FROM_ZERO if which in ("0", r"\geq0", r"\ge0", ">=0") else Domain.POSITIVE_INTEGERS
        return _BY_SET[part["set"]]
    if part.get("first") is not None:
        if "pm" in part["more"] or "\u00b1" in part["more"]:
            return Domain.INTEGERS
        return {"0": Domain.INTEGERS_FROM_ZERO, "1": Domain.POSITIVE_INTEGERS}.get(
            part["first"], f"from {part['first']}"
        )
    sign = part["sign"].replace("\u2265", "ge").replace("\u2264", "le").replace("\u2260", "ne")
    bound = re.sub(r"slant|q|\\", "", sign.replace(">=", "ge").replace("<=", "le")) + part["limit"]
    return _BY_BOUND.get(bound, bound)


def _agree(one: frozenset[Domain | str], other: frozenset[Domain | str]) -> bool:
    return any(a == b or {a, b} in _ALIKE for a in one for b in other)


def _letters_of(main: str) -> set[str]:
    # Nothing is said of a name that is given a value.
    main = main.rpartition("=")[2]
    return set(_NO_LETTER.sub(" ", unwrapped(main))) & _VARIABLES | set(re.findall(_GREEK, main))
