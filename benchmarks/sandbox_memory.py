"""What the embedded sandbox holds in memory, and how its rate grows with its workers.

    python benchmarks/sandbox_memory.py
    python benchmarks/sandbox_memory.py --workers 1 2 8 32 --seconds 5

PSS counts a page that several processes share once, divided among them; RSS counts it in each. The server forks its
processes from one that has numpy and sympy loaded, so PSS is what another worker costs. As root all processes are read;
otherwise those of other users are left out, and the number of them is printed.

The projection to more processors is arithmetic and not a measurement:

    rate(n) = rate(1) * n * efficiency,    efficiency = rate(k) / (k * rate(1)) for the largest measured k

On one machine the client and the server's own loop share the processors with the programs, so the efficiency that is
measured here is below that of a server whose client is elsewhere.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from dataclasses import dataclass

import aiohttp
import psutil
from sandbox_programs import PROGRAMS, Program
from sandbox_sides import Side, Wire, send
from sandbox_throughput import play

from sandbox_server import EmbeddedSandbox, ServerConfig

MIB = 1 << 20
HELD = 4.0  # seconds that a program stays, so that all are there when memory is read
SETTLE = 2.5  # seconds after which all of them have started
IN_FLIGHT = 16
RUNNING = {
    "print": "import time\nprint(1 + 1, flush=True)\n",
    "numpy": "import time, numpy\nprint(numpy.arange(10).sum())\n",
    "sympy": "import time, sympy\nx = sympy.Symbol('x')\nprint(sympy.solve(x**2 - 5*x + 6, x))\n",
}
PROJECTED = (16, 64, 256)  # processors


@dataclass(frozen=True)
class Memory:
    """Of a server and all processes below it."""

    pss: float
    """MiB."""
    rss: float
    """MiB."""
    processes: int
    unread: int
    """Processes whose PSS this user may not read."""


def memory(pid: int) -> Memory:
    """As it is now."""
    pss = rss = 0
    unread = count = 0
    root = psutil.Process(pid)
    for process in [root, *root.children(recursive=True)]:
        try:
            info = process.memory_full_info()
        except psutil.AccessDenied:
            unread += 1
        except psutil.NoSuchProcess:
            continue
        else:
            pss, rss = pss + info.pss, rss + info.rss
        count += 1
    return Memory(pss / MIB, rss / MIB, count, unread)


async def busy(endpoint: str, pid: int, code: str, number: int) -> Memory:
    """Memory while `number` programs that have run `code` are still there."""
    program = Program(f"{code}time.sleep({HELD})", "")
    side = Side("embedded", endpoint, Wire.RUN_CODE)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        calls = [asyncio.create_task(send(session, side, [program])) for _ in range(number)]
        await asyncio.sleep(SETTLE)
        seen = await asyncio.to_thread(memory, pid)
        await asyncio.gather(*calls)
    return seen


async def rate(endpoint: str, seconds: float) -> float:
    """Successful calls of `print` per second."""
    side = Side("embedded", endpoint, Wire.RUN_CODE)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await play(session, side, PROGRAMS["print"], IN_FLIGHT, 0.5)
        tally = await play(session, side, PROGRAMS["print"], IN_FLIGHT, seconds)
    return sum(answer.right for answer in tally.answers) / tally.seconds


def report_memory(workers: list[int]) -> None:
    """Idle servers of each size, and the largest one busy."""
    print("| workers | processes | PSS, MiB | RSS, MiB | unread |\n|---|---|---|---|---|")
    idle: dict[int, Memory] = {}
    for number in workers:
        with EmbeddedSandbox(ServerConfig(port=0, workers=number)) as server:
            idle[number] = seen = memory(server.pid)
            print(f"| {number} | {seen.processes} | {seen.pss:.1f} | {seen.rss:.1f} | {seen.unread} |", flush=True)
            if number == workers[-1]:
                during = {
                    name: asyncio.run(busy(server.endpoint, server.pid, code, number)) for name, code in RUNNING.items()
                }
    few, many = idle[workers[0]], idle[workers[-1]]
    if added := workers[-1] - workers[0]:
        print(
            f"per idle worker: PSS {(many.pss - few.pss) / added:.2f} MiB, RSS {(many.rss - few.rss) / added:.2f} MiB"
        )
    for name, seen in during.items():
        print(
            f"per running program, {name}, {workers[-1]} at once: PSS {(seen.pss - many.pss) / workers[-1]:.2f} MiB, "
            f"RSS {(seen.rss - many.rss) / workers[-1]:.2f} MiB"
        )


def report_rate(seconds: float) -> None:
    """Print's rate at one worker, at as many as processors, and what follows for more by the formula."""
    rates = {}
    for number in sorted({1, len(os.sched_getaffinity(0))}):
        with EmbeddedSandbox(ServerConfig(port=0, workers=number)) as server:
            rates[number] = asyncio.run(rate(server.endpoint, seconds))
        print(f"print, {IN_FLIGHT} in flight, {number} workers: {rates[number]:.1f} calls/s", flush=True)
    most = max(rates)
    efficiency = rates[most] / (most * rates[1])
    print(f"efficiency at {most} workers: {efficiency:.2f}")
    for number in PROJECTED:
        print(f"projected, not measured, {number} processors: {rates[1] * number * efficiency:.0f} calls/s")


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 8, 32], help="server sizes (default: 1 8 32)")
    parser.add_argument("--seconds", type=float, default=4.0, help="time per rate (default: 4)")
    arguments = parser.parse_args()
    report_memory(sorted(arguments.workers))
    report_rate(arguments.seconds)


if __name__ == "__main__":
    main()
