"""Sandbox servers as Ray actors, on a real cluster of three nodes on this machine."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psutil
import pytest
import ray
from ray.actor import ActorHandle
from ray.cluster_utils import Cluster

from sandbox_client import RetryPolicy, SandboxClient, SandboxProtocolError
from verl_tir.config import SandboxConfig
from verl_tir.fleet import Roster, join_fleet
from verl_tir.rollout.sandbox import Sandbox, server_settings

CONFIG = SandboxConfig(endpoints="ray", workers=1, run_timeout=5.0)


NODE = {"num_cpus": 2}
# All nodes are this machine, so its loopback serves for them all.
SETTINGS = server_settings(CONFIG) | {"host": "127.0.0.1"}


@dataclass
class Servers:
    """A cluster, and the fleet on it as its owner sees it."""

    cluster: Cluster
    fleet: ActorHandle

    def roster(self) -> Roster:
        """The fleet's roster now."""
        return ray.get(self.fleet.roster.remote())

    def roster_of(self, servers: int) -> Roster:
        """The fleet's roster once it has that many servers."""
        assert until(lambda: len(self.roster().endpoints) == servers), self.roster()
        return self.roster()

    def pids(self) -> dict[str, int]:
        """Process ids of the servers by endpoint."""
        return ray.get(self.fleet.server_pids.remote())


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    """A head and two nodes with a server each."""
    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(**NODE)
    ray.init(address=cluster.address, log_to_driver=False)
    yield Servers(cluster, join_fleet(SETTINGS))
    ray.shutdown()
    cluster.shutdown()


def until(good: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Whether `good` comes true in time."""
    deadline = time.monotonic() + seconds
    while not good():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


async def run_many(sandbox: Sandbox, calls: int) -> set[str]:
    """Run programs side by side; each must print its own number. Returns the endpoints that ran them."""
    executions = await asyncio.gather(
        *(sandbox.client.run_code(f"print({number})", run_timeout=5.0) for number in range(calls))
    )
    assert [execution.stdout for execution in executions] == [f"{number}\n" for number in range(calls)]
    return {execution.endpoint for execution in executions}


async def test_each_node_has_a_server_and_calls_go_to_all_of_them(servers: Servers) -> None:
    """One server a node, known to the client; Ray still has all of its CPUs to give."""
    known = servers.roster_of(3)

    sandbox = await Sandbox.start(CONFIG)
    assert set(sandbox.client.endpoints) == set(known.endpoints)
    assert await run_many(sandbox, 60) == set(known.endpoints)
    await sandbox.client.close()
    assert ray.available_resources()["CPU"] == ray.cluster_resources()["CPU"] == 6


async def test_servers_want_the_fleets_token(servers: Servers) -> None:
    """Whoever finds the port on the network cannot run code there, and the token shows nowhere."""
    known = servers.roster_of(3)

    async with SandboxClient(known.endpoints[:1], retry=RetryPolicy(attempts=1)) as stranger:
        with pytest.raises(SandboxProtocolError, match="401"):
            await stranger.run_code("print(1)", run_timeout=5.0)
    assert known.token not in repr(known)
    for pid in servers.pids().values():
        assert known.token not in " ".join(psutil.Process(pid).cmdline())


async def test_a_server_that_dies_is_there_again_and_no_call_is_lost(servers: Servers) -> None:
    """Killed in the middle of calls, it is started again at its old address; the calls are run."""
    known = servers.roster_of(3)
    victim, pid = next(iter(servers.pids().items()))

    sandbox = await Sandbox.start(CONFIG)
    calls = asyncio.create_task(run_many(sandbox, 300))
    await asyncio.sleep(0.3)
    os.kill(pid, signal.SIGKILL)
    await calls
    await sandbox.client.close()
    assert until(lambda: servers.pids().get(victim) not in (None, pid), 30), (victim, servers.roster())
    assert set(servers.roster_of(3).endpoints) == set(known.endpoints)


async def test_a_node_that_leaves_takes_its_server_off_the_list(servers: Servers) -> None:
    """The client is told, and goes on with the others; a node that joins gets a server."""
    servers.roster_of(3)

    sandbox = await Sandbox.start(CONFIG)
    servers.cluster.remove_node(next(iter(servers.cluster.worker_nodes)), allow_graceful=False)
    await asyncio.to_thread(servers.roster_of, 2)
    await run_many(sandbox, 40)
    servers.cluster.add_node(**NODE)
    back = await asyncio.to_thread(servers.roster_of, 3)
    deadline = time.monotonic() + 20
    while set(sandbox.client.endpoints) != set(back.endpoints) and time.monotonic() < deadline:
        await asyncio.sleep(0.2)
    assert await run_many(sandbox, 60) == set(back.endpoints)
    await sandbox.client.close()


def test_servers_end_with_the_job(servers: Servers) -> None:
    """Nothing stays behind on the nodes when the job that asked for the fleet has ended."""
    servers.roster_of(3)
    pids = list(servers.pids().values())
    ray.shutdown()
    assert until(lambda: not any(map(psutil.pid_exists, pids)), 30)
