"""The sandbox client while endpoints fail, wedge, come back, come and go."""

import asyncio
import json
import logging
import re
import time

import pytest
from aiohttp import web

from sandbox_client import (
    BreakerPolicy,
    BreakerState,
    ExecutionStatus,
    Limits,
    ProbePolicy,
    RetryPolicy,
    SandboxClient,
    SandboxDeadlineExceeded,
    SandboxProtocolError,
    SandboxUnavailable,
    Timeouts,
)

SCALE = 1 / 30
QUICK = {
    "timeouts": Timeouts(connect=0.5, total=3.0, margin=0.1),
    "retry": RetryPolicy(
        attempts=10, total_timeout=6.0, wait_initial=0.01, wait_max=0.1, wait_jitter=0.01, patience=3.0
    ),
    "breaker": BreakerPolicy(cool_down=0.05, cool_down_max=0.1),
    "probe": ProbePolicy(quiet_seconds=0.2, timeout=0.2),
}


def result(stdout="2\n"):
    run_result = {"status": "Finished", "execution_time": 0.0, "return_code": 0, "stdout": stdout, "stderr": ""}
    return web.json_response({"status": "Success", "message": "", "run_result": run_result, "files": {}})


class FakeSandbox:
    """A sandbox that works, or fails as `mode` says, and can be stopped and started on its port."""

    def __init__(self, mode="works"):
        self.mode = mode
        self.codes = []
        self.port = 0

    async def start(self):
        app = web.Application()
        app.router.add_post("/run_code", self.run_code)
        self.runner = web.AppRunner(app, shutdown_timeout=0.01)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", self.port).start()
        self.port = self.runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}"

    async def stop(self):
        await self.runner.cleanup()

    async def __aenter__(self):
        await self.start()
        return self

    async def __aexit__(self, *exc_info):
        await self.stop()

    @property
    def probes(self):
        return [code for code in self.codes if code != "program"]

    async def run_code(self, request):
        code = (await request.json())["code"]
        self.codes.append(code)
        match self.mode:
            case "hangs":
                while self.mode == "hangs":
                    await asyncio.sleep(0.01)
                request.transport.abort()
            case "hangs on programs" if code == "program":
                await asyncio.sleep(30)
            case "is full" if code != "program":
                return web.Response(status=429)
            case "is full":
                await asyncio.sleep(0.9)
            case "resets":
                request.transport.abort()
            case "HTML":
                return web.Response(text="<html>", content_type="text/html")
            case "slow":
                await asyncio.sleep(0.05)
            case int(status):
                return web.Response(status=status)
        printed = re.fullmatch(r"print\((\d+)\)", code)
        return result(f"{printed[1]}\n" if printed else "2\n")


def run(scenario):
    """Run a scenario; no task and no exception of one may be left to the garbage collector's complaints."""
    complaints = []

    async def watched():
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context["message"]))
        outcome = await scenario()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not [task for task in others if "sandbox" in task.get_name()]
        return outcome

    outcome = asyncio.run(watched())
    assert complaints == []
    return outcome


async def program(client, **settings):
    return await client.run_code("program", run_timeout=0.1, **settings)


async def until(condition, seconds=3.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not come about"
        await asyncio.sleep(0.005)


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
    [("stopped", 1), ("stopped", 8), ("resets", 1), ("hangs", 1), ("hangs", 8), (500, 1), (502, 8), (503, 1), (503, 8)],
)
def test_an_outage_of_everything_loses_no_call(mode, callers):
    """Everything is gone for 30 s in the middle of a run, at a 30th of the default times: every call has its result."""

    async def scenario():
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
                return statuses, client.stats

    statuses, stats = run(scenario)
    assert set(statuses) == {ExecutionStatus.SUCCESS}
    assert (stats.faulted, stats.success) == (0, len(statuses))
    assert stats.retries > 0


def test_a_wedged_endpoint_gives_its_calls_up():
    """Calls on a server that accepts and never answers are made elsewhere, long before their own time is over."""

    async def scenario():
        async with (
            FakeSandbox("hangs") as wedged,
            FakeSandbox() as good,
            SandboxClient([wedged.url, good.url], **QUICK) as client,
        ):
            calls = await asyncio.gather(*(program(client) for _ in range(6)))
            return calls, client.snapshot(), good.url

    calls, snapshot, url = run(scenario)
    assert {call.endpoint for call in calls} == {url}
    assert {call.attempts for call in calls} == {1, 2}
    assert max(call.latency for call in calls) < 2.0
    wedged, _ = snapshot.endpoints
    assert wedged.state is not BreakerState.CLOSED
    assert wedged.faults == {"SandboxUnreachable": 3}
    assert "judged wedged" in wedged.last_fault or "no answer" in wedged.last_fault


