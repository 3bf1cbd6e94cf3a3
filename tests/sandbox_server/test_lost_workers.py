"""Workers that end at any moment: whose call that is, and how often it is tried."""

import asyncio
import contextlib
import os
import resource
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox_server import IsolationPolicy, ServerConfig, worker_handle
from sandbox_server.frames import Job, ProgramStatus
from sandbox_server.isolation import UNISOLATED, Isolation
from sandbox_server.pool import WorkerPool

CONFIG = ServerConfig(port=0, preload=(), isolation=IsolationPolicy.BEST_EFFORT)
# Without isolation a program is the user of its worker, and can end it.
POISON = "import os, signal\nopen('{}', 'a').write('x')\nos.kill(os.getppid(), signal.SIGKILL)"


def job(code: str, run_timeout: float = 5.0, cells: list[str] | None = None) -> Job:
    """A job with room for everything."""
    return Job(code=code, run_timeout=run_timeout, memory_limit_mb=256, cells=cells)


@contextlib.asynccontextmanager
async def started(workers: int = 2, level: Isolation = UNISOLATED) -> AsyncIterator[tuple[WorkerPool, list[int]]]:
    """A pool at that level, and the process ids of its workers."""
    pool = WorkerPool(replace(CONFIG, workers=workers), (level,))
    before = set(below(os.getpid()))
    await pool.start()
    try:
        zygotes = set(below(os.getpid())) - before
        # The last level is the workers; the worker of the trial has gone by now or goes soon.
        assert await eventually(lambda: len(grandchildren(zygotes)) == workers)
        yield pool, grandchildren(zygotes)
    finally:
        await pool.close(0.0)


def grandchildren(zygotes: set[int]) -> list[int]:
    """The workers: children of keepers, which are the zygotes'."""
    return [worker for zygote in zygotes for keeper in below(zygote) for worker in below(keeper)]


def below(pid: int) -> list[int]:
    """The children of a process."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{pid}/children") as listing:
        return [int(child) for child in listing.read().split()]
    return []


async def eventually(condition, seconds: float = 10.0) -> bool:
    """Whether the condition holds within that time."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    return condition()


@pytest.mark.parametrize("cells", [False, True])
async def test_a_program_that_ends_its_workers_has_failed(tmp_path, cells):
    """It runs twice and costs two workers; its neighbours notice nothing, and the workers come back."""
    poison = POISON.format(tmp_path / "ran")
    async with started() as (pool, _):
        poisoned = job("", cells=["1", poison]) if cells else job(poison)
        ended, *others = await asyncio.gather(pool.run(poisoned), *(pool.run(job(f"print({n})")) for n in range(20)))
        assert (ended.status, ended.return_code) == (ProgramStatus.FINISHED, 1)
        assert "lost" in ended.stderr
        assert [other.stdout for other in others] == [f"{n}\n" for n in range(20)]
        assert await eventually(lambda: pool.alive == 2)
        assert (pool.replaced, (tmp_path / "ran").read_text()) == (2, "xx")


async def test_a_program_whose_worker_is_lost_runs_on_another(tmp_path):
    """One worker that ends with a program proves nothing of the program."""
    ran = tmp_path / "ran"
    code = f"import time\nopen('{ran}', 'a').write('x')\ntime.sleep(0.5)\nprint('done')"
    async with started() as (pool, workers):
        call = asyncio.create_task(pool.run(job(code)))
        assert await eventually(ran.exists)
        for worker in workers:
            if below(worker):
                os.kill(worker, signal.SIGKILL)
        report = await call
        assert (report.status, report.stdout, ran.read_text()) == (ProgramStatus.FINISHED, "done\n", "xx")


async def test_a_worker_that_ends_between_programs_costs_no_call(tmp_path):
    """Whether the server has seen it or not, each program runs once."""
    ran = tmp_path / "ran"
    async with started(workers=4) as (pool, workers):
        for worker in workers[:3]:
            # Nothing is awaited between the two: the server cannot know.
            os.kill(worker, signal.SIGKILL)
        wait_for_the_end(workers[:3])
        reports = await asyncio.gather(*(pool.run(job(f"open('{ran}', 'a').write('x')")) for _ in range(20)))
        assert [report.return_code for report in reports] == [0] * 20
        assert ran.read_text() == "x" * 20


