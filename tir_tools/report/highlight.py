"""The colours of the Python in a text, as runs of characters: no markup is made of what a model wrote."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from pygments.lexers import PythonLexer
from pygments.token import Comment, Keyword, Name, Number, Operator, String, _TokenType

_BLOCK = re.compile(r"```(?:py|python)?[ \t]*\r?\n(.*?)(?=^[ \t]*```|\Z)", re.DOTALL | re.IGNORECASE | re.MULTILINE)
_LEXER = PythonLexer(stripnl=False, ensurenl=False)
_KINDS = (
    (Comment, "comment"),
    (Keyword, "keyword"),
    (Operator.Word, "keyword"),
    (String, "string"),
    (Number, "number"),
    (Name.Builtin, "builtin"),
    (Name.Function, "name"),
    (Name.Class, "name"),
)


class ColourRun(NamedTuple):
    """Characters of one colour."""

    kind: str
    """Empty for what is not coloured; `code` for code without a colour of its own."""
    text: str


def colour_runs(text: str) -> list[ColourRun]:
    """Runs that make up the text: Python between fences in its colours, all else plain."""
    found: list[ColourRun] = []
    position = 0
    for block in _BLOCK.finditer(text):
        _append(found, ColourRun("", text[position : block.start(1)]))
        coloured = list(_coloured(block[1]))
        # Lexers may drop a letter, such as a byte order mark; then nothing is coloured, rather than shifted.
        whole = "".join(run.text for run in coloured) == block[1]
        for run in coloured if whole else [ColourRun("code", block[1])]:
            _append(found, run)
        position = block.end(1)
    _append(found, ColourRun("", text[position:]))
    return found


def _coloured(code: str) -> Iterator[ColourRun]:
    # The lexer writes all line ends alike, which would shift what follows.
    for line in re.split(r"(\r)", code):
        if line == "\r":
            yield ColourRun("code", line)
            continue
        for token, value in _LEXER.get_tokens(line) if line else ():
            yield ColourRun(_kind(token), value)


@cache
def _kind(token: _TokenType) -> str:
    return next((kind for kinds, kind in _KINDS if token in kinds), "code")


def _append(runs: list[ColourRun], run: ColourRun) -> None:
    if not run.text:
        return
    if runs and runs[-1].kind == run.kind:
        runs[-1] = ColourRun(run.kind, runs[-1].text + run.text)
    else:
        runs.append(run)
