r"""The text of a question without what only lays it out: what duplicates are recognised by, and what an id hashes.

Letter case, spacing, sentence punctuation, dollar signs, braces, sizing and font commands, and Unicode variants of a
character make no difference; words, numbers and operators do.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

ID_LENGTH = 16
"""Hexadecimal digits of an id: 64 bits, with which a million questions collide with probability 3e-8."""

_SAME = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (
            r"\\(?:left|right|[bB]igg?[lrm]?|displaystyle|limits|text(?:bf|it|rm|sf|tt|normal)?|emph|mbox|rm|bf|it"
            r"|math(?:rm|bf|it|sf|tt|bb|cal)|operatorname)(?![a-z])\*?",
            " ",
        ),
        (r"\\q?quad(?![a-z])|\\[,;:! ]|~|(?<!\\)\\[()\[\]]", " "),
        (r"\\[dtc]frac(?![a-z])", r"\\frac"),
        (r"\\(l|g|n)eq(?![a-z])", r"\\\1e"),
        (r"\\(?:cdot|times)(?![a-z])", "*"),
        (r"\\(?:ldots|dots|cdots)(?![a-z])|\u2026", "..."),
        (r"\\%", "%"),
        # Separators of thousands.
        (r"(?<=\d)(?:\{,\}|,)(?=\d{3}(?!\d))", ""),
        (r"[\u2212\u2012-\u2015]", "-"),
    )
)
# Chinese and Japanese have no spaces, so each of their characters is a token of its own.
_TOKEN = re.compile(
    r"[\u3400-\u9fff]|[^\W\d_\u3400-\u9fff]+|\d+(?:\.\d+)?|[^\s\w.,;:?'\"`$\\{}\u2018-\u201d\u3001\u3002]"
)


def tokens(question: str) -> list[str]:
    """The words, numbers and signs of a question, in order, without layout."""
    text = unicodedata.normalize("NFKC", question).casefold()
    for pattern, replacement in _SAME:
        text = pattern.sub(replacement, text)
    return _TOKEN.findall(text)


def normalised(question: str) -> str:
    """The tokens of a question, with one space between."""
    return " ".join(tokens(question))


def problem_id(question: str) -> str:
    """A name for a question that stays the same in every file, order and run: a hash of its normalised text."""
    return hashlib.sha256(normalised(question).encode()).hexdigest()[:ID_LENGTH]
