"""The documents say what the code does: their tables of settings, flags and metrics are the code's, name by name."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from batches import measured, random_batch

from sandbox_server import ServerConfig
from sandbox_server.__main__ import GROUPS
from sandbox_server.config import DEFAULT_PRELOAD
from sandbox_server.isolation import Isolation, IsolationSurvey
from sandbox_server.telemetry import Telemetry
from tir_tools.evaluation.protocol import PRESETS, Protocol
from tir_tools.evaluation.published import registry
from tir_tools.settings import settings_table
from verl_tir import __version__
from verl_tir.cli import app
from verl_tir.dump.writer import TrajectoryDump
from verl_tir.sampler.finished_row import FinishedRow
from verl_tir.sampler.loss_plan import LossPlan

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SETTINGS = (ROOT / "docs" / "settings.md").read_text()
METRICS = (ROOT / "docs" / "metrics.md").read_text()
SANDBOX = (ROOT / "docs" / "sandbox.md").read_text()
EVALUATION = (ROOT / "docs" / "evaluation.md").read_text()


def test_the_table_of_settings_is_the_command_s() -> None:
    """Every key is there once with its default and its meaning, nested ones too, as `verl-tir settings` prints them."""
    table = settings_table()
    assert "`tir.sandbox.tls.ca_file`" in table
    assert table in SETTINGS
    assert len(re.findall(r"^\| `tir\.", SETTINGS, re.MULTILINE)) == table.count("\n| `tir.")


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


def expanded(text: str) -> list[str]:
    """The names that a short form such as `a/{b,c}/d` stands for."""
    parts = [part.split(",") for part in re.split(r"[{}]", text)]
    return ["".join(choice) for choice in itertools.product(*parts)]


def test_every_metric_is_explained() -> None:
    """Each metric that a batch can give, and no other, stands in the tables once, but for the filter's."""
    rows = re.findall(r"^\| (`tir/[^|]+) \|", METRICS, re.MULTILINE)
    shown = [name for row in rows for short in re.findall("`([^`]+)`", row) for name in expanded(short)]
    assert sorted(shown) == sorted(measured(random_batch(1, 100), "a"))


def test_every_field_of_the_dump_is_explained(tmp_path: Path) -> None:
    """The table of the dump's fields is that of a line."""
    trajectory = random_batch(1, 1)[0].trajectory
    row = FinishedRow("a_0_0", trajectory, 1.0, record=trajectory.to_record())
    dump = TrajectoryDump(tmp_path, None)
    dump.write("val", 1, [row], LossPlan(("a_0_0",), (), (), (), None))
    line = json.loads((tmp_path / "val" / "000001.jsonl").read_text())
    table = METRICS.partition("| field |")[2]
    fields = [
        name for row in re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE) for name in re.findall("`(.+?)`", row)
    ]
    assert sorted(fields) == sorted(line)
    assert all(f"`{name}`" in table for name in line["turns"][0])


def test_the_ways_out_are_those_of_the_server() -> None:
    """What the server prints where it refuses to start stands in the table of ways out."""
    complaint = IsolationSurvey(Isolation(False, False, False, False)).complaint()
    table = SANDBOX.partition("## Isolation")[2].partition("\n### ")[0]
    for word in re.findall(r"--[a-z-]+(?: SYS_ADMIN)?|\w+(?:\.\w+)+=\d+|[a-z]+=unconfined", complaint):
        assert word in table, word


@pytest.mark.parametrize(
    "document",
    [
        str(path.relative_to(ROOT))
        for folder in ("*.md", "*/README.md", "docs/**/*.md")
        for path in sorted(ROOT.glob(folder))
    ],
)
def test_links_lead_somewhere(document: str) -> None:
    """Files are there, and so are the headings that a link names."""
    text = (ROOT / document).read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("http"):
            continue
        file, _, heading = target.partition("#")
        path = (ROOT / document).parent / file if file else ROOT / document
        assert path.is_file(), target
        if not heading:
            continue
        titles = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
        assert heading in {re.sub(r"[^\w -]", "", t).lower().replace(" ", "-") for t in titles}, target


def test_it_is_short() -> None:
    """What is longer stands in docs/."""
    assert len(README.splitlines()) <= 160


def test_the_version_is_told_the_same_everywhere() -> None:
    """The package's version is that of the citation, and the changelog has a section for it."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == __version__
    assert f"## [{__version__}] - {citation['date-released']}" in (ROOT / "CHANGELOG.md").read_text()


def test_its_commands_exist() -> None:
    """The make targets, the command's parts and the files that it names are there."""
    text = README
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"make ([a-z-]+)", text)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for script in set(re.findall(r"recipes/[\w.]+\.sh", text)):
        assert (ROOT / script).is_file(), script
    there = {command.name or command.callback.__name__ for command in app.registered_commands}
    there |= {group.name for group in app.registered_groups}
    assert set(re.findall(r"^(?:\$ )?(?:[\w./]+/)?verl-tir ([a-z]+) ", text, re.MULTILINE)) <= there
    assert all(f"verl-tir {command}" in text for command in there)


def test_the_published_results_are_those_of_the_registry() -> None:
    """Each entry with each of its numbers, and no other."""
    names = ("aime24", "aime25", "math500", "olympiad", "amc23", "hmmt25")
    rows = re.findall(r"^\| `([a-z0-9.-]+)` \| (.+?) \| .+?, arXiv ([\d.]+) \| (.+) \|$", EVALUATION, re.MULTILINE)
    shown = {key: (base, arxiv, numbers.split(" | ")) for key, base, arxiv, numbers in rows}
    assert shown == {
        key: (item.base_model, item.arxiv, [str(item.results.get(name, "-")) for name in names])
        for key, item in registry().items()
    }


def test_the_protocols_are_the_presets() -> None:
    """Samples, temperature, calls and lengths, as the table has them."""
    table = EVALUATION.partition("## Protocols")[2].partition("\n## ")[0]
    rows = [row.split(" | ") for row in re.findall(r"^\| (\w.+) \|$", table, re.MULTILINE)]
    for position, protocol in enumerate(Protocol, start=1):
        preset = PRESETS[protocol]
        cells = {row[0]: row[position] for row in rows}
        assert cells["samples of a problem"] == str(preset.samples)
        assert cells["temperature, top_p"].startswith(f"{preset.temperature:g}")
        assert cells["turns"].startswith(str(preset.max_turns or "no limit"))
        assert cells["tool calls"].startswith(str(preset.max_tool_calls or "no limit"))
        assert cells["tokens of a turn"] == f"{preset.max_turn_tokens:,}"
        assert cells["tokens of a response, tool output included"] == f"{preset.max_response_tokens:,}"
        assert cells["room for the prompt, in tokens"] == f"{preset.max_prompt_tokens:,}"
