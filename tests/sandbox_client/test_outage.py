"""The sandbox client while endpoints fail and come back: no call is lost, and those that are say why."""

import asyncio
import time

import pytest
from aiohttp import web
from fake_sandbox import QUICK, FakeSandbox, program, until

from sandbox_client import (
    BreakerPolicy,
    BreakerState,
    CallLimits,
    ExecutionStatus,
    ProbePolicy,
    RetryPolicy,
    SandboxClient,
    SandboxDeadlineExceeded,
    SandboxProtocolError,
    SandboxUnavailable,
    Timeouts,
)

pytestmark = pytest.mark.usefixtures("nothing_left_over")

SCALE = 1 / 30


def scaled_defaults():
    """The default settings with every time 30 times shorter."""
    timeouts, retry, breaker, probe = Timeouts(), RetryPolicy(), BreakerPolicy(), ProbePolicy()
    return {
        "timeouts": Timeouts(timeouts.connect * SCALE, timeouts.total * SCALE, timeouts.margin * SCALE),
        "retry": RetryPolicy(
            attempts=retry.attempts,
            total_timeout=retry.total_timeout * SCALE,
            wait_initial=retry.wait_initial * SCALE,
            wait_max=retry.wait_max * SCALE,
            wait_jitter=retry.wait_jitter * SCALE,
            patience=retry.patience * SCALE,
        ),
        "breaker": BreakerPolicy(
            window=breaker.window * SCALE,
            cool_down=breaker.cool_down * SCALE,
            cool_down_max=breaker.cool_down_max * SCALE,
        ),
        "probe": ProbePolicy(quiet_seconds=probe.quiet_seconds * SCALE, timeout=probe.timeout * SCALE),
    }


@pytest.mark.parametrize(
    ("mode", "callers"),
    [
        *[("stopped", 1), ("stopped", 8), ("resets", 1), ("hangs", 1), ("hangs", 8)],
        *[(500, 1), (502, 8), (503, 1), (503, 8), (404, 1), ("HTML", 1), ("HTML", 8)],
    ],
)
async def test_an_outage_of_everything_loses_no_call(mode, callers):
    """Everything is gone for 30 s in the middle of a run, at a 30th of the default times: every call has its result."""
    async with FakeSandbox("slow") as one, FakeSandbox("slow") as two:
        servers = (one, two)
        async with SandboxClient([server.url for server in servers], **scaled_defaults()) as client:
            over = False

            async def caller():
                statuses = []
                while not over:
                    statuses.append((await program(client)).status)
                return statuses

            tasks = [asyncio.create_task(caller()) for _ in range(callers)]
            await asyncio.sleep(0.1)
            for server in servers:
                server.mode = mode
                if mode == "stopped":
                    await server.stop()
            await asyncio.sleep(30 * SCALE)
            for server in servers:
                server.mode = "slow"
                if mode == "stopped":
                    await server.start()
            await asyncio.sleep(0.2)
            over = True
            statuses = [status for task in tasks for status in await task]
            stats = client.stats
    assert set(statuses) == {ExecutionStatus.SUCCESS}
    assert (stats.faulted, stats.success) == (0, len(statuses))
    assert stats.retries > 0


async def test_patience_ends_with_every_endpoints_fault():
    """When no endpoint takes calls for longer than the patience, the error lists each with its last fault."""
    settings = QUICK | {"retry": RetryPolicy(attempts=20, wait_initial=0.01, wait_max=0.02, patience=0.2)}

    async with (
        FakeSandbox(500) as one,
        FakeSandbox("resets") as two,
        SandboxClient([one.url, two.url], **settings) as client,
    ):
        with pytest.raises(SandboxUnavailable) as caught:
            await program(client)
        with pytest.raises(SandboxUnavailable) as second:
            await program(client)
        fault, second, stats, urls = caught.value, second.value, client.stats, (one.url, two.url)
    assert all(url in str(fault) and url in fault.endpoint for url in urls)
    assert "HTTP 500" in str(fault)
    assert "SandboxUnreachable" in str(fault)
    assert (fault.attempts >= 6, second.attempts) == (True, 0)
    assert (stats.faults["unavailable"], stats.faulted) == (2, 2)


