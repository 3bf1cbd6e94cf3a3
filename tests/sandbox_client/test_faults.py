"""The sandbox client against servers that fail in every way a server can."""

import asyncio
import contextlib
import json
import socket
import time

import pytest
from aiohttp import web
from fake_server import (
    QUICK,
    ROOMY,
    SHORT,
    FakeServer,
    answering,
    body,
    breaks_off,
    failing,
    hangs,
    is_slow,
    resets,
    success,
    works,
)

from sandbox_client import (
    CallLimits,
    ExecutionStatus,
    RetryPolicy,
    SandboxClient,
    SandboxDeadlineExceeded,
    SandboxInternalError,
    SandboxOverloaded,
    SandboxProtocolError,
    SandboxRequestRefused,
    SandboxUnreachable,
)

sandbox_error = body({"status": "SandboxError", "message": "disk full", "run_result": None})

FAULTY = {
    "reset": (resets, SandboxUnreachable),
    "broken off": (breaks_off, SandboxUnreachable),
    "hanging": (hangs, SandboxDeadlineExceeded),
    "500": (failing(500), SandboxInternalError),
    "502": (failing(502), SandboxInternalError),
    "SandboxError": (sandbox_error, SandboxInternalError),
    "503": (failing(503), SandboxOverloaded),
    "429": (failing(429), SandboxOverloaded),
    "not JSON": (answering(lambda: web.Response(text="<html>")), SandboxProtocolError),
    "missing field": (body({"status": "Success", "run_result": {"status": "Finished"}}), SandboxProtocolError),
    "404": (failing(404), SandboxProtocolError),
    "422": (failing(422), SandboxRequestRefused),
    "redirect": (failing(307, Location="http://elsewhere/"), SandboxProtocolError),
}


@pytest.mark.parametrize("name", FAULTY)
async def test_each_failure_has_its_fault(name):
    """Every failure of a server is the documented fault, retried unless it is one of protocol, and counted."""
    answer, kind = FAULTY[name]

    async with FakeServer(answer) as server, SandboxClient([server.url], timeouts=SHORT, retry=QUICK) as client:
        with pytest.raises(kind) as caught:
            await client.run_code("print(1)", run_timeout=0.1)
        stats, fault = client.stats, caught.value
    expected = 1 if issubclass(kind, SandboxProtocolError) else 3
    assert type(fault) is kind
    assert (fault.attempts, fault.endpoint, len(server.calls)) == (expected, server.url, expected)
    assert (stats.calls, stats.faulted, stats.retries) == (1, 1, expected - 1)
    assert sum(stats.faults.values()) == stats.faults[kind.kind] == expected


@pytest.mark.parametrize(
    "name", [name for name, (_, kind) in FAULTY.items() if not issubclass(kind, SandboxProtocolError)]
)
async def test_a_passing_failure_is_survived(name):
    """One retryable failure costs an attempt and not the result."""
    async with (
        FakeServer(FAULTY[name][0], works) as server,
        SandboxClient([server.url], timeouts=SHORT, retry=QUICK) as client,
    ):
        execution = await client.run_code("print(1)", run_timeout=0.1)
    assert (execution.status, execution.stdout, execution.attempts) == (ExecutionStatus.SUCCESS, "2\n", 2)


def unused_port():
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        return taken.getsockname()[1]


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
async def test_nobody_there_is_unreachable(host):
    """A refused connection and an unknown name are SandboxUnreachable, soon."""
    url = f"http://{host}:{unused_port()}"

    with pytest.raises(SandboxUnreachable):
        async with SandboxClient([url], timeouts=ROOMY, retry=QUICK) as client:
            await client.run_code("print(1)", run_timeout=1.0)


async def test_something_other_than_http_is_a_protocol_error():
    """A port that speaks another protocol is not a sandbox, and asking again does not make it one."""

    async def talk(reader, writer):
        writer.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, SandboxClient([url], timeouts=ROOMY, retry=QUICK) as client:
        with pytest.raises(SandboxProtocolError) as caught:
            await client.run_code("print(1)", run_timeout=1.0)
    assert caught.value.attempts == 1


async def test_retry_after_is_honoured():
    """The client stays away for as long as the server asks."""
    async with (
        FakeServer(failing(503, Retry_After="1"), works) as server,
        SandboxClient([server.url], timeouts=ROOMY, retry=QUICK) as client,
    ):
        await client.run_code("print(1)", run_timeout=1.0)
        first, second = server.calls
    assert 1.0 <= second - first < 2.0


