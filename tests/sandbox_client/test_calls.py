"""The life of a call in the sandbox client: its turn, its rate, its times, its end from outside."""

import asyncio
import base64
import contextlib
import time

import pytest
from aiohttp import web

from sandbox_client import (
    CallLimits,
    ClientClosedError,
    ExecutionStatus,
    RetryPolicy,
    SandboxClient,
    SandboxProtocolError,
    Timeouts,
)

pytestmark = pytest.mark.usefixtures("nothing_left_over")

RUN_RESULT = {"status": "Finished", "execution_time": 0.02, "return_code": 0, "stdout": "2\n", "stderr": ""}
RESULT = {"status": "Success", "message": "", "run_result": RUN_RESULT, "files": {}}


async def answers(request):
    return web.json_response(RESULT)


async def takes_a_while(request):
    await asyncio.sleep(0.1)
    return web.json_response(RESULT)


async def hangs(request):
    await asyncio.sleep(30)


@contextlib.asynccontextmanager
async def client_of(handle, path="/run_code", **settings):
    """A client of a server that answers with `handle`."""
    app = web.Application(client_max_size=1 << 26)
    app.router.add_post(path, handle)
    runner = web.AppRunner(app, shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with SandboxClient([f"http://127.0.0.1:{runner.addresses[0][1]}"], **settings) as client:
            yield client
    finally:
        await runner.cleanup()


def program(client):
    return client.run_code("program", run_timeout=1.0)


async def test_times_are_told_apart():
    """Waiting for a turn, the server beyond the run, and the run add up to what the caller saw."""
    async with client_of(takes_a_while, limits=CallLimits(max_concurrency=1)) as client:
        first, second = await asyncio.gather(program(client), program(client))
    assert first.wait < second.wait >= 0.1
    for execution in (first, second):
        assert execution.run == 0.02
        assert 0.07 <= execution.queue <= 1.0
        parts = execution.wait + execution.connect + execution.queue + execution.run
        assert execution.latency == pytest.approx(parts, abs=0.1)
    assert first.connect > second.connect


async def test_calls_begin_at_the_rate():
    """No more calls begin per second than the limit says, however many wait."""
    async with client_of(answers, limits=CallLimits(max_rate=20.0)) as client:
        began = time.monotonic()
        await asyncio.gather(*(program(client) for _ in range(11)))
        seconds = time.monotonic() - began
    assert 0.45 <= seconds < 1.5


@pytest.mark.parametrize("where", ["in flight", "for a turn", "in a pause"])
async def test_cancelling_a_caller_gives_everything_back(where):
    """A caller that is cancelled leaves its turn, its attempt and its connection to the next."""
    served = []

    async def handle(request):
        served.append(request)
        if len(served) == 1:
            return web.Response(status=500) if where == "in a pause" else await hangs(request)
        return web.json_response(RESULT)

    limits, retry = CallLimits(max_concurrency=1), RetryPolicy(wait_initial=5.0)
    async with client_of(handle, limits=limits, retry=retry) as client:
        first = asyncio.create_task(program(client))
        second = asyncio.create_task(program(client))
        while not served or (where == "in a pause" and client.snapshot().in_flight):
            await asyncio.sleep(0.005)
        victim = second if where == "for a turn" else first
        victim.cancel()
        with pytest.raises(asyncio.CancelledError):
            await victim
        if where == "for a turn":
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            second = asyncio.create_task(program(client))
        execution = await asyncio.wait_for(second, 2.0)
        snapshot = client.snapshot()
    assert execution.status is ExecutionStatus.SUCCESS
    assert (snapshot.in_flight, snapshot.waiting, snapshot.endpoints[0].outstanding) == (0, 0, 0)


async def test_a_callers_own_timeout_is_a_timeout():
    """asyncio.timeout around a call sees its own cancellation, and not the client's."""
    async with client_of(hangs) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await program(client)
        assert client.stats.cancelled == 1


async def test_closing_ends_calls_with_a_clear_error():
    """Calls in flight, waiting for a turn and pausing all end at once when the client is closed, and it can reopen."""

    async def handle(request):
        return await hangs(request) if (await request.json())["code"] == "hang" else web.Response(status=500)

    limits, retry = CallLimits(max_concurrency=2), RetryPolicy(wait_initial=5.0)
    async with client_of(handle, limits=limits, retry=retry) as client:
        calls = [asyncio.create_task(client.run_code(code, run_timeout=1.0)) for code in ("hang", "fail", "hang")]
        await asyncio.sleep(0.1)
        began = time.monotonic()
        await client.close()
        seconds = time.monotonic() - began
        errors = await asyncio.gather(*calls, return_exceptions=True)
        with pytest.raises(RuntimeError, match="not open"):
            await program(client)
        await client.open()
        again = asyncio.create_task(client.run_code("hang", run_timeout=1.0))
        await asyncio.sleep(0.05)
        stats, done = client.stats, again.done()
        await client.close()
        errors += await asyncio.gather(again, return_exceptions=True)
    assert seconds < 4.0
    assert [type(error) for error in errors] == [ClientClosedError] * 4
    assert (stats.cancelled, stats.calls, done) == (3, 3, False)


async def test_the_task_of_a_closed_call_lives_on():
    """Closing the client ends the call and not the task that made it."""
    async with client_of(hangs) as client:

        async def caller():
            try:
                await program(client)
            except ClientClosedError:
                await asyncio.sleep(0.01)
                return asyncio.current_task().cancelling()

        task = asyncio.create_task(caller())
        await asyncio.sleep(0.05)
        await client.close()
        assert await task == 0


async def test_files_go_and_come():
    """Files, also large ones, are sent, and those asked for come back as bytes."""

    async def handle(request):
        asked = await request.json()
        content = base64.b64decode(asked["files"]["in.bin"])
        assert asked["fetch_files"] == ["out.bin"]
        return web.json_response(RESULT | {"files": {"out.bin": base64.b64encode(content[::-1]).decode()}})

    async with client_of(handle) as client:
        content = bytes(range(256)) * 8192
        execution = await client.run_code(
            "program", run_timeout=1.0, files={"in.bin": content}, fetch_files=["out.bin"]
        )
    assert execution.files["out.bin"] == content[::-1]


async def test_cells_are_run():
    """run_jupyter sends Sandbox Fusion's request and returns its cells, retried and timed like any call."""
    served = []

    async def handle(request):
        served.append(await request.json())
        if len(served) == 1:
            return web.json_response({"status": "SandboxError", "message": "no kernel"})
        cell = {"stdout": "2\n", "stderr": "", "display": [], "error": []}
        return web.json_response(RESULT | {"driver": RUN_RESULT, "cells": [cell]})

    async with client_of(handle, "/run_jupyter") as client:
        execution = await client.run_jupyter(["print(2)"], cell_timeout=2.0, total_timeout=3.0)
    assert served[0] == served[1]
    assert (served[0]["cells"], served[0]["cell_timeout"], served[0]["total_timeout"]) == (["print(2)"], 2.0, 3.0)
    assert (execution.status, execution.cells[0].stdout, execution.attempts) == (ExecutionStatus.SUCCESS, "2\n", 2)
    assert execution.latency >= 0.2


@pytest.mark.parametrize(
    "arguments",
    [
        {"cells": "print(2)", "cell_timeout": 1.0, "total_timeout": 1.0},
        {"cells": ["1"], "cell_timeout": 0.0, "total_timeout": 1.0},
        {"cells": ["1"], "cell_timeout": 1.0, "total_timeout": float("nan")},
        {"cells": ["1"], "cell_timeout": 1.0, "total_timeout": 16.0},
        {"cells": ["1"], "cell_timeout": 1.0, "total_timeout": 1.0, "fetch_files": "a.txt"},
    ],
)
async def test_calls_without_sense_are_refused(arguments):
    """Arguments that cannot work raise before anything is sent; the kernel's ten seconds are part of the time."""
    async with client_of(answers, timeouts=Timeouts(total=30.0, margin=5.0)) as client:
        with pytest.raises(ValueError, match="must"):
            await client.run_jupyter(**arguments)
        assert client.stats.calls == 0


@pytest.mark.parametrize("code", ["endless", "garbled"])
async def test_answers_that_never_end_or_break_are_faults(code, monkeypatch):
    """An answer without end fills no memory, and one that is not what it claims to be is not a result."""
    monkeypatch.setattr("sandbox_client._execution.MOST_PRINTED", 1 << 16)

    async def handle(request):
        answer = web.StreamResponse(headers={"Content-Encoding": "gzip"} if code == "garbled" else {})
        await answer.prepare(request)
        for _ in range(1 << 10):
            await answer.write(b"x" * 1024)
        return answer

    async with client_of(handle, retry=RetryPolicy(attempts=1)) as client:
        with pytest.raises(SandboxProtocolError):
            await program(client)
