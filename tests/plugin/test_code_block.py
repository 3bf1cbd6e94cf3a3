"""Which text of a turn is code, and where the turn ends because of it."""

import re

import pytest
from guard import guarded
from hypothesis import given, settings
from hypothesis import strategies as st

from verl_tir.rollout.code_block import STOP_STRINGS, CodeBlock, code_blocks
from verl_tir.rollout.turn_rule import resolve_turn_rule


def first_code_block(text: str) -> CodeBlock | None:
    """The one that SimpleTIR runs."""
    return next(code_blocks(text), None)


# id: text, the code in it, what of the text is kept
BLOCKS = {
    "py": ("```py\nx = 1\n```", "x = 1", "```py\nx = 1\n```"),
    "python": ("```python\nx = 1\n```", "x = 1", "```python\nx = 1\n```"),
    "capital tag": ("```Python\nx = 1\n```", "x = 1", "```Python\nx = 1\n```"),
    "upper tag": ("```PY\nx = 1\n```", "x = 1", "```PY\nx = 1\n```"),
    "bare": ("```\nx = 1\n```", "x = 1", "```\nx = 1\n```"),
    "CRLF": ("```py\r\nx = 1\r\ny = 2\r\n```\r\n", "x = 1\ny = 2", "```py\r\nx = 1\r\ny = 2\r\n```"),
    "trailing blanks": ("```python \t\nx = 1\n``` \t\n", "x = 1", "```python \t\nx = 1\n```"),
    "blank before the tag": ("``` py\nx = 1\n```", "x = 1", "``` py\nx = 1\n```"),
    "bare with trailing blanks": ("```  \nx = 1\n```", "x = 1", "```  \nx = 1\n```"),
    "indented closing": ("```py\nx = 1\n  ```\n", "x = 1", "```py\nx = 1\n  ```"),
    "indented block": ("1. Run\n   ```py\n   x = 1\n   ```\n", "x = 1", "1. Run\n   ```py\n   x = 1\n   ```"),
    "prose before the opening fence": ("Let me see: ```py\nx = 1\n```", "x = 1", "Let me see: ```py\nx = 1\n```"),
    "inline code before the opening": ("Use ```x```: ```py\nx = 1\n```", "x = 1", "Use ```x```: ```py\nx = 1\n```"),
    "inline code ends an earlier line": (
        "Use ```x```\nnow\n```py\nx = 1\n```",
        "x = 1",
        "Use ```x```\nnow\n```py\nx = 1\n```",
    ),
    "inline code on an earlier line": (
        "Use ```x``` now\n```py\nx = 1\n```",
        "x = 1",
        "Use ```x``` now\n```py\nx = 1\n```",
    ),
    "single backticks on the line": ("Use `x`: ```py\nx = 1\n```", "x = 1", "Use `x`: ```py\nx = 1\n```"),
    "punctuation is no tag": ("Wrap it in ```.\n```\nx = 1\n```", "x = 1", "Wrap it in ```.\n```\nx = 1\n```"),
    "prose is no tag": ("A ``` opens a block\n```\nx = 1\n```", "x = 1", "A ``` opens a block\n```\nx = 1\n```"),
    "four backticks": ("````py\nx = 1\n````\n", "x = 1", "````py\nx = 1\n````"),
    "text on the closing line": ("```py\nx = 1\n``` so\nmore", "x = 1", "```py\nx = 1\n```"),
    "end of message behind it": ("```py\nx = 1\n```<|im_end|>", "x = 1", "```py\nx = 1\n```"),
    "text after the block": ("```py\nx = 1\n```\nThe answer", "x = 1", "```py\nx = 1\n```"),
    "first block only": ("```py\nx = 1\n```\n```py\ny = 2\n```", "x = 1", "```py\nx = 1\n```"),
    "inner blank lines and indents": ("```py\n\n  x\n\ny\n\n```", "\n  x\n\ny\n", "```py\n\n  x\n\ny\n\n```"),
    "fence within a line of code": ("```py\ns = '```'\n```", "s = '```'", "```py\ns = '```'\n```"),
    "json and prose first": (
        '```json\n{"a": 1}\n```\nprose\n```py\nx = 1\n```',
        "x = 1",
        '```json\n{"a": 1}\n```\nprose\n```py\nx = 1\n```',
    ),
    "json never closed": ('```json\n{"a": 1}\n```py\nx = 1\n```', "x = 1", '```json\n{"a": 1}\n```py\nx = 1\n```'),
    "blank block passed over": ("```py\n \n```\n```py\nx = 1\n```", "x = 1", "```py\n \n```\n```py\nx = 1\n```"),
    "empty block passed over": ("```py\n```\n```\nx = 1\n```", "x = 1", "```py\n```\n```\nx = 1\n```"),
    "stray bare fence before the opening": ("```\n```python\nx = 1\n```", "x = 1", "```\n```python\nx = 1\n```"),
    "opening fence twice": ("```py\n\n```py\nx = 1\n```", "x = 1", "```py\n\n```py\nx = 1\n```"),
    "letters beyond ASCII": ("é 🙂 ```py\nx = 'é🙂'\n```é", "x = 'é🙂'", "é 🙂 ```py\nx = 'é🙂'\n```"),
}