async def test_waiting_callers_go_on_as_soon_as_an_endpoint_appears():
    """Callers that wait through an outage are woken by a new endpoint, and not by a clock."""
    async with FakeSandbox(500) as bad, FakeSandbox() as good, SandboxClient([bad.url], **QUICK) as client:
        calls = [asyncio.create_task(program(client)) for _ in range(5)]
        await until(lambda: client.snapshot().endpoints[0].state is BreakerState.OPEN)
        await asyncio.sleep(0.15)
        client.set_endpoints([good.url])
        began = time.monotonic()
        executions = await asyncio.gather(*calls)
        seconds, endpoints, url = time.monotonic() - began, client.endpoints, good.url
    assert seconds < 2.0
    assert {execution.endpoint for execution in executions} == {url}
    assert min(execution.wait for execution in executions) > 0.05
    assert endpoints == (url,)


async def test_a_misconfigured_endpoint_loses_no_call():
    """An endpoint that answers HTML with 200 costs each call one more attempt, and soon gets none."""
    async with (
        FakeSandbox("HTML") as broken,
        FakeSandbox() as good,
        SandboxClient([broken.url, good.url], **QUICK) as client,
    ):
        calls = [await program(client) for _ in range(20)]
        sent, stats = broken.codes.count("program"), client.stats
    assert {call.status for call in calls} == {ExecutionStatus.SUCCESS}
    assert sent == stats.faults["protocol_error"] == 3


async def test_a_page_in_place_of_a_sandbox_that_has_worked_is_an_outage():
    """While the only other endpoint is out, HTML with 200 from one that has run programs does not end the call."""
    async with FakeSandbox() as works, FakeSandbox() as out, SandboxClient([works.url, out.url], **QUICK) as client:
        for _ in range(2):
            await program(client)
        await out.stop()
        await asyncio.gather(*(program(client) for _ in range(20)))
        assert [one.state for one in client.snapshot().endpoints] == [BreakerState.CLOSED, BreakerState.OPEN]
        works.mode = "HTML"
        call = asyncio.create_task(program(client))
        await until(lambda: client.stats.faults["protocol_error"])
        works.mode = "works"
        execution, url = await call, works.url
    assert (execution.status, execution.endpoint) == (ExecutionStatus.SUCCESS, url)
    assert execution.attempts > 1


async def test_a_protocol_error_everywhere_is_raised_after_one_more_try():
    """When the second endpoint does not understand either, the call ends."""
    async with (
        FakeSandbox("HTML") as one,
        FakeSandbox("HTML") as two,
        SandboxClient([one.url, two.url], **QUICK) as client,
    ):
        with pytest.raises(SandboxProtocolError) as caught:
            await program(client)
    assert (caught.value.attempts, len(one.codes), len(two.codes)) == (2, 1, 1)


async def test_retry_after_of_one_endpoint_does_not_hold_up_a_call():
    """An endpoint that asks for time is left alone for it, and the call goes to another at once."""

    async def later(request):
        return web.Response(status=429, headers={"Retry-After": "5"})

    async with FakeSandbox() as full, FakeSandbox() as good:
        full.run_code = later
        await full.stop()
        await full.start()
        settings = QUICK | {"retry": RetryPolicy(wait_initial=0.01, wait_jitter=0.0)}
        async with SandboxClient([full.url, good.url], **settings) as client:
            calls = [await program(client) for _ in range(6)]
            stats = client.stats
    assert (stats.faults["overloaded"], stats.success) == (1, 6)
    assert max(call.latency for call in calls) < 4.0


async def test_deadlines_hold_when_nothing_else_does():
    """Without a verdict on the endpoint, an attempt still ends when its time is over."""
    settings = QUICK | {
        "timeouts": Timeouts(connect=0.5, total=0.3, margin=0.1),
        "retry": RetryPolicy(attempts=1),
        "probe": ProbePolicy(),
    }

    async with (
        FakeSandbox("hangs on programs") as server,
        SandboxClient([server.url], limits=CallLimits(max_concurrency=50), **settings) as client,
    ):
        began = time.monotonic()
        calls = (program(client) for _ in range(50))
        faults = await asyncio.gather(*calls, return_exceptions=True)
        kinds, seconds = {type(fault) for fault in faults}, time.monotonic() - began
    assert kinds == {SandboxDeadlineExceeded}
    assert seconds < 10.0
