"""The documents say what the code does: their tables of settings, flags and metrics are the code's, name by name."""

from __future__ import annotations

import json
import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from verl_tir.config import TirConfig
from verl_tir.filters.gates import SoundGate
from verl_tir.metrics.sandbox import SandboxMeter
from verl_tir.sandbox_server.config import DEFAULT_PRELOAD, ServerConfig
from verl_tir.sandbox_server.flags import GROUPS
from verl_tir.sandbox_server.isolation import Isolation
from verl_tir.sandbox_server.survey import Survey
from verl_tir.sandbox_server.telemetry import Telemetry
from verl_tir.trajectory import Outcome, SandboxCall, Turn, TurnEnd

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SANDBOX = (ROOT / "docs" / "sandbox.md").read_text()


def settings(node: Any, path: str = "tir") -> dict[str, Any]:
    """Every leaf of the configuration with its default."""
    found: dict[str, Any] = {}
    for item in fields(node):
        value = getattr(node, item.name)
        found |= settings(value, f"{path}.{item.name}") if is_dataclass(value) else {f"{path}.{item.name}": value}
    return found


def test_the_table_of_settings_is_complete_and_true() -> None:
    """Every key is there once with its default, nested ones too, and no key that does not exist."""
    rows = re.findall(r"^\| `(tir\.[a-z_.]+)` \| `([^`]*)` \| .+ \|$", README, re.MULTILINE)
    expected = settings(TirConfig(recipe="simpletir"))
    del expected["tir.recipe"]
    assert "tir.sandbox.tls.ca_file" in expected
    # Words stand in the table as they do on the command line, numbers and the rest as JSON.
    shown = {key: json.loads(text) if re.fullmatch(r"[\d.]+|true|null|\[\]|\{\}", text) else text for key, text in rows}
    assert shown == {key: list(value) if value == () else value for key, value in expected.items()}
    assert len(rows) == len(shown)


def test_the_flags_of_the_server_are_complete_and_true() -> None:
    """Every field of ServerConfig stands in its group, in its place and with its default."""
    part = SANDBOX.partition("### Flags")[2].partition("\n### ")[0]
    _, *groups = re.split(r"^\*\*(.+)\*\*$", part, flags=re.MULTILINE)
    shown = {
        title.lower(): re.findall(r"^\| `--([a-z-]+)` \| (.+?) \|", table, re.MULTILINE)
        for title, table in zip(groups[::2], groups[1::2], strict=True)
    }
    defaults = ServerConfig()
    values = {name: getattr(defaults, name) for names in GROUPS.values() for name in names}
    texts = {name: "none" if value == "" else f"`{str(value).lower()}`" for name, value in values.items()}
    texts |= {"workers": "CPU count", "preload": f"`{','.join(DEFAULT_PRELOAD)}`"}
    expected = {title: [(name.replace("_", "-"), texts[name]) for name in names] for title, names in GROUPS.items()}
    assert shown == expected


def test_the_metrics_of_the_server_are_complete() -> None:
    """Every family that the server exposes of its own, and no other, stands in the table."""
    pool = SimpleNamespace(waiting=0, running=0, alive=0, replaced=0)
    exposed = re.findall(r"^# TYPE (verl_tir_\S+) (\S+)", Telemetry(pool, 1).exposition().decode(), re.MULTILINE)
    rows = re.findall(r"^\| `(verl_tir_[a-z_]+)` \| (\w+) \|", SANDBOX, re.MULTILINE)
    assert dict(rows) == {name: kind for name, kind in exposed if not name.endswith("_created")}


def test_the_metrics_of_the_sandbox_are_in_the_readme() -> None:
    """Each `tir/sandbox/...` metric, written out from the table's short forms."""
    table = README.partition("## What to look at in the logs")[2].partition("\n## ")[0]
    call = SandboxCall(wait=1.0, connect=1.0, queue=1.0, run=1.0, attempts=2)
    turn = Turn(TurnEnd.CODE, 1, 1, 0, True, False, Outcome.SUCCESS, False, 1.0, 1.0, call)
    snapshot = {"client": "a", "retries": 1, "probes": 1, "faults": {"unreachable": 1}, "endpoints": {"x": "open"}}
    for name in SandboxMeter().measure([turn], [snapshot]):
        for part in name.removeprefix("tir/sandbox/").split("/"):
            assert re.search(rf"\b{part}\b", table), name
    assert f"tir/filter/evicted_groups/{SoundGate.name}" in table


def test_the_ways_out_are_those_of_the_server() -> None:
    """What the server prints where it refuses to start stands in the table of ways out."""
    complaint = Survey(Isolation(False, False, False, False)).complaint()
    table = SANDBOX.partition("## Isolation")[2].partition("\n### ")[0]
    for word in re.findall(r"--[a-z-]+(?: SYS_ADMIN)?|\w+(?:\.\w+)+=\d+|[a-z]+=unconfined", complaint):
        assert word in table, word


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "docs/sandbox.md"])
def test_links_lead_somewhere(document: str) -> None:
    """Files are there, and so are the headings that a link names."""
    text = (ROOT / document).read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("http"):
            continue
        file, _, heading = target.partition("#")
        path = (ROOT / document).parent / file if file else ROOT / document
        assert path.is_file(), target
        titles = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
        assert not heading or heading in {re.sub(r"[^\w -]", "", t).lower().replace(" ", "-") for t in titles}, target


def test_its_commands_exist() -> None:
    """The make targets, the command's parts and the files that it names are there."""
    text = README
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"make ([a-z-]+)", text)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for script in set(re.findall(r"recipes/[\w.]+\.sh", text)):
        assert (ROOT / script).is_file(), script
    commands = set(re.findall(r"verl-tir (doctor|sandbox|demo)\b", text))
    source = (ROOT / "verl_tir" / "cli.py").read_text()
    assert commands == {"doctor", "sandbox", "demo"}
    assert all(f"def {command}(" in source for command in commands)
