"""Calls per second of the embedded sandbox, as a ratio to a peer measured in the same run.

    python benchmarks/sandbox_throughput.py                                   # peer: one new Python process per program
    python benchmarks/sandbox_throughput.py --peer http://127.0.0.1:8180      # peer: a running Sandbox Fusion

Both sides run the same programs with the same number in flight. Rates depend on the machine; compare side by side only.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sandbox_client import ExecutionStatus, Limits, RetryPolicy, SandboxClient, SandboxFault
from verl_tir.sandbox_server.launcher import EmbeddedSandbox

PROGRAMS = {
    "print": "print(1 + 1)",
    "numpy": "import numpy\nprint(numpy.arange(10).sum())",
    "sympy": "import sympy\nx = sympy.Symbol('x')\nprint(sympy.solve(x**2 - 5*x + 6, x))",
}
RUN_TIMEOUT = 20.0

Call = Callable[[str], Awaitable[bool]]
"""Runs a program; whether it succeeded."""


@dataclass(frozen=True)
class Measured:
    """One side of a comparison."""

    rate: float
    """Successful calls per second."""
    median: float
    """Seconds of a call, half of them took less."""
    succeeded: float
    """Share of the calls."""


async def measure(call: Call, program: str, calls: int, in_flight: int) -> Measured:
    """Make `calls` calls, `in_flight` at a time."""
    turn = asyncio.Semaphore(in_flight)
    latencies: list[float] = []

    async def one() -> bool:
        async with turn:
            started = time.perf_counter()
            good = await call(program)
            latencies.append(time.perf_counter() - started)
            return good

    began = time.perf_counter()
    results = await asyncio.gather(*(one() for _ in range(calls)))
    seconds = time.perf_counter() - began
    return Measured(sum(results) / seconds, statistics.median(latencies), sum(results) / calls)


def calls_of(client: SandboxClient) -> Call:
    """Programs sent to a service."""

    async def call(program: str) -> bool:
        try:
            return (await client.run_code(program, run_timeout=RUN_TIMEOUT)).status is ExecutionStatus.SUCCESS
        except SandboxFault:
            return False

    return call


async def new_process(program: str) -> bool:
    """A program in a new Python process."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    return await asyncio.wait_for(process.wait(), RUN_TIMEOUT) == 0


async def compare(peer: str | None, calls: int, in_flight: int) -> None:
    """Print one line per program."""
    once = {"retry": RetryPolicy(attempts=1), "limits": Limits(max_concurrency=in_flight)}
    with EmbeddedSandbox() as server:
        async with SandboxClient([server.endpoint], **once) as ours:
            for name, program in PROGRAMS.items():
                mine = await measure(calls_of(ours), program, calls, in_flight)
                if peer is None:
                    other = await measure(new_process, program, calls, in_flight)
                else:
                    async with SandboxClient([peer], **once) as client:
                        other = await measure(calls_of(client), program, calls, in_flight)
                print(
                    f"{name:6} {in_flight:4} in flight: embedded {mine.rate:7.1f}/s p50 {mine.median * 1e3:7.1f} ms "
                    f"{mine.succeeded:4.0%} ok | {peer or 'new process'} {other.rate:7.1f}/s "
                    f"p50 {other.median * 1e3:7.1f} ms {other.succeeded:4.0%} ok | ratio {mine.rate / other.rate:.1f}"
                    if other.rate
                    else f"{name}: no call of the peer succeeded"
                )


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", help="base URL of a running service with Sandbox Fusion's wire format")
    parser.add_argument("--calls", type=int, default=100, help="calls per program and side (default: 100)")
    parser.add_argument("--in-flight", type=int, nargs="+", default=[1, 16], help="calls at a time (default: 1 16)")
    arguments = parser.parse_args()
    for in_flight in arguments.in_flight:
        asyncio.run(compare(arguments.peer, arguments.calls, in_flight))


if __name__ == "__main__":
    main()
