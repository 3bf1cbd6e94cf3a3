r"""LaTeX commands that an escape sequence has swallowed: a form feed and `rac{1}{2}`, for `\frac{1}{2}`.

Somebody wrote `"\frac"` into JSON or Python with one backslash. Form feeds, backspaces, bells and vertical tabs have no
place in a problem, so before a letter they can only be such; a tab can be a tab, and is taken for a backslash and t
before the rest of a usual command only.
"""

from __future__ import annotations

import re
from typing import Any

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
