"""An interpreter that lies below a directory that programs may write to."""

# ruff: noqa: E501 - a line of a program is a line here

import os
import subprocess
import tempfile
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARENT = "os.path.dirname(sys.prefix)"
TRY = f"""\
import os, sys
def attempt(call, *arguments):
    try: call(*arguments)
    except OSError as error: return error.strerror
    return "done"
top = '/'.join({PARENT}.split('/')[:3])
for place in (top, {PARENT}, sys.prefix):
    print(attempt(open, place + "/left", "w"), attempt(os.chmod, place, 0o777), attempt(os.utime, place), attempt(os.rename, place, place + "2"))
"""
LOOK = "import os, sys\nprint([n for d, _, ns in os.walk('/tmp') for n in ns if n == 'left'], sys.prefix)"
SERVE = f"""\
import asyncio, sys
from sandbox_server import IsolationPolicy, ServerConfig
from sandbox_server.frames import Job
from sandbox_server.isolation import Isolation
from sandbox_server.pool import WorkerPool
async def main():
    levels = (Isolation(True, True, user_namespace=bool(int(sys.argv[1])), own_user=not int(sys.argv[1])),)
    pool = WorkerPool(ServerConfig(workers=1, preload=(), isolation=IsolationPolicy.BEST_EFFORT), levels)
    await pool.start()
    for code in {[TRY, LOOK, LOOK]!r}:
        report = await pool.run(Job(code=code, run_timeout=9.0, memory_limit_mb=256))
        print(report.stdout + report.stderr, end='', flush=True)
    print(pool.replaced)
    await pool.close()
asyncio.run(main())
"""


@pytest.mark.skipif(os.getuid() != 0, reason="as an ordinary user, only one of the two ways is there")
@pytest.mark.parametrize("user_namespace", [True, False])
def test_its_parents_cannot_be_written_to_or_moved(user_namespace):
    """Neither can a program leave anything beside it, nor take it away from the next one."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        place = Path(folder) / "deeper"
        venv.create(place / "python", with_pip=False, symlinks=True)
        python = place / "python/bin/python"
        ended = subprocess.run(
            [python, "-c", SERVE, str(int(user_namespace))],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        lines = ended.stdout.splitlines()
        assert len(lines) == 6, ended
        assert not [line for line in lines[:3] if "done" in line], ended
        assert lines[3:] == [f"[] {place / 'python'}"] * 2 + ["0"], ended
