"""Every path and every dotted module that the documents name exists."""

from __future__ import annotations

import importlib.util
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("math_answers", "sandbox_client", "sandbox_server", "tir_tools", "verl_cpu", "verl_tir")
TOP = (*PACKAGES, "recipes", "tests", "benchmarks", "docs", "constraints")
DOCUMENTS = sorted(
    [
        *(path for path in ROOT.glob("*.md") if path.name != "CHANGELOG.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / package / "README.md" for package in PACKAGES if (ROOT / package / "README.md").is_file()),
    ]
)
PATH = re.compile(rf"(?<![\w./-])(?:{'|'.join(TOP)})/[\w./*{{}}-]*[\w*/}}]")
MODULE = re.compile(rf"(?<![\w./-])(?:{'|'.join(PACKAGES)})(?:\.\w+)+")


@cache
def _is_a_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _names_something(dotted: str) -> bool:
    """Whether it is a module, or a name that a module's text holds."""
    if dotted.endswith((".py", ".md", ".json")):
        return True  # a file's name without its folder is the path's affair
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        module = ".".join(parts[:cut])
        if _is_a_module(module):
            origin = importlib.util.find_spec(module).origin
            text = "" if origin is None else Path(origin).read_text()
            return all(re.search(rf"\b{name}\b", text) for name in parts[cut:])
    return False


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_it_names_exists(document: Path) -> None:
    """Files and folders are in the tree, with `*` for any; modules and their names can be found."""
    text = document.read_text()
    missing = [path for path in set(PATH.findall(text)) if not list(ROOT.glob(path.rstrip("/")))]
    unknown = [name for name in set(MODULE.findall(text)) if not _names_something(name)]
    assert (sorted(missing), sorted(unknown)) == ([], [])


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_s_readme_is_short_and_names_five_files(package: str) -> None:
    """At most 40 lines, with a table of its five most important files."""
    text = (ROOT / package / "README.md").read_text()
    assert len(text.splitlines()) <= 40
    files = re.findall(r"^\| `([\w./]+)` \|", text, re.MULTILINE)
    assert len(files) == 5
    assert [name for name in files if not (ROOT / package / name).is_file()] == []


def test_the_table_of_the_server_names_each_of_its_files() -> None:
    """docs/architecture.md says of each server file what it is, and of no other."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    part = text.partition("## The server, file by file")[2].partition("\n## ")[0]
    files = {path.name for path in (ROOT / "sandbox_server").glob("*.py")} - {"__init__.py"}
    assert set(re.findall(r"`(\w+\.py)`", part)) == files


def test_the_table_of_decisions_names_what_is_there() -> None:
    """Each function of a row in docs/architecture.md stands in a file of the same row."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    part = text.partition("## Which file decides what")[2].partition("\n## ")[0]
    rows = [row for row in part.splitlines() if row.startswith("| ")][1:]
    assert len(rows) >= 15
    for row in rows:
        files = [ROOT / path for path in PATH.findall(row)]
        texts = "".join(path.read_text() for path in files if path.is_file())
        for name in re.findall(r"`((?:\w+\.)?[A-Za-z_]\w+)`(?! runs)", row):
            assert "/" in name or re.search(rf"\b{name.rpartition('.')[2]}\b", texts), (name, row)