async def test_retry_after_is_capped():
    """A server that asks for an hour gets what the policy allows."""
    policy = RetryPolicy(attempts=2, total_timeout=10.0, wait_initial=0.01, wait_max=0.1, wait_jitter=0.01)

    async with (
        FakeServer(failing(429, Retry_After="3600"), works) as server,
        SandboxClient([server.url], timeouts=ROOMY, retry=policy) as client,
    ):
        execution = await client.run_code("print(1)", run_timeout=1.0)
    assert execution.latency < 10.0


async def test_total_time_is_capped():
    """No attempt begins that could not hear the program out before the policy's time is over."""
    policy = RetryPolicy(attempts=100, total_timeout=1.0, wait_initial=0.01, wait_max=0.05, wait_jitter=0.0)

    async with FakeServer(hangs) as server, SandboxClient([server.url], timeouts=SHORT, retry=policy) as client:
        started = time.monotonic()
        with pytest.raises(SandboxDeadlineExceeded) as caught:
            await client.run_code("print(1)", run_timeout=0.1)
        elapsed, attempts = time.monotonic() - started, caught.value.attempts
    assert elapsed < 5.0
    assert 2 <= attempts <= 4


@pytest.mark.parametrize("status", ["Finished", "TimeLimitExceeded"])
async def test_a_program_that_ran_is_never_run_again(status):
    """A failure of the program is a result: one call, one attempt."""
    run_result = {"status": status, "execution_time": 1.0, "return_code": None, "stdout": "", "stderr": "boom"}
    failed = body({"status": "Failed", "message": "", "run_result": run_result})

    async with FakeServer(failed) as server, SandboxClient([server.url], timeouts=ROOMY, retry=QUICK) as client:
        execution = await client.run_code("1/0", run_timeout=1.0)
        calls = len(server.calls)
    assert (execution.status is not ExecutionStatus.SUCCESS, execution.attempts, calls) == (True, 1, 1)


async def test_the_next_attempt_goes_elsewhere():
    """With one endpoint down, every call still succeeds, at the other."""
    async with (
        FakeServer(works) as good,
        FakeServer(failing(500)) as bad,
        SandboxClient([bad.url, good.url], timeouts=ROOMY, retry=QUICK) as client,
    ):
        results = [await client.run_code("print(1)", run_timeout=1.0) for _ in range(6)]
    assert {result.endpoint for result in results} == {good.url}
    assert max(result.attempts for result in results) == 2
    assert len(bad.calls) >= 1


async def test_a_stuck_endpoint_gets_no_more_calls():
    """Calls flow around an endpoint that answers nothing."""
    async with FakeServer(is_slow) as good, FakeServer(hangs) as stuck:
        async with SandboxClient([stuck.url, good.url], timeouts=ROOMY, retry=QUICK) as client:
            hanging = asyncio.create_task(client.run_code("print(1)", run_timeout=1.0))
            await asyncio.sleep(0.05)
            for _ in range(10):
                await client.run_code("print(1)", run_timeout=1.0)
            hanging.cancel()
        good, stuck = len(good.calls), len(stuck.calls)
    assert (good, stuck) == (10, 1)


async def test_concurrency_is_limited():
    """No more calls are in flight than the limit says, and all are made."""
    async with FakeServer(is_slow) as server:
        limits = CallLimits(max_concurrency=4)
        async with SandboxClient([server.url], timeouts=ROOMY, limits=limits, retry=QUICK) as client:
            await asyncio.gather(*(client.run_code("print(1)", run_timeout=1.0) for _ in range(20)))
        most, stats = server.most_in_flight, client.stats
    assert (most, stats.calls, stats.success) == (4, 20, 20)


async def test_headers_are_sent():
    """Configured headers, such as credentials, go with every call."""
    seen = []

    async def look(request):
        seen.append((request.headers["Authorization"], json.loads(await request.text())["code"]))
        return success()

    headers = {"Authorization": "Bearer 1"}
    async with FakeServer(look) as server, SandboxClient([server.url], headers=headers) as client:
        await client.run_code("print(1)", run_timeout=1.0)
    assert seen == [("Bearer 1", "print(1)")]


async def test_a_wrong_ping_is_a_protocol_error():
    """An endpoint that does not say pong is not a sandbox."""

    with pytest.raises(SandboxProtocolError, match="ping"):
        async with FakeServer(body("ping")) as server, SandboxClient([server.url]) as client:
            await client.ping(server.url)
