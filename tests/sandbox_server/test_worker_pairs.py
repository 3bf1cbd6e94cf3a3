"""Which worker a program gets, and that it makes no other difference than its time."""

import asyncio
import os
import signal

import pytest

from sandbox_server import ServerConfig
from sandbox_server.frames import Job, ProgramStatus
from sandbox_server.pool import WorkerPool
from sandbox_server.worker_pairs import libraries, names_any

# Names neither library, and yet asks for one.
HIDDEN = "import sys\nname = 'sym' + 'py'\n"


def job(code: str = "", cells: list[str] | None = None) -> Job:
    """A job with room for everything."""
    return Job(code=code, run_timeout=20.0, memory_limit_mb=1024, cells=cells)


@pytest.mark.parametrize(
    ("preload", "names"),
    [
        ((), ()),
        (("math", "json"), ()),
        (("numpy",), ("numpy",)),
        (("numpy", "sympy", "math"), ("mpmath", "numpy", "sympy")),
        (("scipy.optimize", "scipy.special"), ("scipy",)),
    ],
)
def test_names_of_libraries(preload, names):
    """The standard library is in both interpreters; a library's parts and companions count as itself."""
    assert libraries(preload) == names


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        (job("print(1)"), False),
        (job("import math\nprint(math.pi)"), False),
        (job("import numpy as np"), True),
        (job("from sympy.abc import x"), True),
        (job("m = __import__('numpy')"), True),
        (job("# no numpy here"), True),
        (job("import numbers"), False),
        (job(cells=["x = 1", "import sympy"]), True),
        (job(cells=["x = 1", "x"]), False),
    ],
)
def test_a_name_anywhere_is_enough(asked, named):
    """Being wrong about it costs time only, so nothing is parsed."""
    assert names_any(asked, ("numpy", "sympy")) is named


async def run_all(*jobs: Job, kill: bool = False) -> list:
    """The jobs' reports, one after the other on one pair; with `kill`, both its workers are lost before the last."""
    before = set(below(os.getpid()))
    pool = WorkerPool(ServerConfig(port=0, workers=1, preload=("sympy",)))
    await pool.start()
    try:
        reports = []
        for number, one in enumerate(jobs):
            if kill and number == len(jobs) - 1:
                for pid in worker_pids(before):
                    os.kill(pid, signal.SIGKILL)
                await asyncio.sleep(0.2)
            reports.append(await pool.run(one))
        return reports
    finally:
        await pool.close(0.0)


def worker_pids(others: set[int]) -> list[int]:
    """The two workers of the only pair; `others` are this process's children that are not zygotes."""
    zygotes = set(below(os.getpid())) - others
    keepers = [keeper for zygote in zygotes for keeper in below(zygote)]
    workers = [worker for keeper in keepers for worker in below(keeper)]
    assert len(workers) == 2
    return workers


def below(pid: int) -> list[int]:
    """The children of a process."""
    with open(f"/proc/{pid}/task/{pid}/children") as listing:
        return [int(child) for child in listing.read().split()]


async def test_only_programs_that_name_a_library_find_it_loaded():
    """The others are forked from an interpreter without it, and can import it all the same."""
    loaded = "print(name in sys.modules)\n"
    solve = "module = __import__(name)\nprint(module.sqrt(16))\n"
    plain, named, hidden = await run_all(
        job(HIDDEN + loaded), job(f"# sympy\n{HIDDEN}{loaded}"), job(HIDDEN + loaded + solve)
    )
    assert [report.stdout for report in (plain, named, hidden)] == ["False\n", "True\n", "False\n4\n"]


async def test_a_pair_that_lost_its_workers_gets_new_ones():
    """Both kinds are there again, and take programs."""
    first, second, third, fourth = await run_all(
        job("print(1)"), job("import sympy\nprint(2)"), job("print(3)"), job("import sympy\nprint(4)"), kill=True
    )
    assert [report.stdout for report in (first, second, third, fourth)] == ["1\n", "2\n", "3\n", "4\n"]
    assert {report.status for report in (first, second, third, fourth)} == {ProgramStatus.FINISHED}


async def test_a_time_limit_holds_on_either_worker():
    """The limit of one program is not that of the other's worker."""
    late = Job(code="while True: pass", run_timeout=0.5, memory_limit_mb=256)
    late_too = Job(code="import sympy\nwhile True: pass", run_timeout=0.5, memory_limit_mb=256)
    statuses = [report.status for report in await run_all(late, late_too, job("print(1)"))]
    assert statuses == [ProgramStatus.TIME_LIMIT, ProgramStatus.TIME_LIMIT, ProgramStatus.FINISHED]
