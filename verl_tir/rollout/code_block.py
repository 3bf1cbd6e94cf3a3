"""Finding the complete Python blocks in a turn.

The grammar (SimpleTIR, appendix "prompt template"): an opening fence ```` ```py ````, ```` ```python ```` or a bare
```` ``` ````, lines of code, a closing fence. Fences are read line by line and in pairs, so the closing fence of a
```` ```json ```` block never opens a block of prose; tags are case-insensitive; CRLF and trailing blanks are allowed.

A fence may be indented by any number of columns, as in a list: to CommonMark four are a block of another kind outside a
list, but whoever writes a fence means a program. Its indentation is taken off the lines of code (CommonMark 4.5).
Block quotes are not looked into: after `> ` no line closes a block.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass

FENCE = "```"
PYTHON_TAGS = frozenset({"", "py", "python"})
"""Tags of SimpleTIR's blocks, lower-case; the empty one is that of a bare fence."""

STOP_STRINGS = ("\n```\n", "\n```\r\n")
"""Where the engine may stop generating: a line that is nothing but a fence. A hint that saves compute, not the rule:
the line may also open a bare block or close one of another language, and then generation goes on."""


_ITEM = re.compile(r"[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]")
"""The marker of a list item, at the start of its line."""
_TAB = 4
"""Columns from one of CommonMark's tab stops to the next."""


@dataclass(frozen=True, slots=True)
class CodeBlock:
    """A complete, non-blank Python block of a text."""

    code: str
    """The lines between the fences, without the fence's indentation and the newline before the closing one."""
    end: int
    """Offset just past the closing fence's backticks; what follows never reaches the context or the loss."""


def code_blocks(text: str, tags: Collection[str] = PYTHON_TAGS) -> Iterator[CodeBlock]:
    """Yield the complete blocks of `text` whose tag is one of `tags`, in their order.

    An opening fence may follow prose on its line, as models often write it; a closing fence starts its line. A block
    with another tag, or without anything in it, is passed over.
    """
    inside_tag: str | None = None
    code_start = margin = position = 0
    while position < len(text):
        newline = text.find("\n", position)
        line_end = len(text) if newline < 0 else newline
        line = text[position:line_end]
        next_position = line_end + 1
        if inside_tag is None:
            tag = _opening_tag(line)
            if tag is not None:
                inside_tag, code_start, margin = tag, next_position, _margin(line)
        elif line.lstrip().startswith(FENCE):
            code = text[code_start:position]
            if inside_tag in tags and code.strip():
                code = _outdented(code.replace("\r\n", "\n").removesuffix("\n"), margin)
                yield CodeBlock(code=code, end=line_end - len(line.lstrip().lstrip("`")))
            # A fence with a tag cannot close a block (CommonMark 4.5), so it also opens the next.
            inside_tag, code_start, margin = _opening_tag(line) or None, next_position, _margin(line)
        position = next_position


def _opening_tag(line: str) -> str | None:
    """The lower-cased tag of the fence that `line` ends with, or None where the line opens no block."""
    before, fence, tag = line.rpartition(FENCE)
    # An even number of fences before the last one are inline code such as ```x```, closed on their own line.
    if not fence or before.count(FENCE) % 2:
        return None
    tag = tag.strip().lower()
    # Prose such as "wrap the code in ```." names no language.
    return tag if not tag or (tag.split() == [tag] and any(map(str.isalnum, tag))) else None


def _margin(line: str) -> int:
    """The columns that the lines after an opening fence may share with it.

    On the line of a list item's marker it is no matter how many: some indent by the marker's width, some by a tab stop.
    """
    return sys.maxsize if _ITEM.match(line) else _split(line, sys.maxsize)[0]


def _outdented(code: str, margin: int) -> str:
    """The code with up to `margin` columns less before each line; a line that has fewer loses what it has.

    Where the first statement begins further left than the fence, only as many as stand before it: code that was not
    indented with its fence would lose what it means.
    """
    if not margin:
        return code
    lines = code.split("\n")
    written = [line for line in lines if line.strip()]
    first = next((line for line in written if not line.lstrip().startswith("#")), written[0])
    columns = _split(first, margin)[0]
    return "\n".join(_split(line, columns)[1] for line in lines) if columns else code


def _split(line: str, most: int) -> tuple[int, str]:
    """How many columns of indentation are taken, at most `most`, and what is left of the line."""
    column = 0
    for place, letter in enumerate(line):
        if column >= most or letter not in " \t":
            # Of a tab that goes beyond, the rest is left as blanks.
            return min(column, most), " " * (column - most) + line[place:]
        column += _TAB - column % _TAB if letter == "\t" else 1
    return min(column, most), " " * (column - most)
