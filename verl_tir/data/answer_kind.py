"""What kind of thing a ground truth is, by its form."""

from __future__ import annotations

import re
from enum import StrEnum

from verl_tir.reward.latex_text import compact, is_words, tidy


class AnswerKind(StrEnum):
    """In the order in which they are tried."""

    EMPTY = "empty"
    INTEGER = "integer"
    DECIMAL = "decimal"
    PERCENTAGE = "percentage"
    FRACTION = "fraction"
    CHOICE = "choice"
    """The letter of an option."""
    WORDS = "words"
    MATRIX = "matrix"
    """Or a vector in matrix form."""
    RELATION = "relation"
    """An equation or inequality."""
    SET = "set"
    """In braces, or a union."""
    INTERVAL = "interval"
    """With a square bracket or an infinite end; `(0,1)` could be a point, and counts as a tuple."""
    TUPLE = "tuple"
    LIST = "list"
    """Values with commas or "or" between, without brackets."""
    QUANTITY = "quantity"
    """A number with a unit."""
    NUMBER = "number"
    """An expression without variables: radicals, powers, pi."""
    EXPRESSION = "expression"
    """With variables."""


_INTEGER = re.compile(r"[-+]?\d+")
_DECIMAL = re.compile(r"[-+]?\d*\.\d+")
_FRACTION = re.compile(r"[-+]?(?:\\frac\{?[-+]?\d+\}?\{?\d+\}?|\d+/\d+|\d+\\frac\{\d+\}\{\d+\})")
_RELATION = re.compile(r"[=<>\u2264\u2265]|\\(?:leq?|geq?|lt|gt|neq?|in|equiv)(?![A-Za-z])")
_INTERVAL = re.compile(r"[\[(][^\[\](){}]*(?:\{[^{}]*\}[^\[\](){}]*)*,.*[\])]")
_INFINITY = re.compile(r"\\infty|\u221e")
_QUANTITY = re.compile(
    r"[-+\\$]*(?:\\frac\s*\{?[\d.]+\}?\{?[\d.]+\}?|[\d.,/ ]+)\s*"
    r"(?:\^?\s*\{?\\circ\}?|\\(?:text|mathrm|mbox)\s*\{.*\}(?:\^\{?\d\}?)?|[a-z]{2,}[a-z .]*)"
)
_OR = re.compile(r"(?<![A-Za-z])or(?![A-Za-z])")
_NAMED = re.compile(r"(?=.*[A-Za-z]{3})[A-Za-z][\w ,;:'.-]*")
"""Words with numbers between: a date, a label."""
_NAMES = re.compile(r"\\(?:pi|sqrt|frac|cdot|times|log|ln|sin|cos|tan|infty|circ|pm|binom)(?![A-Za-z])")
_LETTER = re.compile(r"[A-Za-z]")


def answer_kind(answer: str) -> AnswerKind:
    """The kind of a ground truth."""
    tidied = tidy(answer)
    text = compact(tidied)
    brackets = (text[:1], text[-1:])
    tests = (
        (AnswerKind.EMPTY, not text),
        (AnswerKind.INTEGER, _INTEGER.fullmatch(text)),
        (AnswerKind.DECIMAL, _DECIMAL.fullmatch(text)),
        (AnswerKind.PERCENTAGE, text.endswith("%")),
        (AnswerKind.FRACTION, _FRACTION.fullmatch(text)),
        (AnswerKind.CHOICE, re.fullmatch("[A-H]", text)),
        (AnswerKind.WORDS, is_words(text) or _NAMED.fullmatch(text)),
        (AnswerKind.MATRIX, r"\begin{" in text),
        (AnswerKind.RELATION, _RELATION.search(text)),
        (AnswerKind.SET, text.startswith(r"\{") or r"\cup" in text or text in (r"\emptyset", "{}")),
        (AnswerKind.INTERVAL, _is_interval(text, brackets)),
        (AnswerKind.TUPLE, brackets in {("(", ")"), ("[", "]")} and "," in text and not _is_bare_list(text)),
        (AnswerKind.LIST, _is_bare_list(text) or _OR.search(text)),
        (AnswerKind.QUANTITY, _QUANTITY.fullmatch(tidied)),
        (AnswerKind.NUMBER, not _LETTER.search(_NAMES.sub("", text))),
    )
    return next((kind for kind, holds in tests if holds), AnswerKind.EXPRESSION)


def _is_interval(text: str, brackets: tuple[str, str]) -> bool:
    if not _INTERVAL.fullmatch(text) or text.count(",") != 1:
        return False
    return brackets in {("[", ")"), ("(", "]"), ("[", "]")} or _INFINITY.search(text) is not None


def _is_bare_list(text: str) -> bool:
    """Whether there is a comma outside of all brackets."""
    depth = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            return True
    return False
