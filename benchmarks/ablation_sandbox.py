"""A sandbox that talks too much, for the ablation: what libraries print gets between a program and its result.

It passes programs on to a real one, and puts a preamble before what some of them printed: the warnings, progress bars
and tables that a model meets in the wild and the toy never saw in its warm start. The result stays the last line.
"""

from __future__ import annotations

import asyncio
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import aiohttp
from aiohttp import web


def _warning(rng: Random) -> str:
    return f"/opt/lib/numpy/core.py:{rng.randint(100, 999)}: UserWarning: subnormal is zero\n  setattr(self, word, 0)\n"


def _progress(rng: Random) -> str:
    return (
        "".join(f"\r{share:3d}%|{'#' * (share // 20):5s}| {rng.randint(1, 99)}it/s" for share in (20, 60, 100)) + "\n"
    )


def _table(rng: Random) -> str:
    return "   x      y\n" + "".join(f"{row}  {rng.randint(0, 999)}  {rng.random():.6f}\n" for row in range(3))


def _log(rng: Random) -> str:
    return f"\x1b[33mINFO\x1b[0m [{rng.randint(0, 999)}] solver: converged, residual {rng.random():.3e}\n"


_PREAMBLES = (_warning, _progress, _table, _log)


def preamble(code: str, share: float) -> str:
    """What is printed before the program's own output; empty for all but `share` of the programs. Pure.

    A program has always the same, whoever runs it and whenever.
    """
    rng = Random(zlib.crc32(code.encode()))
    return rng.choice(_PREAMBLES)(rng) if rng.random() < share else ""


@contextmanager
def talkative(target: str, share: float) -> Iterator[str]:
    """The endpoint of a sandbox before `target`, in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    runner, endpoint = asyncio.run_coroutine_threadsafe(_start(target, share), loop).result()
    try:
        yield endpoint
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


async def _start(target: str, share: float) -> tuple[web.AppRunner, str]:
    async def run_code(request: web.Request) -> web.Response:
        body = await request.json()
        async with session.post(f"{target}/run_code", json=body) as answer:
            result = await answer.json()
            if answer.status == 200 and result["run_result"]["stdout"]:
                result["run_result"]["stdout"] = preamble(body["code"], share) + result["run_result"]["stdout"]
            return web.json_response(result, status=answer.status)

    async def close(_app: web.Application) -> None:
        await session.close()

    session = aiohttp.ClientSession()
    app = web.Application()
    app.router.add_post("/run_code", run_code)
    app.on_cleanup.append(close)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"
