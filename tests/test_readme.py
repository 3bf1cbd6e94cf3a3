"""The README says what the code does: its table of settings is the configuration, key by key."""

from __future__ import annotations

import json
import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from verl_tir.config import TirConfig

ROOT = Path(__file__).parent.parent


def settings(node: Any, path: str = "tir") -> dict[str, Any]:
    """Every leaf of the configuration with its default."""
    found: dict[str, Any] = {}
    for item in fields(node):
        value = getattr(node, item.name)
        found |= settings(value, f"{path}.{item.name}") if is_dataclass(value) else {f"{path}.{item.name}": value}
    return found


def test_the_table_of_settings_is_complete_and_true() -> None:
    """Every key is there with its default, and no key that does not exist."""
    rows = re.findall(r"^\| `(tir\.[a-z_.]+)` \| `([^`]*)` \| .+ \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    expected = settings(TirConfig(recipe="simpletir"))
    del expected["tir.recipe"]
    # Words stand in the table as they do on the command line, numbers and the rest as JSON.
    shown = {key: json.loads(text) if re.fullmatch(r"[\d.]+|true|null|\[\]", text) else text for key, text in rows}
    assert shown == {key: list(value) if value == () else value for key, value in expected.items()}


def test_its_commands_exist() -> None:
    """The make targets, the command's parts and the files that it names are there."""
    text = (ROOT / "README.md").read_text()
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"make ([a-z-]+)", text)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for script in set(re.findall(r"recipes/[\w.]+\.sh", text)):
        assert (ROOT / script).is_file(), script
    commands = set(re.findall(r"verl-tir (doctor|sandbox|demo)\b", text))
    source = (ROOT / "verl_tir" / "cli.py").read_text()
    assert commands == {"doctor", "sandbox", "demo"}
    assert all(f"def {command}(" in source for command in commands)
