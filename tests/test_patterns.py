"""No text makes a pattern or a comparison in the trainer's own process take for ever.

What a model writes is matched in processes that everything waits for, with Python's global lock held: a pattern that
can read a text in exponentially many ways stops a training for good.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from guard import TakesForEver, guarded

from math_answers.equivalence import MAX_SETTLED_CHARS, settled

REPEATED = [
    *"1aA \n\t\\{}()[],.'-+/`$_^*\"%=<>:|&",
    "1 ",
    "a ",
    "a1",
    "1,",
    "1.",
    "a,",
    "1st",
    "of ",
    "a.",
    "_a",
    ", ",
    "{}",
    "1/2,",
]
ENDS = ("", "\0", "!", "z", "1", "}", '"')


FIND = """
import importlib, json, pkgutil, re, sys

def held(value, depth=3):
    if isinstance(value, re.Pattern):
        yield value
    elif depth and isinstance(value, (tuple, list, set, frozenset, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from held(item, depth - 1)

found = set()
names = ("math_answers", "sandbox_client", "sandbox_server", "tir_tools", "verl_cpu", "verl_tir")
for package in map(importlib.import_module, names):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            for value in vars(importlib.import_module(module.name)).values():
                found.update(held(value))
with open(sys.argv[1], "w") as file:
    texts = [one.pattern if isinstance(one.pattern, str) else one.pattern.decode() for one in found]
    json.dump([(text, one.flags) for text, one in zip(texts, found)], file)
"""
"""In a process of its own, for some modules register something with verl when they are imported."""


@pytest.fixture(scope="module")
def patterns(tmp_path_factory: pytest.TempPathFactory) -> list[re.Pattern[str]]:
    """Every compiled pattern that a module of the packages holds, in tables too; those of bytes as of text."""
    file = tmp_path_factory.mktemp("patterns") / "found.json"
    subprocess.run([sys.executable, "-c", FIND, str(file)], check=True, capture_output=True, timeout=300)
    return [re.compile(pattern, flags) for pattern, flags in json.loads(file.read_text())]


def texts(pattern: str) -> Iterator[str]:
    """Repetitions that a pattern may read in many ways and that end in what it does not match."""
    for part in (*REPEATED, *sorted(set(re.findall("[A-Za-z]{2,}", pattern)))):
        for end in ENDS:
            yield from (f"{begin}{part * 60}{end}" for begin in ("", "1", "a ", r"\text{"))


def test_no_pattern_goes_back_exponentially(patterns: list[re.Pattern[str]]) -> None:
    assert len(patterns) > 100
    slow = []
    for pattern in patterns:
        for text in texts(pattern.pattern):
            try:
                with guarded():
                    pattern.fullmatch(text)
                    pattern.search(text)
            except TakesForEver:
                slow.append((pattern.pattern, text))
                break
    assert not slow


@pytest.mark.parametrize("truth", ["17064", "March 3", r"\{1,x^2\}"])
def test_what_is_settled_without_a_worker_is_settled_soon(truth: str) -> None:
    """Also of texts as long as they may be."""
    for text in texts(r"frac text sqrt le pm cup of March 1st pmatrix binom"):
        with guarded():
            settled((text * 8)[:MAX_SETTLED_CHARS], [truth])


def test_the_answer_that_once_stopped_a_training() -> None:
    """A model wrote it: a hundred digits and then no date."""
    answer = "1776063639866427955171859861774614106730508602374" * 2 + 'z240ogram722523ran))))""'
    with guarded():
        assert settled(answer, ["17064"]) is not True
