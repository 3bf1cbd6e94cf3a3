"""Which text of a turn is code, and where the turn ends because of it."""

import re

import pytest
from guard import guarded
from hypothesis import given, settings
from hypothesis import strategies as st

from verl_tir.rollout.code_block import STOP_STRINGS, CodeBlock, first_code_block

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
    "indented block": ("1. Run\n   ```py\n   x = 1\n   ```\n", "   x = 1", "1. Run\n   ```py\n   x = 1\n   ```"),
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
    "words behind the tag": "```py and then\nx = 1\n",
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
    assert f"\n{block.code}\n" in kept.replace("\r\n", "\n")
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
    ],
    ids=repr,
)
def test_time_is_linear(unit: str) -> None:
    """A megabyte of anything is parsed in seconds, not hours."""
    text = "```py\n" * (unit == "x\n") + unit * (1_000_000 // len(unit))
    with guarded():
        first_code_block(text)
