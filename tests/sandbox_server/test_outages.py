"""The client and real servers of ours that are dead, late or killed in the middle of a call."""

import asyncio
import os
import signal
import socket

import pytest

from sandbox_client import (
    BreakerPolicy,
    BreakerState,
    ExecutionStatus,
    RetryPolicy,
    SandboxClient,
    SandboxUnavailable,
    Token,
)
from sandbox_server import EmbeddedSandbox, ResidentSandbox, ServerConfig

CONFIG = ServerConfig(port=0, workers=1, preload=())
TOKEN = "outages"


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def run_many(client: SandboxClient, calls: int) -> list[str]:
    """What the calls printed; each must have run."""
    executions = await asyncio.gather(
        *(client.run_code(f"print({number})", run_timeout=5.0) for number in range(calls))
    )
    assert {execution.status for execution in executions} == {ExecutionStatus.SUCCESS}
    return [execution.stdout for execution in executions]


async def test_one_of_three_endpoints_is_dead() -> None:
    """The other two run everything; the dead one's breaker opens, and it is not asked again and again."""
    dead = f"http://127.0.0.1:{free_port()}"
    with EmbeddedSandbox(CONFIG) as first, EmbeddedSandbox(CONFIG) as second:
        endpoints = [first.endpoint, dead, second.endpoint]
        async with SandboxClient(endpoints, breaker=BreakerPolicy(cool_down=60.0, cool_down_max=60.0)) as client:
            assert await run_many(client, 100) == [f"{number}\n" for number in range(100)]
            states = {one.endpoint: one.state for one in client.snapshot().endpoints}
            assert states == {**dict.fromkeys(endpoints, BreakerState.CLOSED), dead: BreakerState.OPEN}
            faults = client.stats.faults["unreachable"]
            await run_many(client, 50)
            assert client.stats.faults["unreachable"] == faults
            assert (client.stats.success, client.stats.faulted) == (150, 0)


async def test_a_server_that_starts_late_is_waited_for() -> None:
    """Calls made before anybody listens are run once somebody does."""
    port = free_port()
    async with SandboxClient([f"http://127.0.0.1:{port}"]) as client:
        calls = asyncio.create_task(run_many(client, 20))
        await asyncio.sleep(2.0)
        assert not calls.done()
        server = EmbeddedSandbox(ServerConfig(port=port, workers=1, preload=()))
        await asyncio.to_thread(server.start)
        try:
            assert await calls == [f"{number}\n" for number in range(20)]
        finally:
            await asyncio.to_thread(server.close)


async def test_a_server_killed_in_the_middle_of_a_call_is_started_again_and_the_call_is_run() -> None:
    """No result is lost, none is used twice, and nothing of it counts as the program's failure."""
    resident = ResidentSandbox(CONFIG, TOKEN)
    endpoint = resident.ensure()
    try:
        async with SandboxClient([endpoint], token=Token(TOKEN)) as client:
            call = asyncio.create_task(client.run_code("import time\ntime.sleep(1)\nprint('done')", run_timeout=5.0))
            await asyncio.sleep(0.5)
            os.kill(resident.pid, signal.SIGKILL)
            await asyncio.sleep(0.2)
            assert await asyncio.to_thread(resident.ensure) == endpoint
            execution = await call
            assert (execution.status, execution.stdout) == (ExecutionStatus.SUCCESS, "done\n")
            assert execution.attempts > 1
            assert (client.stats.calls, client.stats.success) == (1, 1)
    finally:
        resident.close()


async def test_patience_has_an_end() -> None:
    """With nobody there the call ends as a fault that names the endpoint, and not as a result."""
    dead = f"http://127.0.0.1:{free_port()}"
    async with SandboxClient([dead], retry=RetryPolicy(patience=0.5, wait_initial=0.0, wait_jitter=0.01)) as client:
        with pytest.raises(SandboxUnavailable, match=dead):
            await client.run_code("print(1)", run_timeout=5.0)