def wait_for_the_end(pids: list[int]) -> None:
    """Until they are no more, or zombies."""
    deadline = time.monotonic() + 5.0
    for pid in pids:
        while time.monotonic() < deadline:
            try:
                if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                    break
            except (FileNotFoundError, ProcessLookupError):
                break


@pytest.mark.parametrize("size", [1, 1_000_000])
async def test_an_order_that_is_not_taken_goes_elsewhere(size, monkeypatch):
    """A worker that stands still, or ends with the order unread, has not run the program."""
    monkeypatch.setattr(worker_handle, "_OVERTIME", 0.3)
    async with started() as (pool, workers):
        for worker in workers:
            os.kill(worker, signal.SIGSTOP)
        call = asyncio.create_task(pool.run(job("print(1)" + "#" * size, run_timeout=0.5)))
        await asyncio.sleep(0.2)
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        report = await call
        assert report.stdout == "1\n"
        assert await eventually(lambda: pool.alive == 2)


async def test_a_silent_worker_is_given_up(monkeypatch):
    """One that has not taken its order costs no call; one that has is the time limit of its program."""
    monkeypatch.setattr(worker_handle, "_OVERTIME", 0.3)
    async with started(workers=1) as (pool, workers):
        call = asyncio.create_task(pool.run(job("import time\ntime.sleep(9)", run_timeout=0.7)))
        await asyncio.sleep(0.4)
        os.kill(workers[0], signal.SIGSTOP)
        report = await call
        assert (report.status, 0.9 < report.execution_time < 3.0) == (ProgramStatus.TIME_LIMIT, True)
        assert (await pool.run(job("print(1)"))).stdout == "1\n"
        assert pool.replaced == 1
        os.kill(workers[0], signal.SIGKILL)
    async with started(workers=1) as (pool, workers):
        os.kill(workers[0], signal.SIGSTOP)
        assert (await pool.run(job("print(2)", run_timeout=0.5))).stdout == "2\n"
        os.kill(workers[0], signal.SIGKILL)


# Not of CPU time: with none left a program begins, and lives until the kernel's clock next ticks.
@pytest.mark.parametrize("limit", ["FSIZE", "NOFILE", "AS"])
async def test_a_worker_that_cannot_begin_a_program_is_replaced(limit):
    """Whatever spoilt it, the program begins on another one."""
    async with started(workers=1) as (pool, workers):
        resource.prlimit(workers[0], getattr(resource, f"RLIMIT_{limit}"), (0, 0))
        reports = [await pool.run(job(f"print({number})")) for number in range(3)]
        assert [report.stdout for report in reports] == ["0\n", "1\n", "2\n"]
        assert pool.replaced == 1


@pytest.mark.skipif(os.getuid() != 0, reason="a level that an ordinary user's server has otherwise")
@pytest.mark.parametrize("limit", ["FSIZE", "NOFILE", "AS", "CPU", "NPROC", "STACK", "MEMLOCK", "CORE"])
async def test_limits_that_a_program_sets_its_worker_reach_no_other(limit):
    """Where the two are one user and no call is refused, the worker is replaced before the next program."""
    level = Isolation(True, True, user_namespace=True, own_user=False)
    spoil = f"import resource\nprint('began', flush=True)\nresource.prlimit(1, resource.RLIMIT_{limit}, (0, 0))"
    async with started(workers=1, level=level) as (pool, _):
        spoilt = await pool.run(job(spoil))
        after = [await pool.run(job(f"print({number})")) for number in range(3)]
        assert (spoilt.status, [report.stdout for report in after]) == (ProgramStatus.FINISHED, ["0\n", "1\n", "2\n"])
        assert 1 <= pool.replaced <= 2


async def test_a_time_limit_that_ends_before_the_program_begins_is_a_time_limit():
    """However short it is, that is what the caller asked for."""
    async with started(workers=1) as (pool, _):
        reports = [await pool.run(job("print(1)", run_timeout=seconds)) for seconds in (1e-9, 1e-5, 1e-4, 1e-3)]
        assert {report.status for report in reports} <= {ProgramStatus.TIME_LIMIT, ProgramStatus.FINISHED}
        assert (reports[0].status, pool.replaced) == (ProgramStatus.TIME_LIMIT, 0)
