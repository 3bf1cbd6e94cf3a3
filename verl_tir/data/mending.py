r"""LaTeX commands that an escape sequence has swallowed: a form feed and `rac{1}{2}`, for `\frac{1}{2}`.

Somebody wrote `"\frac"` into JSON or Python with one backslash. Form feeds, backspaces, bells and vertical tabs have no
place in a problem, so before a letter they can only be such; a tab can be a tab, and is taken for a backslash and t
before the rest of a usual command only.
"""

from __future__ import annotations

import re

_SWALLOWED = re.compile(
    r"[\f\x08\a\v](?=[a-z])|\t(?=(?:ext(?:bf|it|rm)?\{|imes\b|heta\b|riangle|frac|herefore\b|ilde\b|an\s*[({\\]))"
)
_LETTERS = {"\f": r"\f", "\b": r"\b", "\a": r"\a", "\v": r"\v", "\t": r"\t"}


def mended(text: str) -> str:
    """`text` with its swallowed commands restored."""
    return _SWALLOWED.sub(lambda match: _LETTERS[match[0]], text)
