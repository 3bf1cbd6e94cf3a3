"""The one sandbox client of a process, and the servers that it keeps to where no endpoint is configured: its own
embedded one, or those that Ray hosts."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ray.actor import ActorHandle
from ray.exceptions import RayActorError

from sandbox_client import (
    CallLimits,
    Execution,
    ExecutionStatus,
    JupyterExecution,
    RetryPolicy,
    SandboxClient,
    Timeouts,
    Token,
    read_token,
)
from sandbox_server import ResidentSandbox, SandboxStartError, ServerConfig
from verl_tir.config import RAY, SandboxConfig
from verl_tir.fleet import Roster, join_fleet
from verl_tir.rollout.observation import ProgramRun
from verl_tir.rollout.session import sandbox_call
from verl_tir.trajectory import Outcome

logger = logging.getLogger(__name__)

_OUTCOMES = {status: Outcome[status.name] for status in ExecutionStatus}

_QUEUE_SECONDS = 60.0
"""How long a program may wait in a server's queue, beyond its own run time, before the call counts as unanswered."""

_WATCH_SECONDS = 1.0
"""Between two looks at the embedded server."""

_FOLLOW_SECONDS = 2.0
"""Between two looks at the servers that Ray hosts."""

_SNAPSHOT_SECONDS = 1.0
"""For how long a snapshot of the client serves the trajectories that finish."""


def server_settings(config: SandboxConfig) -> dict[str, Any]:
    """Fields of ServerConfig with which a server of ours accepts whatever the settings ask of it."""
    defaults = ServerConfig(port=0)
    settings: dict[str, Any] = {
        "max_run_timeout": max(defaults.max_run_timeout, config.run_timeout),
        "max_memory_limit_mb": max(defaults.max_memory_limit_mb, config.memory_limit_mb),
        "isolation": config.isolation,
    }
    return settings | ({"workers": config.workers} if config.workers else {})


def make_client(config: SandboxConfig, endpoints: tuple[str, ...], token: Token | None) -> SandboxClient:
    """A client of `endpoints` as the settings want it; not open yet.

    Raises:
        EndpointError, TlsError: an endpoint or a TLS file cannot be used.
    """
    timeouts = Timeouts()
    return SandboxClient(
        endpoints,
        timeouts=replace(timeouts, total=max(timeouts.total, config.run_timeout + _QUEUE_SECONDS)),
        limits=CallLimits(max_concurrency=config.max_concurrency, max_rate=config.max_rate),
        retry=RetryPolicy(
            attempts=config.retry_attempts,
            total_timeout=config.retry_total_seconds,
            patience=config.patience_seconds,
        ),
        headers=config.headers,
        token=token,
        tls=config.tls.settings(),
    )


def configured_token(config: SandboxConfig) -> Token | None:
    """The bearer token that the settings name; None where they name none. Raises TokenError."""
    if config.token_file is not None:
        return read_token(file=config.token_file)
    return None if config.token_env is None else read_token(env=config.token_env)


async def _watch_server(resident: ResidentSandbox, client: SandboxClient) -> None:
    """Start the embedded server again soon after it has ended, and tell `client` where it is."""
    while True:
        await asyncio.sleep(_WATCH_SECONDS)
        try:
            endpoint = await asyncio.to_thread(resident.ensure)
        except SandboxStartError as error:  # calls wait for it as long as the client's patience lasts
            logger.error("the embedded sandbox is gone and does not start again: %s", error)
            continue
        if (endpoint,) != client.endpoints:
            client.set_endpoints((endpoint,))


async def _follow_fleet(fleet: ActorHandle, client: SandboxClient) -> None:
    """Tell `client` of servers that come and go."""
    while True:
        await asyncio.sleep(_FOLLOW_SECONDS)
        try:
            roster: Roster = await fleet.roster.remote()
        except RayActorError as error:  # Ray starts it again; until then the servers known are as good as any
            logger.warning("the sandbox fleet does not answer: %s", error)
            continue
        # With none running, the client goes on waiting for those it knows.
        if roster.endpoints and set(roster.endpoints) != set(client.endpoints):
            logger.info("sandbox servers: %s", ", ".join(roster.endpoints))
            client.set_endpoints(roster.endpoints)


@dataclass(slots=True)
class Sandbox:
    """Runs programs for the trajectories of one process."""

    client: SandboxClient
    config: SandboxConfig
    watch: asyncio.Task[None] | None = None
    """Looks after the servers for as long as this process lives, where they are ours."""
    _snapshot: dict[str, Any] = field(default_factory=dict)
    _snapshot_until: float = 0.0

    @classmethod
    async def start(cls, config: SandboxConfig) -> Sandbox:
        """Connect to the configured endpoints, or start servers and connect to those.

        Raises:
            RuntimeError: no server came up; the message says why, for Ray's of each node.
            TokenError: the bearer token cannot be read.
        """
        if config.endpoints == RAY:
            fleet = await asyncio.to_thread(join_fleet, server_settings(config))
            roster: Roster = await fleet.roster.remote()
            if not roster.endpoints:
                problems = "; ".join(roster.problems)
                raise RuntimeError(f"tir.sandbox.endpoints=ray: no node has a sandbox server: {problems}")
            logger.info("tir.sandbox.endpoints=ray: programs run at %s", ", ".join(roster.endpoints))
            client = make_client(config, roster.endpoints, Token(roster.token))
            watch = _follow_fleet(fleet, client)
        elif config.endpoints:
            client = make_client(config, tuple(config.endpoints), configured_token(config))
            await client.open()
            return cls(client, config)
        else:
            # A token of its own: other users of the machine can reach a loopback port too.
            token = secrets.token_urlsafe(32)
            resident = ResidentSandbox(ServerConfig(port=0, **server_settings(config)), token)
            endpoint = await asyncio.to_thread(resident.ensure)
            logger.warning("tir.sandbox.endpoints is empty: programs run in an embedded sandbox at %s", endpoint)
            client = make_client(config, (endpoint,), Token(token))
            watch = _watch_server(resident, client)
        await client.open()
        return cls(client, config, asyncio.create_task(watch))

    async def run(self, program: str) -> ProgramRun:
        """Run one program. Raises SandboxFault when the service failed after all retries, never for the program."""
        execution: Execution = await self.client.run_code(
            program, run_timeout=self.config.run_timeout, memory_limit_mb=self.config.memory_limit_mb
        )
        outcome, call = _OUTCOMES[execution.status], sandbox_call(execution)
        return ProgramRun(outcome, execution.stdout, execution.stderr, execution.return_code, call)

    async def run_cells(self, cells: Sequence[str]) -> JupyterExecution:
        """Run cells in a new kernel, all together for as long as one program may run. Raises SandboxFault, as `run`."""
        seconds = self.config.run_timeout
        return await self.client.run_jupyter(cells, cell_timeout=seconds, total_timeout=seconds)

    def snapshot(self) -> dict[str, Any]:
        """The client's counters and its endpoints' states as plain data, at most a second old."""
        now = time.monotonic()
        if now >= self._snapshot_until:
            seen = self.client.snapshot()
            self._snapshot = {
                "client": f"{socket.gethostname()}:{os.getpid()}",
                "retries": seen.stats.retries,
                "probes": seen.stats.probes,
                "faults": dict(seen.stats.faults),
                "endpoints": {endpoint.endpoint: endpoint.state.value for endpoint in seen.endpoints},
            }
            self._snapshot_until = now + _SNAPSHOT_SECONDS
        return self._snapshot
