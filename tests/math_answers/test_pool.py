"""Comparisons that hang, explode or lose their process cost only themselves."""

import asyncio
import contextlib
import logging
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from math_answers import PoolClosedError, ScoringPool, Verdict, WorkerStartError, process
from math_answers.worker import judge

pytest.importorskip("math_verify")

HANGING = "9^{9^{9^9}}"


def for_a_worker(number: int) -> tuple[str, str]:
    """A harmless pair of equals that needs algebra; another one for each number, since verdicts are remembered."""
    return rf"\sqrt{{{number**2}}}", str(number)


@pytest.fixture(scope="module")
def pool() -> Iterator[ScoringPool]:
    """A pool of two with a short limit; every test leaves it usable."""
    with contextlib.closing(ScoringPool(workers=2, timeout=1.5, memory_limit_mb=1024)) as shared:
        yield shared


def is_running(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Whether the condition came true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


async def during(comparison: Awaitable[Verdict], pool: ScoringPool, act: Callable[[], object]) -> Verdict:
    """The comparison's verdict, with `act` done while it is under way in a worker."""
    task = asyncio.ensure_future(comparison)
    while not pool.worker_pids:
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.3)
    act()
    return await task


async def test_verdicts_of_normal_comparisons(pool: ScoringPool) -> None:
    """Equal, different, and any of several accepted answers, by algebra and without."""
    assert await pool.compare("0.5", r"\frac12") is Verdict.CORRECT
    assert await pool.compare("0.6", r"\frac12") is Verdict.WRONG
    assert await pool.compare("0.6", ["1", r"\frac35"]) is Verdict.CORRECT
    assert await pool.compare(r"\sqrt{8}", r"2\sqrt{2}") is Verdict.CORRECT
    assert await pool.compare(r"\sqrt{8}", r"2\sqrt{3}") is Verdict.WRONG
    assert await pool.compare(r"\sqrt{8}", ["1", r"2\sqrt{2}"]) is Verdict.CORRECT


async def test_what_needs_no_algebra_needs_no_process() -> None:
    """Texts, numbers and what was compared before are settled without a worker."""
    with contextlib.closing(ScoringPool(workers=1, timeout=30.0, memory_limit_mb=1024)) as pool:
        assert await pool.compare("0.5", r"\frac12") is Verdict.CORRECT
        assert await pool.compare("(1, 2)", r"(2,1)") is Verdict.WRONG
        assert pool.worker_pids == ()
        assert await pool.compare(*for_a_worker(3)) is Verdict.CORRECT
        (worker,) = pool.worker_pids
        os.kill(worker, signal.SIGSTOP)
        assert await pool.compare(*for_a_worker(3)) is Verdict.CORRECT


@pytest.mark.parametrize(
    "answer",
    [
        HANGING,
        "(10^9)!",
        "{" * 10_000 + "1" + "}" * 10_000,
        "(" * 900 + "1" + ")" * 900,
        r"\frac{" * 300,
        r"\frac{" * 10_000 + "1" + "}{2}" * 10_000,
        r"\sqrt{" * 200 + "2" + "}" * 200,
        "100000!!!",
        r"\sum_{n=1}^{10^{10}} \frac{1}{n^n}",
        "x^{99999} - (x+1)^{99999}",
        "9" * 100_000,
        "9" * 1_500 + "!",
        "__import__('os')._exit(1)",
        "\u202e9\u202c",
        "\\left(" * 100,
        "}{" * 500,
        "\x00\ud800",
        "7" * 1_000_000,
    ],
    ids=lambda answer: answer[:12].encode("ascii", "backslashreplace").decode(),
)
async def test_hostile_answer_is_bounded_and_the_pool_goes_on(pool: ScoringPool, answer: str) -> None:
    """A hostile answer earns nothing, in bounded time, and the next comparison is answered rightly."""
    started = time.monotonic()
    verdict = await pool.compare(answer, "5")
    assert verdict in {Verdict.UNDECIDED, Verdict.WRONG}
    assert time.monotonic() - started < 15.0
    assert await pool.compare(*for_a_worker(1_000 + hash(answer) % 1_000_000)) is Verdict.CORRECT


async def test_hanging_comparison_is_undecided_and_logged(pool: ScoringPool, caplog: pytest.LogCaptureFixture) -> None:
    """Running out of time says nothing about the answer, and the log names it."""
    with caplog.at_level(logging.WARNING, logger="math_answers.pool"):
        assert await pool.compare(HANGING, "5") is Verdict.UNDECIDED
    assert HANGING in caplog.text


