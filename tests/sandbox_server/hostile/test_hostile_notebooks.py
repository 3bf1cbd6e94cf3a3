"""Notebooks that write their own record, for the server to choke on."""

import concurrent.futures
import time
from pathlib import Path

import pytest
from fortress import Fortress

# Everything that is open for appending, the record among it, gets the line after the end of what is there.
FORGE = """
import os, fcntl
line = LINE
for name in os.listdir('/proc/self/fd'):
    try:
        if int(name) > 2 and fcntl.fcntl(int(name), fcntl.F_GETFL) & os.O_APPEND:
            os.write(int(name), line)
    except OSError:
        pass
os._exit(0)
"""

LINES = {
    "lists": """b'["","",[' + b'[],' * (180_000) + b'[]],[]]\\n'""",
    "displays": """b'["","",[' + b'{},' * (180_000) + b'{}],[]]\\n'""",
    "numbers": """b'["","",[{"a":[' + b'0,' * (250_000) + b'0]}],[]]\\n'""",
    "keys": """b'["","",[{' + b'"a":0,' * (110_000) + b'"a":0}],[]]\\n'""",
    "depth": """b'["","",[{"a":' + b'[' * (300_000) + b']' * (300_000) + b'}],[]]\\n'""",
    "infinite": """b'["","",[{"a":1e999}],[]]\\n'""",
    "empty lines": """b'\\n' * 600_000""",
    "no line": """b'"' * 600_000""",
    "output": """b'["' + b'a' * 600_000 + b'","",[],[]]\\n'""",
}


def resident(server: Fortress) -> int:
    """KiB that the server has in memory."""
    words = Path(f"/proc/{server.process.pid}/status").read_text().split()
    return int(words[words.index("VmRSS:") + 1])


def check(server: Fortress, name: str) -> None:
    """A forged record ends the notebook where it begins, and nobody else waits for it."""
    code = FORGE.replace("LINE", LINES[name])
    before = resident(server)
    with concurrent.futures.ThreadPoolExecutor() as threads:
        body = {"cells": [code, "1"], "total_timeout": 5.0, "memory_limit_MB": 300}
        call = threads.submit(server.post, "/run_jupyter", body)
        longest = 0.0
        while not call.done():
            longest = max(longest, server.run("print(1)")["took"])
            time.sleep(0.01)
        answer = call.result()
    assert answer["status"] == "Failed", (answer, server.words())
    assert [cell["display"] for cell in answer["cells"]] == [[]]
    assert longest < 1.5
    assert resident(server) - before < 60 << 10


@pytest.mark.parametrize("name", LINES)
def test_a_forged_record_hurts_nobody(fortress: Fortress, name: str):
    """As root."""
    check(fortress, name)


@pytest.mark.parametrize("name", LINES)
def test_a_forged_record_hurts_nobody_without_root(other_fortress: Fortress, name: str):
    """As an ordinary user."""
    check(other_fortress, name)
