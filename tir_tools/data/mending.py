r"""What is mended on reading a row, or looks wrong in it, by name; and LaTeX commands that were swallowed.

A command is swallowed by an escape sequence: a form feed and `rac{1}{2}`, for `\frac{1}{2}`, where somebody wrote
`"\frac"` into JSON or Python with one backslash. Form feeds, backspaces, bells and vertical tabs have no place in a
problem, so before a letter they can only be such; a tab can be a tab, and is taken for a backslash and t before the
rest of a usual command only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Remark(StrEnum):
    """What is said of a row that was read; in the order in which they are printed."""

    LATEX = "latex"
    """A LaTeX command that an escape sequence had swallowed was restored."""
    SYSTEM_MESSAGE = "system_message"
    """A system message was left out."""
    INSTRUCTIONS = "instructions"
    """Sentences that say how to work and where to put the answer were taken off the question."""
    ANSWER_LIST = "answer_list"
    """The ground truth was a list written as text."""
    ANSWER_TEXT = "answer_text"
    """The ground truth was a sentence or a solution, and the answer was read from it."""
    ANSWER_MARKUP = "answer_markup"
    """What only sets the ground truth was taken off: a box, dollar signs, stars, a full stop."""
    INSTRUCTIONS_LEFT = "instructions_left"
    """The question may still say where to put the answer."""
    SEVERAL_ANSWERS = "several_answers"
    """Any one of several answers is accepted."""

    @property
    def is_warning(self) -> bool:
        """Whether a person should look at the row; else it was mended."""
        return self in (Remark.INSTRUCTIONS_LEFT, Remark.SEVERAL_ANSWERS)


@dataclass(frozen=True, slots=True)
class Note:
    """A remark on one row."""

    remark: Remark
    detail: str
    """What was found, for a person."""


_SWALLOWED = re.compile(
    r"[\f\x08\a\v](?=[a-z])|\t(?=(?:ext(?:bf|it|rm)?\{|imes\b|heta\b|riangle|frac|herefore\b|ilde\b|an\s*[({\\]))"
)
_LETTERS = {"\f": r"\f", "\b": r"\b", "\a": r"\a", "\v": r"\v", "\t": r"\t"}


def mended(value: Any) -> Any:
    """Plain data with the swallowed commands of all its texts restored."""
    match value:
        case str():
            return _SWALLOWED.sub(lambda found: _LETTERS[found[0]], value)
        case list():
            return [mended(item) for item in value]
        case dict():
            return {key: mended(item) for key, item in value.items()}
        case _:
            return value