async def test_start_up_does_not_count() -> None:
    """A limit far below a worker's start-up time still leaves normal comparisons decided."""
    started = time.monotonic()
    with contextlib.closing(ScoringPool(workers=1, timeout=0.15, memory_limit_mb=1024)) as pool:
        verdicts = [await pool.compare(*for_a_worker(number)) for number in range(2, 5)]
    assert time.monotonic() - started > 0.15
    assert Verdict.CORRECT in verdicts


async def test_worker_killed_in_mid_comparison_costs_nothing() -> None:
    """A comparison whose worker is killed from outside is done again by a fresh one, which finds its verdict."""
    with contextlib.closing(ScoringPool(workers=1, timeout=30.0, memory_limit_mb=1024)) as pool:
        assert await pool.compare(*for_a_worker(2)) is Verdict.CORRECT
        (victim,) = pool.worker_pids
        # Stopped first, so that the kill certainly meets it at work.
        os.kill(victim, signal.SIGSTOP)
        verdict = await during(pool.compare(*for_a_worker(3)), pool, lambda: os.kill(victim, signal.SIGKILL))
        assert verdict is Verdict.CORRECT
        assert victim not in pool.worker_pids


async def test_comparison_that_kills_its_worker_twice_is_undecided(caplog: pytest.LogCaptureFixture) -> None:
    """It is not tried forever, and the next comparison is answered by a new process."""

    def kill_each_worker() -> None:
        killed: set[int] = set()
        while len(killed) < 2:
            # A worker that has begun runs Python code of a comparison that never ends.
            for pid in set(pool.worker_pids) - killed:
                time.sleep(0.2)
                killed.add(pid)
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)

    with contextlib.closing(ScoringPool(workers=1, timeout=60.0, memory_limit_mb=1024)) as pool:
        killer = threading.Thread(target=kill_each_worker)
        killer.start()
        assert await pool.compare(HANGING, "5") is Verdict.UNDECIDED
        killer.join()
        assert "died again" in caplog.text
        assert await pool.compare(*for_a_worker(2)) is Verdict.CORRECT


async def test_hung_worker_holds_up_no_other() -> None:
    """While one comparison hangs, those after it are answered by the other worker."""

    async def beside(pool: ScoringPool) -> bool:
        hanging = asyncio.ensure_future(pool.compare(HANGING, "5"))
        verdicts = await asyncio.gather(*(pool.compare(*for_a_worker(number)) for number in range(2, 22)))
        went_on = not hanging.done()
        hanging.cancel()
        await asyncio.gather(hanging, return_exceptions=True)
        return went_on and set(verdicts) == {Verdict.CORRECT}

    with contextlib.closing(ScoringPool(workers=2, timeout=120.0, memory_limit_mb=1024)) as pool:
        assert await beside(pool)


async def test_worker_killed_while_idle_costs_no_comparison() -> None:
    """A worker that died between comparisons is replaced before the next."""
    with contextlib.closing(ScoringPool(workers=1, timeout=30.0, memory_limit_mb=1024)) as pool:
        await pool.compare(*for_a_worker(2))
        (victim,) = pool.worker_pids
        os.kill(victim, signal.SIGKILL)
        assert wait_until(lambda: not is_running(victim))
        assert await pool.compare(*for_a_worker(3)) is Verdict.CORRECT


async def test_fifty_comparisons_at_once(pool: ScoringPool) -> None:
    """Comparisons queue for two workers; one that hangs among them is the only one undecided."""

    async def all_at_once() -> list[Verdict]:
        normal = [pool.compare(rf"\sqrt{{{n**2}}}", str(n if n % 2 else -n)) for n in range(201, 251)]
        return await asyncio.gather(*normal, pool.compare(HANGING, "5"))

    verdicts = await all_at_once()
    assert verdicts == [Verdict.CORRECT, Verdict.WRONG] * 25 + [Verdict.UNDECIDED]
    assert len(pool.worker_pids) <= 2


def test_event_loops_of_several_threads_share_a_pool(pool: ScoringPool) -> None:
    """Each of four threads with a loop of its own gets its verdicts."""
    verdicts: list[Verdict] = []

    def compare_in_own_loop() -> None:
        verdicts.append(asyncio.run(pool.compare(*for_a_worker(threading.get_ident() % 1_000_000))))

    threads = [threading.Thread(target=compare_in_own_loop) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert verdicts == [Verdict.CORRECT] * 4


async def test_waiting_does_not_block_the_calling_loop(pool: ScoringPool) -> None:
    """While a comparison hangs, the loop that waits for it runs on."""

    async def ticks_meanwhile() -> int:
        task = asyncio.ensure_future(pool.compare(HANGING, "5"))
        ticks = 0
        while not task.done():
            await asyncio.sleep(0.02)
            ticks += 1
        return ticks

    assert await ticks_meanwhile() > 10


async def test_cancelled_comparison_frees_its_place() -> None:
    """A caller that gives up takes the hanging worker with it."""
    with contextlib.closing(ScoringPool(workers=1, timeout=60.0, memory_limit_mb=1024)) as pool:
        # So that the worker is up, and the time that is left goes to the comparison.
        assert await pool.compare(*for_a_worker(3)) is Verdict.CORRECT
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pool.compare(HANGING, "5"), 0.5)
        assert await asyncio.wait_for(pool.compare(*for_a_worker(2)), 30.0) is Verdict.CORRECT


