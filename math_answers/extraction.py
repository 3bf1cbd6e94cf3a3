r"""What is compared: the final answer in a text, and the accepted answers as data sets give them.

The final answer stands in the last complete `\boxed{...}`, and nowhere else: a number outside a box is never an answer,
whoever wrote it.
"""

import math
import numbers
import re
from typing import Any

# One backslash or two before the name: text copied out of a string literal carries the backslash doubled.
_TOKEN = re.compile(r"(?P<box>\\{1,2}(?:boxed|fbox)\s*\{)|(?P<escaped>\\.)|(?P<open>\{)|(?P<close>\})", re.DOTALL)

_ITEM = r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
_LIST = re.compile(rf"\s*\[\s*{_ITEM}(?:\s*,\s*{_ITEM})*\s*\]\s*", re.DOTALL)
_ESCAPED = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_QUOTING = frozenset("\\\"'/u")
"""What an escape sequence stands for where the backslashes of LaTeX are escaped too."""


def last_boxed(text: str) -> str | None:
    r"""Content of the complete box that opens last, or None where no box is complete.

    Complete means that its closing brace is there. A later box that is never closed (a truncated response) does not
    hide an earlier complete one, and of two nested boxes the inner one is the answer. `\{` and `\}` are characters,
    not braces. `\boxed{}` is complete and gives the empty string. One pass over the text: time is linear in its
    length, nesting needs no recursion.
    """
    open_braces: list[int] = []
    best_start = best_end = -1
    for token in _TOKEN.finditer(text):
        match token.lastgroup:
            case "box":
                open_braces.append(token.end())
            case "open":
                # A plain brace is told from a box by its sign; where it stands does not matter.
                open_braces.append(-1)
            case "close" if open_braces:
                start = open_braces.pop()
                if start > best_start:
                    best_start, best_end = start, token.start()
            case _:
                pass
    return None if best_start < 0 else text[best_start:best_end]


def accepted_answers(ground_truth: Any, where: str) -> list[str]:
    """The accepted answers as text, any one of which is right.

    A list, tuple or array holds an accepted answer in each place, and so does a text that is a list of quoted texts
    (see `quoted_texts`); any other text, and a number, is the one accepted answer.

    Args:
        ground_truth: as it was read.
        where: names the place in the error, such as `"line 3"`.

    Raises:
        TypeError: it is anything else, or the NaN that stands for a missing value.
    """
    # Data sets loaded through parquet give arrays and numpy numbers.
    plain = ground_truth.tolist() if hasattr(ground_truth, "tolist") else ground_truth
    several = list(plain) if isinstance(plain, list | tuple) else [plain]
    if not several or not all(map(_is_answer, several)):
        raise TypeError(
            f"ground truth of {where} must be text, a number, or a non-empty list of these, not {ground_truth!r:.200}"
        )
    return [text for one in several for text in (quoted_texts(str(one)) or (str(one),))]


def quoted_texts(text: str) -> tuple[str, ...] | None:
    r"""The texts of a list that was written as text, by JSON or by Python: `["\\frac12", "0.5"]`; None for other texts.

    Quotes tell such a list from an answer: `[1, 2]` is an interval or a list, and the answer itself. LaTeX may stand
    in it with its backslashes escaped, or, against the rules of JSON, as it is.
    """
    if not _LIST.fullmatch(text):
        return None
    items = [found[0][1:-1] for found in re.finditer(_ITEM, text, re.DOTALL)]
    if all(found[1][0] in _QUOTING for found in _ESCAPED.finditer(text)):
        items = [_ESCAPED.sub(_unescaped, item) for item in items]
    return tuple(items)


def _unescaped(found: re.Match[str]) -> str:
    return found[1] if len(found[1]) == 1 else chr(int(found[1][1:], 16))


def _is_answer(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, str | numbers.Real):
        return False
    return isinstance(value, str) or not math.isnan(value)
