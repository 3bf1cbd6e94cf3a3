"""How the sandbox client finds out which endpoints work, and what it says of them."""

import asyncio
import json
import logging
from dataclasses import asdict

import pytest
from fake_sandbox import QUICK, FakeSandbox, program, until

from sandbox_client import BreakerState, ExecutionStatus, RetryPolicy, SandboxClient

pytestmark = pytest.mark.usefixtures("nothing_left_over")


async def test_a_wedged_endpoint_gives_its_calls_up():
    """Calls on a server that accepts and never answers are made elsewhere, long before their own time is over."""
    async with (
        FakeSandbox("hangs") as wedged,
        FakeSandbox() as good,
        SandboxClient([wedged.url, good.url], **QUICK) as client,
    ):
        calls = await asyncio.gather(*(program(client) for _ in range(6)))
        snapshot, url = client.snapshot(), good.url
    assert {call.endpoint for call in calls} == {url}
    assert {call.attempts for call in calls} == {1, 2}
    assert max(call.latency for call in calls) < 2.0
    wedged, _ = snapshot.endpoints
    assert wedged.state is not BreakerState.CLOSED
    assert wedged.faults == {"unreachable": 3}
    assert "judged wedged" in wedged.last_fault or "no answer" in wedged.last_fault


@pytest.mark.parametrize("mode", ["is full", "hangs on programs"])
async def test_a_busy_endpoint_is_not_wedged(mode):
    """A server whose programs take long, but which answers a probe or says that it is full, keeps its calls."""
    async with FakeSandbox(mode) as server, SandboxClient([server.url], **QUICK) as client:
        call = asyncio.create_task(program(client))
        await until(lambda: len(server.probes) >= 2)
        (endpoint,) = client.snapshot().endpoints
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        stats = client.stats
    assert (endpoint.state, endpoint.outstanding, stats.retries) == (BreakerState.CLOSED, 1, 0)


async def test_probes_wait_out_the_longest_program():
    """Before an endpoint is judged, its longest program has had its time: only then should something have ended."""
    async with FakeSandbox("hangs") as server, SandboxClient([server.url], **QUICK) as client:
        call = asyncio.create_task(client.run_code("program", run_timeout=1.0))
        await asyncio.sleep(1.0)
        before = client.snapshot().endpoints[0].state
        await until(lambda: client.snapshot().endpoints[0].state is not BreakerState.CLOSED)
        server.mode = "works"
        execution = await call
    assert (before, execution.attempts) == (BreakerState.CLOSED, 2)


async def test_an_open_endpoint_is_probed_one_at_a_time(caplog):
    """After the cool-down exactly one trivial program is sent at a time, no call; its success lets calls in again."""
    with caplog.at_level(logging.INFO, "sandbox_client"):
        async with FakeSandbox(500) as server, SandboxClient([server.url], **QUICK) as client:
            calls = [asyncio.create_task(program(client)) for _ in range(3)]
            await until(lambda: client.snapshot().endpoints[0].state is BreakerState.OPEN)
            sent = server.codes.count("program")
            server.mode = "hangs"
            await until(lambda: client.snapshot().endpoints[0].state is BreakerState.HALF_OPEN)
            await asyncio.sleep(0.1)
            during = (len(server.probes), server.codes.count("program") - sent)
            server.mode = "works"
            calls, stats, url = await asyncio.gather(*calls), client.stats, server.url
    assert during == (1, 0)
    assert {call.status for call in calls} == {ExecutionStatus.SUCCESS}
    assert stats.probes >= 2
    opened = [record for record in caplog.records if "gets no more calls" in record.message]
    closed = [record for record in caplog.records if "takes calls again" in record.message]
    assert [record.levelno for record in opened] == [logging.WARNING]
    assert [record.levelno for record in closed] == [logging.INFO]
    assert url in opened[0].message
    assert "HTTP 500" in opened[0].message


async def test_an_idle_client_sends_nothing():
    """Without calls there are no probes, however long it takes."""
    async with FakeSandbox() as server, SandboxClient([server.url], **QUICK) as client:
        await program(client)
        await asyncio.sleep(0.6)
    assert server.codes == ["program"]


async def test_a_removed_endpoint_finishes_what_it_has():
    """Attempts in flight on an endpoint that leaves the list run to their end; new calls go to the others."""
    async with FakeSandbox("slow") as old, FakeSandbox() as new, SandboxClient([old.url], **QUICK) as client:
        call = asyncio.create_task(program(client))
        await until(lambda: old.codes)
        client.set_endpoints([new.url])
        went_on, execution, url = (await program(client)).endpoint == new.url, await call, old.url
    assert went_on
    assert (execution.endpoint, execution.attempts) == (url, 1)


async def test_records_are_plain_data():
    """A snapshot of a client that has seen something becomes JSON."""
    async with FakeSandbox("slow") as server, SandboxClient([server.url], **QUICK) as client:
        calls = await asyncio.gather(*(program(client) for _ in range(4)))
        call = asyncio.create_task(program(client))
        await until(lambda: server.codes.count("program") == 5)
        snapshot = client.snapshot()
        await call
        url = server.url
    record = json.loads(json.dumps(asdict(snapshot)))
    stats, (endpoint,) = record["stats"], record["endpoints"]
    assert (stats["calls"], stats["success"], record["in_flight"], record["waiting"]) == (4, 4, 1, 0)
    assert (endpoint["endpoint"], endpoint["state"], endpoint["outstanding"]) == (url, "closed", 1)
    assert endpoint["attempts"] - sum(endpoint["faults"].values()) == 5
    for call in calls:
        assert 0.04 <= call.queue <= call.latency
        assert 0.05 <= call.latency < 2.0


async def test_retries_are_said_once(caplog):
    """However many calls are made again after a fault, the log has one line at INFO, and none above."""
    settings = QUICK | {"retry": RetryPolicy(attempts=2, wait_initial=0.01, wait_jitter=0.0)}

    with caplog.at_level(logging.DEBUG):
        async with FakeSandbox(429) as server, SandboxClient([server.url], **settings) as client:
            await asyncio.gather(*(program(client) for _ in range(8)), return_exceptions=True)
            retries, url = client.stats.retries, server.url
    ours = [record for record in caplog.records if record.name.startswith("sandbox_client")]
    (said,) = [record for record in ours if record.levelno >= logging.INFO]
    assert (retries, said.levelno) == (8, logging.INFO)
    assert url in said.message
    assert "HTTP 429" in said.message
    assert len([record for record in ours if "the next in" in record.message]) == retries
