"""The sandbox client's calls per second and CPU per call, as ratios to a bare aiohttp session and to the official SDK.

    python benchmarks/client_throughput.py                                    # bare aiohttp; the SDK if it is installed
    python benchmarks/client_throughput.py --sdk-python /tmp/sdk/bin/python   # the SDK in an environment of its own

All sides send the same program to the same server, which answers each call after 20 ms from a process of its own, with
the same number in flight. They take turns, round by round; printed are medians of the rounds. The first round warms up
and does not count. Rates depend on the machine; compare side by side only. The ratio of the CPU time that a call costs
the client's process is what decides the rate where the client is the bottleneck, and is steadier where others work too.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import importlib.util
import multiprocessing
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection

PROGRAM = "import math\n" + "\n".join(f"print(math.sqrt({number}))" for number in range(20))
ANSWER = {
    "status": "Success",
    "message": "",
    "compile_result": None,
    "run_result": {
        "status": "Finished",
        "execution_time": 0.02,
        "return_code": 0,
        "stdout": "".join(f"{number**0.5}\n" for number in range(20)),
        "stderr": "",
    },
    "executor_pod_name": None,
    "files": {},
}

Call = Callable[[], Awaitable[object]]

# Run as it is by another interpreter, so it can use nothing of this file.
SDK_SIDE = """
import asyncio, json, sys, time
import sandbox_fusion

async def measure(endpoint, program, calls, in_flight):
    request = sandbox_fusion.RunCodeRequest(code=program, language="python", run_timeout=5)
    turn = asyncio.Semaphore(in_flight)
    async def one():
        async with turn:
            answer = await sandbox_fusion.run_code_async(request, endpoint=endpoint)
            assert answer.status == "Success", answer
    began, worked = time.perf_counter(), time.process_time()
    await asyncio.gather(*(one() for _ in range(calls)))
    return calls / (time.perf_counter() - began), (time.process_time() - worked) / calls

for line in sys.stdin:
    print(json.dumps(asyncio.run(measure(*json.loads(line)))), flush=True)
"""


@dataclass(frozen=True)
class Load:
    """What each side does in a round."""

    endpoint: str
    """Base URL of the server."""
    calls: int
    """Calls per round."""
    in_flight: int
    """Calls at a time."""


@dataclass(frozen=True)
class Pace:
    """How a side fared in a round."""

    rate: float
    """Calls per second."""
    cpu: float
    """Seconds that the client's process computed for each call."""


def serve(port_out: Connection, delay: float) -> None:
    """Answer every call after `delay` seconds; runs in a process of its own."""
    from aiohttp import web

    async def run_code(request: web.Request) -> web.Response:
        await request.json()
        await asyncio.sleep(delay)
        return web.json_response(ANSWER)

    async def main() -> None:
        app = web.Application()
        app.router.add_post("/run_code", run_code)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
        port_out.send(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(main())


@contextlib.contextmanager
def server(delay: float) -> Iterator[str]:
    """A server in a process of its own; its base URL."""
    receive, send = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(send, delay), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{receive.recv()}"
    finally:
        process.terminate()
        process.join()


async def pace(call: Call, load: Load) -> Pace:
    """Make the calls of a round."""
    turn = asyncio.Semaphore(load.in_flight)

    async def one() -> None:
        async with turn:
            await call()

    began, worked = time.perf_counter(), time.process_time()
    await asyncio.gather(*(one() for _ in range(load.calls)))
    return Pace(load.calls / (time.perf_counter() - began), (time.process_time() - worked) / load.calls)


async def bare(load: Load) -> Pace:
    """One pooled aiohttp session and nothing else."""
    import aiohttp

    payload = {
        "code": PROGRAM,
        "language": "python",
        "stdin": None,
        "compile_timeout": 5.0,
        "run_timeout": 5.0,
        "memory_limit_MB": -1,
        "files": {},
        "fetch_files": [],
    }
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=load.in_flight)) as session:

        async def call() -> None:
            async with session.post(f"{load.endpoint}/run_code", json=payload) as answer:
                assert (await answer.json())["status"] == "Success"

        return await pace(call, load)


async def ours(load: Load) -> Pace:
    """The client, with all that it does by default."""
    from sandbox_client import CallLimits, ExecutionStatus, SandboxClient

    async with SandboxClient([load.endpoint], limits=CallLimits(max_concurrency=load.in_flight)) as client:

        async def call() -> None:
            execution = await client.run_code(PROGRAM, run_timeout=5.0)
            assert execution.status is ExecutionStatus.SUCCESS

        return await pace(call, load)


@contextlib.contextmanager
def sdk(python: str | None) -> Iterator[Callable[[Load], Pace] | None]:
    """The official SDK in a process of its own, None where there is none."""
    import json

    if python is None and importlib.util.find_spec("sandbox_fusion") is None:
        yield None
        return
    process = subprocess.Popen(
        [python or sys.executable, "-c", SDK_SIDE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def measure(load: Load) -> Pace:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps([load.endpoint, PROGRAM, load.calls, load.in_flight]) + "\n")
        process.stdin.flush()
        return Pace(*json.loads(process.stdout.readline()))

    try:
        yield measure
    finally:
        process.kill()
        process.wait()


def shown(values: list[float], form: str) -> str:
    """The median, and the range."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def main() -> None:
    """Read the command line, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sdk-python", help="interpreter of an environment that has the PyPI package sandbox-fusion")
    parser.add_argument("--calls", type=int, default=3000, help="calls per side and round (default: 3000)")
    parser.add_argument("--in-flight", type=int, default=256, help="calls at a time (default: 256)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds that count (default: 7)")
    parser.add_argument("--delay", type=float, default=0.02, help="seconds that the server takes (default: 0.02)")
    arguments = parser.parse_args()
    paces: dict[str, list[Pace]] = {}
    with server(arguments.delay) as endpoint, sdk(arguments.sdk_python) as official:
        load = Load(endpoint, arguments.calls, arguments.in_flight)
        for number in range(arguments.rounds + 1):
            measured = {}
            sides = {"aiohttp": bare, "ours": ours}
            # Every other round the other way round, and from a clean heap: neither side pays for what the other left.
            for side in list(sides) if number % 2 else reversed(sides):
                gc.collect()
                measured[side] = asyncio.run(sides[side](load))
            if official is not None:
                measured["sdk"] = official(load)
            if number:
                for side, value in measured.items():
                    paces.setdefault(side, []).append(value)
    print(
        f"{arguments.in_flight} in flight, {arguments.delay * 1e3:g} ms server, medians of {arguments.rounds} rounds:"
    )
    for side, rounds in paces.items():
        rates, cpu = [one.rate for one in rounds], [one.cpu * 1e6 for one in rounds]
        print(f"  {side:8} {shown(rates, '.0f')} calls/s, {shown(cpu, '.0f')} us CPU per call")
    for peer in sorted(paces.keys() - {"ours"}):
        pairs = list(zip(paces["ours"], paces[peer], strict=True))
        print(f"  rate, ours / {peer}: {shown([mine.rate / other.rate for mine, other in pairs], '.2f')}")
        print(f"  CPU per call, {peer} / ours: {shown([other.cpu / mine.cpu for mine, other in pairs], '.2f')}")


if __name__ == "__main__":
    main()
