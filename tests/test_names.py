"""Names: a class name stands once in the project, and no two modules beside each other differ by a suffix."""

from __future__ import annotations

import ast
from collections import defaultdict
from itertools import combinations
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("math_answers", "sandbox_client", "sandbox_server", "tir_tools", "verl_cpu", "verl_tir")
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]

SUFFIXES = ("s", "ed", "ing", "er", "ion", "_")
"""What would make two names of one word, as in `select` and `selecting`."""


def test_a_class_name_stands_once() -> None:
    """Who searches for a name finds one class; private ones count too, for a traceback shows them."""
    places: defaultdict[str, list[str]] = defaultdict(list)
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert len(places) > 200
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def _stem(name: str) -> str:
    """The word without what conjugates it."""
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if name.endswith(suffix) and len(name) > len(suffix) + 3:
            return name.removesuffix(suffix).removesuffix("e")
    return name.removesuffix("e")


def test_no_two_modules_differ_by_a_suffix() -> None:
    """`prepare` beside `preparing` says nothing of which is which."""
    folders: defaultdict[Path, list[str]] = defaultdict(list)
    for path in SOURCES:
        folders[path.parent].append(path.stem.lstrip("_"))
    pairs = {
        (str(folder.relative_to(ROOT)), *pair)
        for folder, names in folders.items()
        for pair in combinations(sorted(names), 2)
        if _stem(pair[0]) == _stem(pair[1])
    }
    assert pairs == set()


def test_the_slow_files_exist(pytestconfig: pytest.Config) -> None:
    """A file that was renamed must not slip into `make test-fast`."""
    (conftest,) = [plugin for plugin in pytestconfig.pluginmanager.get_plugins() if hasattr(plugin, "SLOW")]
    assert [name for name in sorted(conftest.SLOW) if not (ROOT / "tests" / name).is_file()] == []
