"""Finding the complete Python blocks in a turn.

The grammar (SimpleTIR, appendix "prompt template"): an opening fence ```` ```py ````, ```` ```python ```` or a bare
```` ``` ````, lines of code, a closing fence. Fences are read line by line and in pairs, so the closing fence of a
```` ```json ```` block never opens a block of prose; tags are case-insensitive; CRLF and trailing blanks are allowed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

FENCE = "```"
PYTHON_TAGS = frozenset({"", "py", "python"})
"""Tags of SimpleTIR's blocks, lower-case; the empty one is that of a bare fence."""

STOP_STRINGS = ("\n```\n", "\n```\r\n")
"""Where the engine may stop generating: a line that is nothing but a fence. A hint that saves compute, not the rule:
the line may also open a bare block or close one of another language, and then generation goes on."""


@dataclass(frozen=True, slots=True)
class CodeBlock:
    """A complete, non-blank Python block of a text."""

    code: str
    """The lines between the fences, without the newline before the closing one."""
    end: int
    """Offset just past the closing fence's backticks; what follows never reaches the context or the loss."""


def first_code_block(text: str) -> CodeBlock | None:
    """Return the first complete Python block of `text`, or None."""
    return next(code_blocks(text), None)


def code_blocks(text: str, tags: Collection[str] = PYTHON_TAGS) -> Iterator[CodeBlock]:
    """Yield the complete blocks of `text` whose tag is one of `tags`, in their order.

    An opening fence may follow prose on its line, as models often write it; a closing fence starts its line. A block
    with another tag, or without anything in it, is passed over.
    """
    inside_tag: str | None = None
    code_start = 0
    position = 0
    while position < len(text):
        newline = text.find("\n", position)
        line_end = len(text) if newline < 0 else newline
        line = text[position:line_end]
        next_position = line_end + 1
        if inside_tag is None:
            tag = _opening_tag(line)
            if tag is not None:
                inside_tag, code_start = tag, next_position
        elif line.lstrip().startswith(FENCE):
            code = text[code_start:position]
            if inside_tag in tags and code.strip():
                code = code.replace("\r\n", "\n").removesuffix("\n")
                yield CodeBlock(code=code, end=line_end - len(line.lstrip().lstrip("`")))
            # A fence with a tag cannot close a block (CommonMark 4.5), so it also opens the next.
            inside_tag, code_start = _opening_tag(line) or None, next_position
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
