"""Thousands of calls through a client, faulty ways and two servers that are killed now and then: nothing is lost.

A nightly run makes all of them, and `SOAK_CALLS=80000` ten times as many.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from faulty_proxy import FaultyProxy, Spoil, sometimes
from nightly import WHOLE, scaled

from sandbox_client import CallLimits, ExecutionStatus, SandboxClient, Timeouts, Token
from sandbox_server import EmbeddedSandbox, ServerConfig

CALLS = scaled(int(os.environ.get("SOAK_CALLS", 8_000)))
IN_FLIGHT = 64
TOKEN = "soak-token"
SPOILT = 0.01 if WHOLE else 0.05
"""Share of the answers; more of fewer calls, so that each kind of fault is among them."""
KINDS = (Spoil.RESET, Spoil.HALF, Spoil.ERROR_500, Spoil.ERROR_503, Spoil.WRONG_JSON, Spoil.HANG)

# What each call asks for, by its number; most succeed, and what does not must not either when everything else fails.
FAILING, KILLED = 50, 173


def program(number: int) -> str:
    """Prints its number twice, in different ways; some fail, and some leave a daemon and a file."""
    if number % FAILING == 1:
        return f"print({number})\nraise ValueError({number})"
    if number % KILLED == 2:
        return f"import os\nprint({number}, flush=True)\nos.kill(os.getpid(), 11)"
    litter = "import os\nopen('/tmp/litter', 'w').write('x')\n" if number % 7 == 0 else ""
    # Both kinds of workers are asked.
    if number % 3 == 0:
        litter += "import sympy\n"
    if number % 31 == 0:
        litter += "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(1000)\n"
    return f"{litter}print({number})"


def expected(number: int) -> ExecutionStatus:
    """How the program ends, whatever happens on the way."""
    bad = number % FAILING == 1 or number % KILLED == 2
    return ExecutionStatus.FAILED if bad else ExecutionStatus.SUCCESS


def tree(server: EmbeddedSandbox) -> list[psutil.Process]:
    """The server, its zygote, keepers and workers, and the programs that run."""
    process = psutil.Process(server.pid)
    return [process, *process.children(recursive=True)]


def workers_of(server: EmbeddedSandbox) -> list[psutil.Process]:
    """The workers: children of keepers, which are the zygotes'. None while lost ones are being replaced."""
    zygotes = psutil.Process(server.pid).children()
    return [worker for zygote in zygotes for keeper in zygote.children() for worker in keeper.children()]


@dataclass(frozen=True)
class Footprint:
    """What a server holds while nothing runs."""

    processes: int
    descriptors: int
    memory: int
    """Bytes, pages that processes share counted once."""
    files: int
    """What lies in the temporary directories as the workers see them."""

    @classmethod
    def of(cls, server: EmbeddedSandbox) -> Footprint:
        """The footprint now."""
        processes = tree(server)
        return cls(
            processes=len(processes),
            descriptors=sum(process.num_fds() for process in processes),
            memory=sum(process.memory_full_info().pss for process in processes),
            files=sum(count_files(Path(f"/proc/{process.pid}/root")) for process in processes[1:]),
        )


def count_files(root: Path) -> int:
    """Files in a process's own temporary directories; those that it shares with the machine are not its doing."""
    own = [root / name for name in ("tmp", "var/tmp", "dev/shm")]
    own = [path for path in own if path.is_dir() and path.stat().st_dev != Path("/tmp").stat().st_dev]
    own = [path for path in own if path.stat().st_dev != Path("/dev/shm").stat().st_dev]
    return sum(_files_of_one_device(folder) for folder in own)


def _files_of_one_device(folder: Path) -> int:
    """Files below `folder`, but not of an interpreter that is mounted there."""
    device, count = folder.stat().st_dev, 0
    for directory, below, names in os.walk(folder):
        below[:] = [name for name in below if os.lstat(os.path.join(directory, name)).st_dev == device]
        count += len(names)
    return count


async def at_rest(server: EmbeddedSandbox, processes: int, seconds: float = 30.0) -> Footprint:
    """The footprint once the server has that many processes, or when the time is over."""
    deadline = time.monotonic() + seconds
    while len(tree(server)) != processes and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    await asyncio.sleep(0.5)
    return Footprint.of(server)