async def test_closing_ends_the_workers() -> None:
    """After closing no process is left, a comparison under way says so, and so does a later one."""
    pool = ScoringPool(workers=1, timeout=60.0, memory_limit_mb=1024)

    async def close_in_mid_comparison() -> tuple[int, ...]:
        task = asyncio.ensure_future(pool.compare(HANGING, "5"))
        while not pool.worker_pids:
            await asyncio.sleep(0.05)
        pids = pool.worker_pids
        await pool.aclose()
        with pytest.raises(PoolClosedError):
            await task
        with pytest.raises(PoolClosedError):
            await pool.compare("1", "1")
        return pids

    pids = await close_in_mid_comparison()
    pool.close()
    assert pids
    assert not any(is_running(pid) for pid in pids)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a busy worker outlives its parent by its time limit")
@pytest.mark.parametrize("answer", ["1.0", HANGING], ids=["idle", "busy"])
def test_workers_die_with_their_parent(answer: str) -> None:
    """A parent killed without warning leaves no worker behind, whether idle or in mid-comparison."""
    program = (
        "import asyncio, sys, time\n"
        "from math_answers.pool import ScoringPool\n"
        "async def main():\n"
        "    pool = ScoringPool(workers=1, timeout=600.0, memory_limit_mb=1024)\n"
        "    await pool.compare(r'\\sqrt{4}', '2')\n"
        "    print(*pool.worker_pids, flush=True)\n"
        "    await pool.compare(sys.argv[1], '1')\n"
        "    await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", program, answer]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        time.sleep(0.3)
        assert is_running(worker)
        parent.kill()
    assert wait_until(lambda: not is_running(worker))


async def test_worker_that_cannot_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken installation is an exception that names the likely cause, never an undecided comparison."""
    monkeypatch.setattr(process.sys, "executable", "/bin/false")
    with contextlib.closing(ScoringPool(workers=1, timeout=1.0, memory_limit_mb=1024)) as pool:
        with pytest.raises(WorkerStartError, match="math-verify"):
            await pool.compare(*for_a_worker(2))
        monkeypatch.setattr(process.sys, "executable", "/no/such/program")
        with pytest.raises(WorkerStartError, match="/no/such/program"):
            await pool.compare(*for_a_worker(2))


@pytest.mark.parametrize(
    ("workers", "timeout", "memory_limit_mb", "message"),
    [(0, 1.0, 1024, "workers=0"), (1, 0.0, 1024, "timeout=0.0"), (1, 1.0, 8, "memory_limit_mb=8")],
)
def test_settings_out_of_range_are_refused(workers: int, timeout: float, memory_limit_mb: int, message: str) -> None:
    """The error names the setting and its value."""
    with pytest.raises(ValueError, match=message):
        ScoringPool(workers, timeout, memory_limit_mb)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the limits of another process")
async def test_memory_is_bounded() -> None:
    """A worker's address space has its limit; a comparison that needs more ends, and the next one is answered."""
    with contextlib.closing(ScoringPool(workers=1, timeout=20.0, memory_limit_mb=256)) as pool:
        assert await pool.compare(*for_a_worker(2)) is Verdict.CORRECT
        (worker,) = pool.worker_pids
        assert resource.prlimit(worker, resource.RLIMIT_AS)[0] == 256 * 2**20
        # Eight billion bits, a gigabyte.
        assert await pool.compare("2^{8000000000}-2^{7999999999}", "2^{7999999999}") is Verdict.UNDECIDED
        assert await pool.compare(*for_a_worker(3)) is Verdict.CORRECT


@pytest.mark.parametrize("error", [MemoryError, RecursionError])
def test_exhausted_worker_leaves_its_comparison_undecided(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """Running out of memory or stack says nothing about the answer."""

    def exhausted(answer: str, accepted: list[str]) -> bool:
        raise error

    monkeypatch.setattr("math_answers.worker.is_equivalent", exhausted)
    assert judge("1", ["1"]) is Verdict.UNDECIDED