NO_BLOCKS = {
    "nothing": "",
    "prose": "The answer is 5.",
    "opening fence alone": "```py\n",
    "opening fence without newline": "```py",
    "unclosed": "```py\nx = 1\n",
    "closing fence within the last line": "```py\nx = 1 ```",
    "closing fence cut": "```py\nx = 1\n``",
    "blank": "```py\n \n\t\n```\n",
    "empty": "```\n```\n",
    "inline": "```x = 1```\n",
    "inline, then a lone fence": "```x = 1```\n```\n",
    "prose between inline code and a lone fence": "Use ```x```\nthat is prose\n```\n",
    "json": '```json\n{"a": 1}\n```\n',
    "prose between the fences of json and an unclosed block": '```json\n{"a": 1}\n```\nprose\n```py\nx = 1\n',
    "json twice": "```json\n1\n```\nprose\n```json\n2\n```\n",
    "output block": "```output\n5\n```\n",
    "python3 is another language": "```python3\nx = 1\n```\n",
    "words after the tag": "```py and then\nx = 1\n",
    "block quote": "> ```py\n> x = 1\n> ```\n",
    "tildes": "~~~py\nx = 1\n~~~\n",
}


@pytest.mark.parametrize(("text", "code", "kept"), BLOCKS.values(), ids=BLOCKS)
def test_first_complete_python_block_is_found(text: str, code: str, kept: str) -> None:
    """The code stands between the fences and the turn ends with the closing one."""
    assert first_code_block(text) == CodeBlock(code=code, end=len(kept))
    assert text.startswith(kept)


@pytest.mark.parametrize("text", NO_BLOCKS.values(), ids=NO_BLOCKS)
def test_text_without_a_complete_python_block_has_no_code(text: str) -> None:
    """Prose, other languages and unfinished or blank blocks are never run."""
    assert first_code_block(text) is None


LOOP = "for n in range(2):\n    if n:\n        print(n)"


def indented(code: str, margin: str) -> str:
    """The code with `margin` before each of its lines."""
    return "".join(f"{margin}{line}\n" for line in code.split("\n"))


MARGINS = {
    "two blanks": ("- Run\n  ```py\n", "  ", "  ```"),
    "three blanks": ("1. Run\n   ```py\n", "   ", "   ```"),
    "four blanks": ("10. Run\n    ```py\n", "    ", "    ```"),
    "six blanks, a nested list": ("- a\n   - b\n      ```python\n", "      ", "      ```"),
    "four blanks outside a list": ("Run\n\n    ```py\n", "    ", "    ```"),
    "a tab": ("- Run\n\t```py\n", "\t", "\t```"),
    "a tab, and blanks before the code": ("- Run\n\t```py\n", "    ", "\t```"),
    "blanks, and a tab before the code": ("- Run\n    ```py\n", "\t", "    ```"),
    "blanks before a tab": ("- Run\n  \t```py\n", "    ", "    ```"),
    "the item's own line": ("1. ```python\n", "   ", "   ```"),
    "the item's own line, by a tab stop": ("1. ```python\n", "    ", "    ```"),
    "the line of an item in an item": ("- 1) ```python\n", "     ", "     ```"),
    "prose on the item's own line": ("2. Run this: ```python\n", "   ", "   ```"),
    "prose before an indented fence": ("1. Run\n   so: ```py\n", "   ", "   ```"),
    "closing fence further left": ("1. Run\n   ```py\n", "   ", "```"),
    "code that is not indented with its fence": ("1. Run\n    ```py\n", "", "    ```"),
    "code that is not indented with its item": ("1. ```py\n", "", "```"),
    "code that is indented less than its fence": ("1. Run\n    ```py\n", "  ", "    ```"),
}


@pytest.mark.parametrize(("opening", "margin", "closing"), MARGINS.values(), ids=MARGINS)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_the_indentation_of_a_fence_is_no_part_of_the_program(
    opening: str, margin: str, closing: str, newline: str
) -> None:
    """Models put blocks into lists, in more ways than one; the program is the same, and its own indentation stays."""
    text = (opening + indented(LOOP, margin) + closing).replace("\n", newline)
    assert first_code_block(text) == CodeBlock(code=LOOP, end=len(text))


@pytest.mark.parametrize(("name", "more"), [("simpletir", ""), ("torl", "\n   ```output")])
def test_every_rule_that_reads_fences_runs_a_block_of_a_list(name: str, more: str) -> None:
    """What is sent is a program; what is kept of the turn is the text as it was sampled."""
    text = f"1. Run\n   ```python\n{indented(LOOP, '   ')}   ```{more}"
    parsed = resolve_turn_rule(name).parse(text)
    assert parsed.block is not None
    assert (parsed.block.code, parsed.text) == (LOOP, text)