@pytest.mark.parametrize("mode", ["is full", "hangs on programs"])
def test_a_busy_endpoint_is_not_wedged(mode):
    """A server whose programs take long, but which answers a probe or says that it is full, keeps its calls."""

    async def scenario():
        async with FakeSandbox(mode) as server, SandboxClient([server.url], **QUICK) as client:
            call = asyncio.create_task(program(client))
            await until(lambda: len(server.probes) >= 2)
            (endpoint,) = client.snapshot().endpoints
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            return endpoint, client.stats

    endpoint, stats = run(scenario)
    assert (endpoint.state, endpoint.outstanding, stats.retries) == (BreakerState.CLOSED, 1, 0)


def test_probes_wait_out_the_longest_program():
    """Before an endpoint is judged, its longest program has had its time: only then should something have ended."""

    async def scenario():
        async with FakeSandbox("hangs") as server, SandboxClient([server.url], **QUICK) as client:
            call = asyncio.create_task(client.run_code("program", run_timeout=1.0))
            await asyncio.sleep(1.0)
            before = client.snapshot().endpoints[0].state
            await until(lambda: client.snapshot().endpoints[0].state is not BreakerState.CLOSED)
            server.mode = "works"
            return before, await call

    before, execution = run(scenario)
    assert (before, execution.attempts) == (BreakerState.CLOSED, 2)


def test_an_open_endpoint_is_probed_one_at_a_time(caplog):
    """After the cool-down exactly one trivial program is sent at a time, no call; its success lets calls in again."""

    async def scenario():
        async with FakeSandbox(500) as server, SandboxClient([server.url], **QUICK) as client:
            calls = [asyncio.create_task(program(client)) for _ in range(3)]
            await until(lambda: client.snapshot().endpoints[0].state is BreakerState.OPEN)
            sent = server.codes.count("program")
            server.mode = "hangs"
            await until(lambda: client.snapshot().endpoints[0].state is BreakerState.HALF_OPEN)
            await asyncio.sleep(0.1)
            during = (len(server.probes), server.codes.count("program") - sent)
            server.mode = "works"
            return during, await asyncio.gather(*calls), client.stats, server.url

    with caplog.at_level(logging.INFO, "sandbox_client"):
        during, calls, stats, url = run(scenario)
    assert during == (1, 0)
    assert {call.status for call in calls} == {ExecutionStatus.SUCCESS}
    assert stats.probes >= 2
    opened = [record for record in caplog.records if "gets no more calls" in record.message]
    closed = [record for record in caplog.records if "takes calls again" in record.message]
    assert [record.levelno for record in opened] == [logging.WARNING]
    assert [record.levelno for record in closed] == [logging.INFO]
    assert url in opened[0].message
    assert "HTTP 500" in opened[0].message


def test_an_idle_client_sends_nothing():
    """Without calls there are no probes, however long it takes."""

    async def scenario():
        async with FakeSandbox() as server, SandboxClient([server.url], **QUICK) as client:
            await program(client)
            await asyncio.sleep(0.6)
            return server.codes

    assert run(scenario) == ["program"]


def test_patience_ends_with_every_endpoints_fault():
    """When no endpoint takes calls for longer than the patience, the error lists each with its last fault."""
    settings = QUICK | {"retry": RetryPolicy(attempts=20, wait_initial=0.01, wait_max=0.02, patience=0.2)}

    async def scenario():
        async with (
            FakeSandbox(500) as one,
            FakeSandbox("resets") as two,
            SandboxClient([one.url, two.url], **settings) as client,
        ):
            with pytest.raises(SandboxUnavailable) as caught:
                await program(client)
            with pytest.raises(SandboxUnavailable) as second:
                await program(client)
            return caught.value, second.value, client.stats, (one.url, two.url)

    fault, second, stats, urls = run(scenario)
    assert all(url in str(fault) and url in fault.endpoint for url in urls)
    assert "HTTP 500" in str(fault)
    assert "SandboxUnreachable" in str(fault)
    assert (fault.attempts >= 6, second.attempts) == (True, 0)
    assert (stats.unavailable, stats.faulted) == (2, 2)


def test_waiting_callers_go_on_as_soon_as_an_endpoint_appears():
    """Callers that wait through an outage are woken by a new endpoint, and not by a clock."""

    async def scenario():
        async with FakeSandbox(500) as bad, FakeSandbox() as good, SandboxClient([bad.url], **QUICK) as client:
            calls = [asyncio.create_task(program(client)) for _ in range(5)]
            await until(lambda: client.snapshot().endpoints[0].state is BreakerState.OPEN)
            await asyncio.sleep(0.15)
            client.set_endpoints([good.url])
            began = time.monotonic()
            executions = await asyncio.gather(*calls)
            return time.monotonic() - began, executions, client.endpoints, good.url

    seconds, executions, endpoints, url = run(scenario)
    assert seconds < 0.5
    assert {execution.endpoint for execution in executions} == {url}
    assert min(execution.wait for execution in executions) > 0.05
    assert endpoints == (url,)


