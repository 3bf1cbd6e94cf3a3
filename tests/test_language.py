"""What users read is plain present English: no phrase of the list below stands in documents, help texts or messages."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("*/README.md")])
PACKAGES = ("math_answers", "recipes", "sandbox_client", "sandbox_server", "tir_tools", "verl_cpu", "verl_tir")
MODULES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]

PHRASES = {
    r"\bbehind\b": "after, of time and order",
    r"\b(?:goes|go|going|gone|went) on (?:with|from|to)\b": "continues, resumes",
    r"(?<!\b[Tt]here )\b(?:is|are|was|were) no (?!longer\b|more\b|less\b|one\b)[A-Za-z]+": "is not a ...",
    r"\ball the same\b": "nevertheless, or nothing",
    r"\bon end\b": "in a row",
    r"\b(?:[Nn]or|[Nn]either|[Oo]nly then) (?:is|are|does|do|did|has|have|can|may|was|were)\b": "subject before verb",
    r"\b(?:lest|whatsoever|none the less|as yet)\b": "a plain word",
}


def _found(text: str) -> list[str]:
    """The phrases of the list that stand in `text`, with what to write instead."""
    flat = " ".join(text.split())
    return [f"{match[0]!r}: {better}" for phrase, better in PHRASES.items() for match in re.finditer(phrase, flat)]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_documents_are_plain(document: Path) -> None:
    """No document holds a phrase of the list."""
    assert _found(document.read_text()) == []


def _texts(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of every string that is not a docstring of code: messages, help texts, table cells."""
    tree = ast.parse(path.read_text())
    code = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    # The docstring of a command is its help text.
    for node in ast.walk(tree):
        if isinstance(node, code) and any("command" in ast.unparse(d) for d in getattr(node, "decorator_list", ())):
            bare.discard(id(node.body[0].value) if isinstance(node.body[0], ast.Expr) else 0)
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield (
                node.lineno,
                "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values),
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in bare:
            yield node.lineno, node.value


@pytest.mark.parametrize("package", PACKAGES)
def test_help_texts_and_messages_are_plain(package: str) -> None:
    """No message, help text or table cell of a package holds a phrase of the list."""
    modules = [path for path in MODULES if path.relative_to(ROOT).parts[0] == package]
    assert modules
    found = [
        f"{path.relative_to(ROOT)}:{line}: {phrase}"
        for path in modules
        for line, text in _texts(path)
        for phrase in _found(text)
    ]
    assert found == []
