"""The embedded server's answers beside those recorded from Sandbox Fusion: every difference is a listed one."""

import json
import platform
from pathlib import Path

import pytest
from sandbox_answers import CASES, ask, differences

from sandbox_server import EmbeddedSandbox, ServerConfig

ROOT = Path(__file__).parents[2]
RECORDING = json.loads((ROOT / "tests" / "data" / "sandbox_fusion_answers.json").read_text())
LIST = (ROOT / "docs" / "sandbox-fusion-differences.md").read_text()
ISOLATION = "Isolation, where the kernel allows it"
"""The section whose differences are there only with private namespaces."""

python = ".".join(platform.python_version_tuple()[:2])
same_python = pytest.mark.skipif(python != RECORDING["python"], reason="Python's own messages differ by version")


def listed():
    """The rows of the list, by section."""
    sections = {}
    for line in LIST.splitlines():
        if line.startswith("## "):
            rows = sections.setdefault(line.removeprefix("## "), [])
        elif line.startswith("| `"):
            rows.append(line)
    return sections


@pytest.fixture(scope="module")
def endpoint():
    """As many workers as requests are sent at once."""
    with EmbeddedSandbox(ServerConfig(port=0, workers=2)) as sandbox:
        yield sandbox.endpoint


@same_python
@pytest.mark.parametrize("path", sorted({case.path for case in CASES}))
async def test_answers_differ_only_where_listed(endpoint, path):
    """What the list says differs does, in just the way it says, and nothing else does."""
    cases = [case for case in CASES if case.path == path]
    ours = await ask(endpoint, cases, in_flight=2)
    theirs = {name: RECORDING["answers"][name] for name in ours}
    found = {difference.row() for difference in differences(theirs, ours)}
    rows = {row: section for section, rows in listed().items() for row in rows if row.split("`")[1] in ours}
    assert found - rows.keys() == set(), "differences that are not listed"
    gone = {row for row in rows.keys() - found if rows[row] != ISOLATION}
    assert gone == set(), "listed differences that are none"


def test_the_recording_is_of_these_cases():
    """Every case has its recorded answer, and nothing else is recorded."""
    assert list(RECORDING["answers"]) == [case.name for case in CASES]


def test_the_list_names_each_difference_once_and_gives_reasons():
    """No row stands twice, every row is of a case, and every table follows a text."""
    rows = [row for section in listed().values() for row in section]
    assert len(set(rows)) == len(rows)
    assert {row.split("`")[1] for row in rows} <= {case.name for case in CASES}
    for section in LIST.split("\n## ")[1:]:
        title, text, *_ = section.split("\n\n")
        assert text[0].isalpha(), title


def test_the_recording_holds_nothing_of_a_machine():
    """No home directories, temporary paths or addresses are in it."""
    text = json.dumps(RECORDING)
    assert not [word for word in ("/root", "/home", "/opt", "/tmp/tmp", "/work", "0x7f") if word in text]
