"""docs/data.md says what the code does: its tables are the code's, and its commands are taken."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from tir_tools.data.answer_kind import AnswerKind
from tir_tools.data.choice import Choice, Method
from tir_tools.data.command import data_app
from tir_tools.data.manifest import SCHEMA
from tir_tools.data.mending import Remark
from tir_tools.data.rules import OFF_BY_DEFAULT, Rule, RuleLimits
from tir_tools.data.sources import SOURCES

ROOT = Path(__file__).parents[2]
DATA = (ROOT / "docs" / "data.md").read_text()
COMMANDS = typer.main.get_group(data_app)


def rows(heading: str) -> list[list[str]]:
    """The table below a heading, cell by cell, without its head."""
    part = re.split(rf"^#+ {heading}$", DATA, flags=re.MULTILINE)[1].partition("\n#")[0]
    lines = [line for line in part.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1:]]


def test_the_known_data_sets() -> None:
    """Every data set stands in the table, and every fact of it."""
    assert rows("Known data sets") == [
        [f"`{item.name}`", item.title, item.role, f"{item.expected:,}", f"`{item.repository}`"] for item in SOURCES
    ]


def test_the_rules() -> None:
    """Every rule stands in the table in its order, with its default and its limit."""
    table = rows("Rules")
    assert [name.strip("`") for name, _ in table] == list(Rule)
    for name, text in table:
        assert ("off by default" in text) is (Rule(name.strip("`")) in OFF_BY_DEFAULT)
    limits = RuleLimits()
    assert f"{limits.max_question_chars:,} characters" in DATA
    assert f"{limits.max_answer_chars} characters" in DATA
    assert f"at least {limits.near_overlap} (`--near-overlap`)" in DATA


def test_the_methods() -> None:
    """Every method stands in the table, with the defaults of its options."""
    table = rows("Select")
    assert [re.match("`(.+?)`", row[0])[1] for row in table] == list(Method)  # type: ignore[index]
    choice = Choice(count=1)
    window = f"--window {choice.window.low:.0f} {choice.window.high:.0f}"
    assert f"`{choice.method}`, the default" in DATA
    for option in (window, f"--bins {choice.bins}", f"--seed {choice.seed}", f"--threshold {choice.threshold}"):
        assert f"`{option}`" in DATA


def test_the_manifest() -> None:
    """Every field of a manifest stands in the table."""
    names = [name for row in rows("Manifest") for name in re.findall("`(.+?)`", row[0])]
    expected = "schema command verl_tir versions source settings rows mended warnings bad_rows rules overlap output"
    assert names == expected.split()
    assert f"| {SCHEMA}, and what wrote it |" in DATA


def test_the_remarks() -> None:
    """Every kind of mending and of warning stands in its table, in its order."""
    for heading, warns in (("What is mended", False), ("What is warned of", True)):
        names = [name.strip("`") for name, _ in rows(heading)]
        assert names == [remark for remark in Remark if remark.is_warning is warns]


def test_kinds_of_ground_truths_are_what_it_shows() -> None:
    """The kinds in the example are kinds."""
    shown = re.search(r"ground truth: (integer 1,156.+?)\n    question", DATA, re.DOTALL)
    assert shown
    kinds = re.findall(r"([a-z]+) [\d,]+", shown[1])
    assert len(kinds) > 10
    assert set(kinds) <= set(AnswerKind)


@pytest.mark.parametrize("name", ["README.md", "docs/data.md"])
def test_its_commands_are_taken(name: str) -> None:
    """Each command line parses, with options and arguments that exist."""
    text = (ROOT / name).read_text()
    lines = re.findall(r"^(?:    )?(?:\$ )?verl-tir data (.+?)(?:\s+#.*)?$", text, re.MULTILINE)
    assert lines
    for line in lines:
        command, *words = shlex.split(line)
        COMMANDS.commands[command].make_context(command, words)
