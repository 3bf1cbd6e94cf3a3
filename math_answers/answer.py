r"""Where the final answer stands in a text: in the last complete `\boxed{...}`, and nowhere else.

A number outside a box is never an answer, whoever wrote it.
"""

import re

# One backslash or two before the name: text copied out of a string literal carries the backslash doubled.
_TOKEN = re.compile(r"(?P<box>\\{1,2}(?:boxed|fbox)\s*\{)|(?P<escaped>\\.)|(?P<open>\{)|(?P<close>\})", re.DOTALL)


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
