"""The life of a call in the sandbox client: its turn, its rate, its times, its end from outside."""

import asyncio
import base64
import gc
import time

import pytest
from aiohttp import web

from sandbox_client import (
    ClientClosedError,
    ExecutionStatus,
    Limits,
    RetryPolicy,
    SandboxClient,
    SandboxProtocolError,
    SandboxUnreachable,
    Timeouts,
)

RUN_RESULT = {"status": "Finished", "execution_time": 0.02, "return_code": 0, "stdout": "2\n", "stderr": ""}
RESULT = {"status": "Success", "message": "", "run_result": RUN_RESULT, "files": {}}


async def answers(request):
    return web.json_response(RESULT)


async def takes_a_while(request):
    await asyncio.sleep(0.1)
    return web.json_response(RESULT)


async def hangs(request):
    await asyncio.sleep(30)


def scenario_with(handle, body, path="/run_code", **settings):
    """What `body(client)` returns, with a client of a server that answers with `handle`; nothing may be left over."""
    complaints = []

    async def scenario():
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context["message"]))
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post(path, handle)
        runner = web.AppRunner(app, shutdown_timeout=0.01)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            async with SandboxClient([f"http://127.0.0.1:{runner.addresses[0][1]}"], **settings) as client:
                outcome = await body(client)
        finally:
            await runner.cleanup()
        assert not [task for task in asyncio.all_tasks() if "sandbox" in task.get_name()]
        return outcome

    outcome = asyncio.run(scenario())
    gc.collect()
    assert complaints == []
    return outcome


def program(client):
    return client.run_code("program", run_timeout=1.0)


def test_times_are_told_apart():
    """Waiting for a turn, the server beyond the run, and the run add up to what the caller saw."""

    async def body(client):
        return await asyncio.gather(program(client), program(client))

    first, second = scenario_with(takes_a_while, body, limits=Limits(max_concurrency=1))
    assert first.wait < second.wait >= 0.1
    for execution in (first, second):
        assert execution.run == 0.02
        assert 0.07 <= execution.queue <= 1.0
        parts = execution.wait + execution.connect + execution.queue + execution.run
        assert execution.latency == pytest.approx(parts, abs=0.1)
    assert first.connect > second.connect


def test_calls_begin_at_the_rate():
    """No more calls begin per second than the limit says, however many wait."""

    async def body(client):
        began = time.monotonic()
        await asyncio.gather(*(program(client) for _ in range(11)))
        return time.monotonic() - began

    assert 0.45 <= scenario_with(answers, body, limits=Limits(max_rate=20.0)) < 1.5


@pytest.mark.parametrize("where", ["in flight", "for a turn", "in a pause"])
def test_cancelling_a_caller_gives_everything_back(where):
    """A caller that is cancelled leaves its turn, its attempt and its connection to the next."""
    served = []

    async def handle(request):
        served.append(request)
        if len(served) == 1:
            return web.Response(status=500) if where == "in a pause" else await hangs(request)
        return web.json_response(RESULT)

    async def body(client):
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
        return execution.status, snapshot.in_flight, snapshot.waiting, snapshot.endpoints[0].outstanding

    limits, retry = Limits(max_concurrency=1), RetryPolicy(wait_initial=5.0)
    outcome = scenario_with(handle, body, limits=limits, retry=retry)
    assert outcome == (ExecutionStatus.SUCCESS, 0, 0, 0)


def test_a_callers_own_timeout_is_a_timeout():
    """asyncio.timeout around a call sees its own cancellation, and not the client's."""

    async def body(client):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await program(client)
        return client.stats

    assert scenario_with(hangs, body).cancelled == 1


def test_closing_ends_calls_with_a_clear_error():
    """Calls in flight, waiting for a turn and pausing all end at once when the client is closed, and it can reopen."""

    async def handle(request):
        return await hangs(request) if (await request.json())["code"] == "hang" else web.Response(status=500)

    async def body(client):
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
        return seconds, errors, stats, done

    limits, retry = Limits(max_concurrency=2), RetryPolicy(wait_initial=5.0)
    seconds, errors, stats, done = scenario_with(handle, body, limits=limits, retry=retry)
    assert seconds < 4.0
    assert [type(error) for error in errors] == [ClientClosedError] * 4
    assert (stats.cancelled, stats.calls, done) == (3, 3, False)


def test_the_task_of_a_closed_call_lives_on():
    """Closing the client ends the call and not the task that made it."""

    async def body(client):
        async def caller():
            try:
                await program(client)
            except ClientClosedError:
                await asyncio.sleep(0.01)
                return asyncio.current_task().cancelling()

        task = asyncio.create_task(caller())
        await asyncio.sleep(0.05)
        await client.close()
        return await task

    assert scenario_with(hangs, body) == 0


def test_files_go_and_come():
    """Files, also large ones, are sent, and those asked for come back as bytes."""

    async def handle(request):
        asked = await request.json()
        content = base64.b64decode(asked["files"]["in.bin"])
        assert asked["fetch_files"] == ["out.bin"]
        return web.json_response(RESULT | {"files": {"out.bin": base64.b64encode(content[::-1]).decode()}})

    async def body(client):
        content = bytes(range(256)) * 8192
        execution = await client.run_code(
            "program", run_timeout=1.0, files={"in.bin": content}, fetch_files=["out.bin"]
        )
        return execution.files["out.bin"] == content[::-1]

    assert scenario_with(handle, body)


def test_cells_are_run():
    """run_jupyter sends Sandbox Fusion's request and returns its cells, retried and timed like any call."""
    served = []

    async def handle(request):
        served.append(await request.json())
        if len(served) == 1:
            return web.json_response({"status": "SandboxError", "message": "no kernel"})
        cell = {"stdout": "2\n", "stderr": "", "display": [], "error": []}
        return web.json_response(RESULT | {"driver": RUN_RESULT, "cells": [cell]})

    async def body(client):
        return await client.run_jupyter(["print(2)"], cell_timeout=2.0, total_timeout=3.0)

    execution = scenario_with(handle, body, "/run_jupyter")
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
def test_calls_without_sense_are_refused(arguments):
    """Arguments that cannot work raise before anything is sent; the kernel's ten seconds are part of the time."""

    async def body(client):
        with pytest.raises(ValueError, match="must"):
            await client.run_jupyter(**arguments)
        return client.stats.calls

    assert scenario_with(answers, body, timeouts=Timeouts(total=30.0, margin=5.0)) == 0


@pytest.mark.parametrize(("code", "kind"), [("endless", SandboxProtocolError), ("garbled", SandboxUnreachable)])
def test_answers_that_never_end_or_break_are_faults(code, kind, monkeypatch):
    """An answer without end fills no memory, and one that is not what it claims to be is no result."""
    monkeypatch.setattr("sandbox_client.transport._BODY_MOST", 1 << 16)

    async def handle(request):
        answer = web.StreamResponse(headers={"Content-Encoding": "gzip"} if code == "garbled" else {})
        await answer.prepare(request)
        for _ in range(1 << 10):
            await answer.write(b"x" * 1024)
        return answer

    async def body(client):
        with pytest.raises(kind):
            await program(client)

    scenario_with(handle, body, retry=RetryPolicy(attempts=1))
