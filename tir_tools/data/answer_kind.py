"""What kind of thing a ground truth is, by its form."""

from __future__ import annotations

import re
from enum import StrEnum

from math_answers.form import Braced, Bracketed, Form, Listed, Matrix, Relation, Union, read_form
from math_answers.latex_text import compact, is_words, tidy


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
    form = read_form(tidied)
    tests = (
        (AnswerKind.EMPTY, not text),
        (AnswerKind.INTEGER, _INTEGER.fullmatch(text)),
        (AnswerKind.DECIMAL, _DECIMAL.fullmatch(text)),
        (AnswerKind.PERCENTAGE, text.endswith("%")),
        (AnswerKind.FRACTION, _FRACTION.fullmatch(text)),
        (AnswerKind.CHOICE, re.fullmatch("[A-H]", text)),
        (AnswerKind.WORDS, is_words(text) or _NAMED.fullmatch(text)),
        (AnswerKind.MATRIX, isinstance(form, Matrix) or r"\begin{" in text),
        (AnswerKind.RELATION, isinstance(form, Relation)),
        (AnswerKind.SET, isinstance(form, Braced | Union) or text in (r"\emptyset", "{}")),
        (AnswerKind.INTERVAL, _is_interval(form, text)),
        (AnswerKind.TUPLE, isinstance(form, Bracketed)),
        (AnswerKind.LIST, isinstance(form, Listed) or _OR.search(text)),
        (AnswerKind.QUANTITY, _QUANTITY.fullmatch(tidied)),
        (AnswerKind.NUMBER, not _LETTER.search(_NAMES.sub("", text))),
    )
    return next((kind for kind, holds in tests if holds), AnswerKind.EXPRESSION)


def _is_interval(form: Form, text: str) -> bool:
    if not isinstance(form, Bracketed) or len(form.items) != 2:
        return False
    return "[" in form.left or "]" in form.right or _INFINITY.search(text) is not None