LINES = {
    "CommonMark's example 131": (" ```\n aaa\naaa\n```", "aaa\naaa"),
    "CommonMark's example 133": ("   ```\n   aaa\n    aaa\n  aaa\n   ```", "aaa\n aaa\naaa"),
    "no fence's indentation": ("```\n  aaa\n```", "  aaa"),
    "more than the fence's": ("  ```\n    aaa\n  ```", "  aaa"),
    "half a tab": ("  ```\n\taaa\n  ```", "  aaa"),
    "text of a string further left": ("   ```\n   s = '''\nx\n     y'''\n   ```", "s = '''\nx\n  y'''"),
    "a comment further left": ("   ```\n# x\n   y\n   ```", "# x\ny"),
    "only a comment": ("   ```\n   # x\n   ```", "# x"),
    "blank lines": ("  ```\n\n \n  aaa\n   \n  ```", "\n\naaa\n "),
    "another block's fence opens it": ("   ```json\n   1\n```py\n   aaa\n```", "   aaa"),
    "a form feed is no indentation": ("   ```\n\f   aaa\n   ```", "\f   aaa"),
    # There an indented second line loses its blanks all the same; a program would lose its structure.
    "CommonMark's example 132, but for its second line": ("  ```\naaa\n  aaa\naaa\n  ```", "aaa\n  aaa\naaa"),
}


@pytest.mark.parametrize(("text", "code"), LINES.values(), ids=LINES)
def test_lines_lose_the_fences_indentation_and_no_more(text: str, code: str) -> None:
    """CommonMark's rule, line by line, but for code that begins further left than its fence."""
    assert first_code_block(text) == CodeBlock(code=code, end=len(text))


@pytest.mark.parametrize("tag", ["", "py", "python"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_engine_stops_as_soon_as_a_block_closes(tag: str, newline: str) -> None:
    """A stop string is complete once the newline behind the closing fence is there, and never within the code."""
    text = f"```{tag}{newline}x = 1{newline}```{newline}"
    stop = min(text.find(stop, 4) + len(stop) for stop in STOP_STRINGS if stop in text[4:])
    assert stop == len(text)
    assert first_code_block(text[:stop]) == CodeBlock(code="x = 1", end=len(text) - len(newline))


FRAGMENTS = ["```", "`", "py", "python", "Python", "json", "\n", "\n", "\r\n", " ", "\t", "x", "é🙂", ".", "\\boxed{1}"]
texts = st.lists(st.sampled_from(FRAGMENTS), max_size=40).map("".join)


def flush(text: str) -> str:
    """The text without blanks before its lines."""
    return "\n".join(line.lstrip(" \t") for line in text.split("\n"))


@settings(max_examples=600, deadline=None)
@given(text=texts, more=texts)
def test_block_holds_whatever_surrounds_it(text: str, more: str) -> None:
    """Nothing raises, the block is text between two fences, and what follows it does not change it."""
    block = first_code_block(text)
    if block is None:
        return
    kept = text[: block.end]
    assert re.search(r"```[ \t]*(python|py)?[ \t]*\r?\n", kept, re.IGNORECASE)
    assert kept.splitlines()[-1].strip().strip("`") == ""
    assert block.code.strip()
    # But for blanks before its lines, it stands there as it is.
    assert f"\n{flush(block.code)}\n" in flush(kept.replace("\r\n", "\n"))
    assert first_code_block(kept) == block
    assert first_code_block(kept + "\n" + more) == block


prose = st.lists(st.sampled_from(["so", "5.", "we try", "", "`x`", "print(1)"]), max_size=3).map(
    lambda lines: "".join(line + "\n" for line in lines)
)
fenced = st.tuples(
    st.sampled_from(["", "py", "python", "PYTHON", "json", "text", "c++", "output"]),
    st.sampled_from(["x = 1", "print('a')\nprint('b')", "", " "]),
)


@settings(max_examples=300, deadline=None)
@given(parts=st.lists(st.tuples(prose, fenced), max_size=5), tail=prose)
def test_fences_are_paired_in_any_well_formed_text(parts: list[tuple[str, tuple[str, str]]], tail: str) -> None:
    """However blocks and prose follow each other, the first non-blank Python block is the one that was written."""
    text, expected = "", None
    for before, (tag, code) in parts:
        text += f"{before}```{tag}\n{code}\n```"
        if expected is None and tag.lower() in ("", "py", "python") and code.strip():
            expected = CodeBlock(code=code, end=len(text))
        text += "\n"
    assert first_code_block(text + tail) == expected


@pytest.mark.parametrize(
    "unit",
    [
        "```\n",
        "```json\n",
        "```py\n\n",
        "```py\n \n```\n",
        "x\n",
        "\n",
        "`",
        "```x",
        " ",
        "```py ",
        "a b ",
        "\r\n",
        "```json\n}\n```\n",
        "\t",
        "1. ```py\n",
        "   ```py\n   x\n",
    ],
    ids=repr,
)
def test_time_is_linear(unit: str) -> None:
    """A megabyte of anything is parsed in seconds, not hours."""
    text = "```py\n" * (unit == "x\n") + unit * (1_000_000 // len(unit))
    with guarded():
        first_code_block(text)
