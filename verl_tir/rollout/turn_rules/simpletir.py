"""SimpleTIR (arXiv 2509.02479): the first complete code block ends the turn, and a box ends the trajectory."""

from __future__ import annotations

import io
import tokenize
from collections.abc import Iterator

from verl_tir.rollout.code_block import STOP_STRINGS, code_blocks
from verl_tir.rollout.observation import SIMPLETIR_FRAME
from verl_tir.rollout.turn_rule import ParsedTurn, TurnRule

FINAL_ANSWER_PRELUDE = "def final_answer(answer): print('\\\\boxed{' + str(answer) + '}')\n"
"""Prepended to every program: `final_answer(x)` prints `\\boxed{x}` (SimpleTIR's prompt promises it)."""


def parse_turn(text: str) -> ParsedTurn:
    """Parse a turn's decoded text; parsing the resulting `text` again gives the same block."""
    block = next(code_blocks(text), None)
    return ParsedTurn(block, text if block is None else text[: block.end], closed=block is not None)


def program_of(code: str) -> str:
    """The program to run for a block of code: `final_answer` is defined, `from __future__` imports stay first."""
    end = _future_imports_end(code) if "__future__" in code else 0
    first = code[:end]
    return first + ("\n" if first.rstrip("\r\n") == first != "" else "") + FINAL_ANSWER_PRELUDE + code[end:]


def _future_imports_end(code: str) -> int:
    """Offset after the `from __future__` imports that begin a program, 0 where none does."""
    end = 0
    try:
        for number, (words, after) in enumerate(_statements(code)):
            if [word.string for word in words[:3]] == ["from", "__future__", "import"]:
                end = after
            elif number > 0 or not all(map(_is_of_a_docstring, words)):
                break
    except (tokenize.TokenError, SyntaxError, ValueError):
        # What is wrong is the program's own; the imports before it are none the less first.
        pass
    return end


def _statements(code: str) -> Iterator[tuple[list[tokenize.TokenInfo], int]]:
    """The words of each simple statement, and the offset at which the next begins.

    Not of a syntax tree: what follows the statement that is asked for may be of any depth, of a newer Python, or wrong.
    """
    # A carriage return ends a line of a program too, but not one of the tokenizer's.
    lines = io.StringIO(code, newline="").readlines()
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    reader = (line.rstrip("\r\n") + "\n" for line in lines)
    words: list[tokenize.TokenInfo] = []
    before_semicolon = None
    for token in tokenize.generate_tokens(lambda: next(reader, "")):
        if token.type in (tokenize.COMMENT, tokenize.NL):
            continue
        row, column = token.start
        if before_semicolon is not None:
            yield before_semicolon, starts[row] if token.type == tokenize.NEWLINE else starts[row - 1] + column
            before_semicolon = None
        elif token.type == tokenize.NEWLINE:
            yield words, starts[row]
        if token.type == tokenize.NEWLINE:
            words = []
        elif token.string == ";":
            before_semicolon, words = words, []
        else:
            words.append(token)


def _is_of_a_docstring(word: tokenize.TokenInfo) -> bool:
    if word.type != tokenize.STRING:
        return word.string in ("(", ")")
    prefix = word.string.partition(word.string[-1])[0]
    return not set(prefix.lower()) & set("bf")


RULE = TurnRule(
    STOP_STRINGS, parse_turn, answer_ends=True, tool_may_answer=True, frame=SIMPLETIR_FRAME, program=program_of
)
"""All turns and observations continue one message of the assistant."""
