"""`verl-tir`: every command is there, each is imported when it is called, and the table of settings is the code's."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from typer.main import get_command
from typer.testing import CliRunner

from tir_tools.commands import app as tools
from tir_tools.settings import settings_table
from verl_tir.cli import TOOL_COMMANDS, TOOL_MODULES, app
from verl_tir.config import TirConfig

ROOT = Path(__file__).parents[2]
IMPORT_NAMES = {"pyyaml": "yaml"}


def test_the_tools_are_listed_with_their_own_words() -> None:
    """The list is kept apart so that `--help` imports no tool, and says the same as they do."""
    commands = get_command(tools).commands  # type: ignore[attr-defined]
    assert {name: command.help.strip() for name, command in commands.items()} == TOOL_COMMANDS


def test_the_extra_is_the_list_of_modules() -> None:
    """What a command may miss is what `[tools]` installs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [Requirement(line).name for line in project["optional-dependencies"]["tools"]]
    assert {IMPORT_NAMES.get(name, name) for name in names} == TOOL_MODULES


@pytest.mark.parametrize("words", [["report", "run"], ["watch", "run"], ["data", "inspect", "file"], ["demo"]])
def test_a_command_without_its_extra_says_which_one(words: list[str], tmp_path: Path) -> None:
    """One line, and exit status 2."""
    hidden = TOOL_MODULES - {"rich"}  # typer brings it
    program = f"import sys; sys.modules.update(dict.fromkeys({sorted(hidden)})); import verl_tir.cli as cli; cli.app()"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").write_text('{"step": 1, "data": {"training/global_step": 1}}\n')
    (tmp_path / "file").write_text("{}\n")
    done = subprocess.run(
        [sys.executable, "-c", program, *words], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    (line,) = done.stderr.splitlines()
    assert re.fullmatch(rf"verl-tir {words[0]}: \w+ is not installed; pip install 'verl-tir\[tools\]'", line)
    assert done.returncode == 2


def test_help_imports_no_tool_and_no_framework() -> None:
    """`verl-tir --help` answers at once."""
    program = (
        "import sys, verl_tir.cli\n"
        "from typer.testing import CliRunner\n"
        "print(CliRunner().invoke(verl_tir.cli.app, ['--help']).exit_code)\n"
        "print(sorted({'torch', 'ray', 'verl', 'hydra', 'tir_tools', 'sandbox_server', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == ["0", "[]"]


def test_every_setting_has_a_row_with_its_meaning() -> None:
    """The attribute's docstring, on one line; the command prints the table."""

    def keys(section: type, path: str) -> list[str]:
        found = []
        for item in fields(section):
            below = is_dataclass(item.default_factory)
            found += keys(item.default_factory, f"{path}.{item.name}") if below else [f"{path}.{item.name}"]
        return found

    rows = re.findall(r"^\| `(tir\.[a-z_.]+)` \| `([^`]+)` \| (.{10,}) \|$", settings_table(), re.MULTILINE)
    assert [key for key, _, _ in rows] == [key for key in keys(TirConfig, "tir") if key != "tir.recipe"]
    assert ("tir.sandbox.run_timeout", "3.0") in {row[:2] for row in rows}
    assert CliRunner().invoke(app, ["settings"]).output == settings_table()
