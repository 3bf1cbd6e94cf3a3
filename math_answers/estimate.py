r"""What can be said of expressions without algebra: their values in floating point tell most wrong answers apart.

The grammar is small on purpose: numbers, letters, `+ - \cdot /`, powers with whole exponents, `\frac`, `\sqrt`, `\pi`,
brackets and products without a sign. What it does not know for certain it does not read, and sympy decides. Letters get
fixed values; expressions that differ there differ. Agreement proves nothing here.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

_MAX_CHARS = 200
_MAX_DEPTH = 12
_MAX_EXPONENT = 60
_CLEARLY = 1e-4
"""Difference, relative to the largest number on the way, that no rounding of a decimal explains."""
_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?|\.\d+)|(?P<command>\\[A-Za-z]+)|(?P<letter>[a-zA-Z])|(?P<sign>\S))"
)
_BRACKETS = {"(": ")", "[": "]", "{": "}"}
# Not e, i, d and the like, which stand for more than a letter.
_LETTERS = {
    letter: 1.0 + ((index * 37) % 101) / 53 for index, letter in enumerate("abcghjkmnpqrstuvwxyzABCGHKMNPQRSTUVWXYZ")
}


class _NotSimple(ValueError):
    """The expression is outside of the grammar, or has no real value."""


@dataclass(frozen=True, slots=True)
class _Estimate:
    """A real number, and the largest one that was met on the way to it."""

    value: float
    scale: float


class NeedsAlgebra(Exception):
    """The comparison cannot be settled by numbers, words and forms."""


class Algebra(Protocol):
    """What is asked about expressions; sizes and times are the caller's to bound."""

    def same_value(self, answer: str, truth: str) -> bool:
        """Whether two expressions have the same value, for all values of their letters."""

    def same_equation(self, answer: tuple[str, str], truth: tuple[str, str]) -> bool:
        """Whether two equations, each by its sides, are multiples of each other."""


class NoAlgebra:
    """Says what is different at a glance, and gives up where only algebra can tell."""

    def same_value(self, answer: str, truth: str) -> bool:
        """False where the values clearly differ.

        Raises:
            NeedsAlgebra: they may be the same.
        """
        if "%" not in answer + truth and clearly_differ(answer, truth):
            return False
        raise NeedsAlgebra(answer, truth)

    def same_equation(self, answer: tuple[str, str], truth: tuple[str, str]) -> bool:
        """Never known.

        Raises:
            NeedsAlgebra: always.
        """
        raise NeedsAlgebra(answer, truth)


def clearly_differ(one: str, other: str) -> bool:
    """Whether two expressions in tidied LaTeX certainly have different values; False where nothing is certain."""
    first, second = estimate(one), estimate(other)
    if first is None or second is None:
        return False
    return abs(first.value - second.value) > _CLEARLY * max(first.scale, second.scale)


@lru_cache(maxsize=4_096)
def estimate(latex: str) -> _Estimate | None:
    """The value of an expression in tidied LaTeX, None where it is not simple."""
    if len(latex) > _MAX_CHARS:
        return None
    try:
        reader = _Reader(latex)
        value = reader.sum(0)
        if reader.kind is not None or not math.isfinite(value):
            return None
    except (_NotSimple, ArithmeticError):
        return None
    return _Estimate(value, max(reader.scale, abs(value)))


class _Reader:
    """A recursive descent over the tokens of one expression."""

    def __init__(self, latex: str) -> None:
        self._tokens = [
            (match.lastgroup, match[match.lastgroup]) for match in _TOKEN.finditer(latex) if match.lastgroup
        ]
        self._at = 0
        self.scale = 0.0

    @property
    def kind(self) -> str | None:
        """Of the next token; None at the end."""
        return self._tokens[self._at][0] if self._at < len(self._tokens) else None

    @property
    def text(self) -> str:
        """Of the next token; empty at the end."""
        return self._tokens[self._at][1] if self._at < len(self._tokens) else ""

    def sum(self, depth: int) -> float:
        """The value of what follows, up to where no sign of the grammar continues it."""
        if depth > _MAX_DEPTH:
            raise _NotSimple("too deep")
        value = self._product(depth) if self.text not in ("+", "-") else 0.0
        while self.text in ("+", "-"):
            sign = 1 if self._next() == "+" else -1
            value = self._seen(value + sign * self._product(depth))
        return value

    def _product(self, depth: int) -> float:
        value = self._power(depth)
        while True:
            if self.text in ("*", r"\cdot", r"\times"):
                self._next()
                value = self._seen(value * self._power(depth))
            elif self.text == "/":
                self._next()
                value = self._seen(value / self._power(depth))
                if self.kind is not None and self.text not in ("+", "-", ")", "}", "]"):
                    # Whether 1/2x is half of x is a matter of taste.
                    raise _NotSimple("after a slash")
            elif self.kind == "letter" or self.text in ("(", r"\sqrt", r"\pi"):
                value = self._seen(value * self._power(depth))
            else:
                return value

    def _power(self, depth: int) -> float:
        value = self._atom(depth)
        if self.text == "^":
            self._next()
            exponent = self._exponent()
            if abs(exponent) > _MAX_EXPONENT or (value == 0 and exponent <= 0):
                raise _NotSimple("power")
            value = self._seen(value**exponent)
        if self.text in ("^", "_", "!", "'"):
            raise _NotSimple(self.text)
        return value

    def _exponent(self) -> int:
        if self.kind == "number" and len(self.text) == 1:
            return int(self._next())
        self._take("{")
        sign = -1 if self.text == "-" else 1
        if sign < 0:
            self._next()
        if self.kind != "number" or not self.text.isdecimal():
            raise _NotSimple("exponent")
        exponent = sign * int(self._next()[:4])
        self._take("}")
        return exponent

    def _atom(self, depth: int) -> float:
        kind, text = self.kind, self.text
        if kind == "number":
            if len(text) > 15:
                raise _NotSimple("long number")
            value = float(self._next())
            if self.kind == "number" or self.text == r"\frac":
                # A mixed number, or two numbers side by side.
                raise _NotSimple("number after a number")
            return self._seen(value)
        if kind == "letter" and text in _LETTERS:
            return self._seen(_LETTERS[self._next()])
        if text in ("(", "{"):
            return self._bracketed(text, depth)
        if text == r"\pi":
            self._next()
            return self._seen(math.pi)
        if text == r"\frac":
            self._next()
            over, under = self._bracketed("{", depth), self._bracketed("{", depth)
            return self._seen(over / under)
        if text == r"\sqrt":
            self._next()
            radicand = self._bracketed("{", depth)
            if radicand < 0:
                raise _NotSimple("not real")
            return self._seen(math.sqrt(radicand))
        raise _NotSimple(text)

    def _bracketed(self, bracket: str, depth: int) -> float:
        self._take(bracket)
        value = self.sum(depth + 1)
        self._take(_BRACKETS[bracket])
        return value

    def _take(self, text: str) -> None:
        if self.text != text:
            raise _NotSimple(f"{self.text} for {text}")
        self._at += 1

    def _next(self) -> str:
        text = self.text
        self._at += 1
        return text

    def _seen(self, value: float) -> float:
        self.scale = max(self.scale, abs(value))
        return value
