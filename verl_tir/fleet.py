"""The fleet: one named actor that keeps a sandbox server on every node of the Ray cluster, and knows their endpoints.

Both it and the servers' actors ask for no CPUs of Ray's count: verl's resource pools find the cluster as without them,
and the programs run on the cores that GPU nodes leave idle. The fleet belongs to the job: it ends with the process that
asked for it first, and the servers end with it.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayActorError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sandbox_server import ResidentSandbox, ServerConfig

logger = logging.getLogger(__name__)

_NAME = "verl_tir_sandbox_fleet"
_LOOK_SECONDS = 2.0
"""Between two looks at the nodes, and at each server; one that died is away for about this long and its start."""
_ROSTER_SECONDS = 0.1
_ENSURE_SECONDS = 120.0
"""For one node to answer; starting a server there for the first time imports numpy, sympy and scipy from its disk."""


@dataclass(frozen=True, slots=True)
class Roster:
    """The servers that run now."""

    endpoints: tuple[str, ...]
    token: str
    """What they take as bearer token."""
    problems: tuple[str, ...] = ()
    """Nodes without a server, each with the reason."""

    def __repr__(self) -> str:
        return f"Roster(endpoints={self.endpoints}, problems={self.problems})"  # and never the token


class SandboxNode:
    """Starts a server on its own node and keeps it running. The server ends with the actor, however that ends."""

    def __init__(self, settings: Mapping[str, Any], token: str) -> None:
        """`settings`: fields of ServerConfig. What is left out, such as the number of workers, is the node's own."""
        config = ServerConfig(**{"host": ray.util.get_node_ip_address(), "port": 0, **settings})
        self._server = ResidentSandbox(config, token)

    def ensure(self) -> str:
        """The server's endpoint. Raises SandboxStartError when it cannot be started."""
        return self._server.ensure()

    def pid(self) -> int:
        """Process id of the running server."""
        return self._server.pid


class SandboxFleet:
    """The coordinating actor. Each node is tended by a task of its own, so that a slow one holds nobody up."""

    def __init__(self, settings: Mapping[str, Any], token: str) -> None:
        self._settings = dict(settings)
        self._token = token
        self._tending: dict[str, asyncio.Task[None]] = {}
        self._handles: dict[str, ActorHandle] = {}
        self._endpoints: dict[str, str] = {}
        self._problems: dict[str, str] = {}
        self._watching: asyncio.Task[None] | None = None

    async def roster(self) -> Roster:
        """The servers, as soon as one runs or every node has been tried."""
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch_nodes())
        while not self._endpoints and not (self._tending and self._problems.keys() >= self._tending.keys()):
            await asyncio.sleep(_ROSTER_SECONDS)
        return Roster(tuple(self._endpoints.values()), self._token, tuple(self._problems.values()))

    async def server_pids(self) -> dict[str, int]:
        """Process id of each server, by endpoint."""
        return {endpoint: await self._handles[node].pid.remote() for node, endpoint in self._endpoints.items()}

    async def _watch_nodes(self) -> None:
        while True:
            # A call to Ray's control service, which may be slow.
            nodes = await asyncio.to_thread(ray.nodes)
            alive = {node["NodeID"]: node["NodeManagerAddress"] for node in nodes if node["Alive"]}
            for node in self._tending.keys() - alive.keys():
                logger.warning("node %s left the cluster, and its sandbox server with it", node)
                self._tending.pop(node).cancel()
                for known in (self._handles, self._endpoints, self._problems):
                    known.pop(node, None)
            for node in alive.keys() - self._tending.keys():
                self._tending[node] = asyncio.create_task(self._tend(node, alive[node]))
            await asyncio.sleep(_LOOK_SECONDS)

    async def _tend(self, node: str, address: str) -> None:
        actor = ray.remote(SandboxNode).options(
            num_cpus=0, max_restarts=-1, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)
        )
        handle = self._handles[node] = actor.remote(self._settings, self._token)
        while True:
            try:
                async with asyncio.timeout(_ENSURE_SECONDS):
                    endpoint = await handle.ensure.remote()
            except (RayActorError, RayTaskError, TimeoutError) as error:
                # Ray starts a lost actor again; until then the node has no server.
                logger.warning("no sandbox server on node %s: %s", address, error)
                self._endpoints.pop(node, None)
                self._problems[node] = f"{address}: {type(error).__name__}: {error}"
            else:
                if self._endpoints.get(node) != endpoint:
                    logger.info("sandbox server on node %s: %s", address, endpoint)
                self._endpoints[node] = endpoint
                self._problems.pop(node, None)
            await asyncio.sleep(_LOOK_SECONDS)


def join_fleet(settings: Mapping[str, Any]) -> ActorHandle:
    """The job's fleet, started with `settings` (fields of ServerConfig) by whoever asks first.

    Keep the handle: the fleet ends when the process that started it ends or lets go of it.
    """
    actor = ray.remote(SandboxFleet).options(
        name=_NAME, get_if_exists=True, num_cpus=0, max_restarts=-1, max_task_retries=-1
    )
    # Arguments outlive a restart of the actor, and with them the token that clients hold.
    return actor.remote(dict(settings), secrets.token_urlsafe(32))