@pytest.mark.skipif(os.geteuid() != 0, reason="looks into the private views of other users' processes")
async def test_soak() -> None:
    """Each call ends exactly once, with its own result; no process, descriptor, file or memory is left behind."""
    config = ServerConfig(port=0, workers=1)
    with EmbeddedSandbox(config, token=TOKEN) as first, EmbeddedSandbox(config, token=TOKEN) as second:
        await Soak([first, second]).run()


class Soak:
    """The calls, what came of them, and the checks after them."""

    def __init__(self, servers: list[EmbeddedSandbox]) -> None:
        self.servers = servers
        self.done: Counter[int] = Counter()
        self.wrong: list[str] = []

    async def run(self) -> None:
        """A tenth of the calls for warming up, then the rest; both leave the same behind."""
        proxies = [
            FaultyProxy(server.endpoint, sometimes(SPOILT, seed, *KINDS)) for seed, server in enumerate(self.servers)
        ]
        # The server; zygote, keeper and worker with the libraries and without.
        processes = 7
        async with proxies[0].running(), proxies[1].running():
            async with self.client(proxies) as client:
                await self.call(client, range(CALLS // 10))
            before = [await at_rest(server, processes) for server in self.servers]
            own = psutil.Process().memory_info().rss
            spoilt = proxies[0].spoilt + proxies[1].spoilt
            async with self.client(proxies) as client:
                killing = asyncio.create_task(self.kill_now_and_then())
                await self.call(client, range(CALLS // 10, CALLS))
                await killing
                self.check(client, proxies[0].spoilt + proxies[1].spoilt - spoilt)
            for server, first in zip(self.servers, before, strict=True):
                last = await at_rest(server, processes)
                assert (first.processes, last.processes) == (processes, processes)
                assert (first.files, last.files) == (0, 0)
                assert last.descriptors <= first.descriptors + 2
                assert last.memory <= first.memory * 1.1 + (4 << 20)
            assert psutil.Process().memory_info().rss <= own + (64 << 20)

    def client(self, proxies: list[FaultyProxy]) -> SandboxClient:
        """A client of both servers, by way of the proxies."""
        return SandboxClient(
            [proxy.endpoint for proxy in proxies],
            token=Token(TOKEN),
            timeouts=Timeouts(total=8.0, margin=1.0),
            limits=CallLimits(max_concurrency=IN_FLIGHT),
        )

    async def call(self, client: SandboxClient, numbers: range) -> None:
        """Make the calls of `numbers`, IN_FLIGHT at a time."""
        left = iter(numbers)

        async def call_on() -> None:
            for number in left:
                execution = await client.run_code(program(number), run_timeout=5.0)
                self.done[number] += 1
                if execution.stdout != f"{number}\n" or execution.status is not expected(number):
                    seen = (execution.status, execution.return_code, execution.stdout[:80], execution.stderr[-200:])
                    self.wrong.append(f"{number}: {seen}")

        async with asyncio.TaskGroup() as group:
            for _ in range(IN_FLIGHT):
                group.create_task(call_on())

    async def kill_now_and_then(self) -> None:
        """End each server's worker twice, spread over the calls."""
        for part, server in enumerate((*self.servers, *self.servers)):
            while self.done.total() < CALLS * (2 + 2 * part) // 10:
                await asyncio.sleep(0.05)
            while not (workers := workers_of(server)):
                await asyncio.sleep(0.05)
            workers[0].kill()

    def check(self, client: SandboxClient, spoilt: Counter[Spoil]) -> None:
        """Every call is accounted for exactly once, by the caller and by the client."""
        assert self.wrong == []
        assert self.done == Counter(range(CALLS))
        stats, now = client.stats, client.snapshot()
        calls = CALLS - CALLS // 10
        assert (stats.calls, stats.success + stats.failed) == (calls, calls)
        assert (stats.faulted, stats.cancelled, now.in_flight, now.waiting) == (0, 0, 0, 0)
        assert set(spoilt) == set(KINDS)
        # Probes are spoilt too; each spoilt call was tried again.
        assert stats.retries >= spoilt.total() - stats.probes
        assert stats.retries >= calls * SPOILT / 2
