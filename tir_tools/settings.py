"""The table of all `tir.*` settings, made from the docstrings of the configuration's attributes."""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from enum import StrEnum

from verl_tir.config import TirConfig


def settings_table() -> str:
    """Markdown: a row for each setting, with its key, its default as it is typed in a launch, and its meaning."""
    rows = [f"| `{key}` | `{_typed(default)}` | {meaning} |" for key, default, meaning in _settings(TirConfig, "tir")]
    return "\n".join(["| key | default | meaning |", "|---|---|---|", *rows, ""])


def _settings(section: type, path: str) -> Iterator[tuple[str, object, str]]:
    """Key, default and meaning of each setting in a section and those below it; not of the recipe's name."""
    meanings = _attribute_docstrings(section)
    for setting in fields(section):
        key = f"{path}.{setting.name}"
        factory = setting.default_factory
        if isinstance(factory, type) and is_dataclass(factory):
            yield from _settings(factory, key)
        elif key != "tir.recipe":
            default = factory() if callable(factory) else setting.default
            yield key, default, meanings[setting.name].replace("|", "\\|")


def _attribute_docstrings(section: type) -> dict[str, str]:
    """The text under each attribute of a class, on one line."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(section))).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for attribute, text in zip(definition.body, definition.body[1:], strict=False):
        match attribute, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(meaning))):
                found[name] = " ".join(meaning.split())
    return found


def _typed(value: object) -> str:
    """As on the command line: words bare, the rest as JSON."""
    return value if isinstance(value, str | StrEnum) else json.dumps(value)