def test_a_removed_endpoint_finishes_what_it_has():
    """Attempts in flight on an endpoint that leaves the list go on to their end; new calls go to the others."""

    async def scenario():
        async with FakeSandbox("slow") as old, FakeSandbox() as new, SandboxClient([old.url], **QUICK) as client:
            call = asyncio.create_task(program(client))
            await until(lambda: old.codes)
            client.set_endpoints([new.url])
            return (await program(client)).endpoint == new.url, await call, old.url

    went_on, execution, url = run(scenario)
    assert went_on
    assert (execution.endpoint, execution.attempts) == (url, 1)


def test_a_misconfigured_endpoint_loses_no_call():
    """An endpoint that answers HTML with 200 costs each call one more attempt, and soon gets none."""

    async def scenario():
        async with (
            FakeSandbox("HTML") as broken,
            FakeSandbox() as good,
            SandboxClient([broken.url, good.url], **QUICK) as client,
        ):
            calls = [await program(client) for _ in range(20)]
            return calls, broken.codes.count("program"), client.stats

    calls, sent, stats = run(scenario)
    assert {call.status for call in calls} == {ExecutionStatus.SUCCESS}
    assert sent == stats.protocol_error == 3


def test_a_protocol_error_everywhere_is_raised_after_one_more_try():
    """When the second endpoint does not understand either, the call ends."""

    async def scenario():
        async with (
            FakeSandbox("HTML") as one,
            FakeSandbox("HTML") as two,
            SandboxClient([one.url, two.url], **QUICK) as client,
        ):
            with pytest.raises(SandboxProtocolError) as caught:
                await program(client)
            return caught.value.attempts, len(one.codes), len(two.codes)

    assert run(scenario) == (2, 1, 1)


def test_retry_after_of_one_endpoint_does_not_hold_up_a_call():
    """An endpoint that asks for time is left alone for it, and the call goes to another at once."""

    async def later(request):
        return web.Response(status=429, headers={"Retry-After": "5"})

    async def scenario():
        async with FakeSandbox() as full, FakeSandbox() as good:
            full.run_code = later
            await full.stop()
            await full.start()
            settings = QUICK | {"retry": RetryPolicy(wait_initial=0.01, wait_jitter=0.0)}
            async with SandboxClient([full.url, good.url], **settings) as client:
                calls = [await program(client) for _ in range(6)]
                return calls, client.stats

    calls, stats = run(scenario)
    assert (stats.overloaded, stats.success) == (1, 6)
    assert max(call.latency for call in calls) < 1.0


def test_deadlines_hold_when_nothing_else_does():
    """Without a verdict on the endpoint, an attempt still ends when its time is over."""
    settings = QUICK | {
        "timeouts": Timeouts(connect=0.5, total=0.3, margin=0.1),
        "retry": RetryPolicy(attempts=1),
        "probe": ProbePolicy(),
    }

    async def scenario():
        async with (
            FakeSandbox("hangs on programs") as server,
            SandboxClient([server.url], limits=Limits(max_concurrency=50), **settings) as client,
        ):
            began = time.monotonic()
            calls = (program(client) for _ in range(50))
            faults = await asyncio.gather(*calls, return_exceptions=True)
            return {type(fault) for fault in faults}, time.monotonic() - began

    kinds, seconds = run(scenario)
    assert kinds == {SandboxDeadlineExceeded}
    assert seconds < 1.5


def test_records_are_plain_data():
    """A snapshot of a client that has seen something becomes JSON."""

    async def scenario():
        async with FakeSandbox("slow") as server, SandboxClient([server.url], **QUICK) as client:
            await asyncio.gather(*(program(client) for _ in range(4)))
            call = asyncio.create_task(program(client))
            await until(lambda: len(server.codes) == 5)
            snapshot = client.snapshot()
            await call
            return snapshot, server.url

    snapshot, url = run(scenario)
    record = json.loads(json.dumps(snapshot.to_record()))
    assert (record["calls"], record["success"], record["in_flight"], record["waiting"]) == (4, 4, 1, 0)
    assert (record[f"endpoint/{url}/state"], record[f"endpoint/{url}/outstanding"]) == ("closed", 1)
    assert 0.05 <= record["latency/p50"] <= record["latency/max"] < 2.0
    assert 0.04 <= record["queue/p50"] <= record["latency/p50"]
