"""The one sandbox client of a process, and the embedded server behind it where no endpoint is configured."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace

from sandbox_client import Execution, ExecutionStatus, Limits, RetryPolicy, SandboxClient, Timeouts
from verl_tir.config import SandboxConfig
from verl_tir.rollout.observation import ProgramRun
from verl_tir.sandbox_server.config import ServerConfig
from verl_tir.sandbox_server.launcher import EmbeddedSandbox
from verl_tir.trajectory import Outcome

logger = logging.getLogger(__name__)

_OUTCOMES = {
    ExecutionStatus.SUCCESS: Outcome.SUCCESS,
    ExecutionStatus.FAILED: Outcome.FAILED,
    ExecutionStatus.TIME_LIMIT: Outcome.TIME_LIMIT,
}

_QUEUE_SECONDS = 60.0
"""How long a program may wait in a server's queue, beyond its own run time, before the call counts as unanswered."""


def _server_config(config: SandboxConfig) -> ServerConfig:
    """An embedded server that accepts whatever the settings ask of it."""
    server = ServerConfig(port=0)
    return replace(
        server,
        workers=config.workers or server.workers,
        max_run_timeout=max(server.max_run_timeout, config.run_timeout),
        max_memory_limit_mb=max(server.max_memory_limit_mb, config.memory_limit_mb),
    )


@dataclass(slots=True)
class Sandbox:
    """Runs programs for the trajectories of one process."""

    client: SandboxClient
    config: SandboxConfig
    server: EmbeddedSandbox | None
    """Kept so that the embedded server lives as long as its client."""

    @classmethod
    async def start(cls, config: SandboxConfig) -> Sandbox:
        """Connect to the configured endpoints, or start an embedded server and connect to that.

        Raises:
            RuntimeError: the embedded server did not come up; the message carries its log.
        """
        server = None
        endpoints = config.endpoints
        if not endpoints:
            server = EmbeddedSandbox(_server_config(config))
            await asyncio.get_running_loop().run_in_executor(None, server.start)
            endpoints = (server.endpoint,)
            logger.warning("tir.sandbox.endpoints is empty: programs run in an embedded sandbox at %s", server.endpoint)
        timeouts = Timeouts()
        client = SandboxClient(
            endpoints,
            timeouts=replace(timeouts, total=max(timeouts.total, config.run_timeout + _QUEUE_SECONDS)),
            limits=Limits(max_concurrency=config.max_concurrency),
            retry=RetryPolicy(attempts=config.retry_attempts, total_timeout=config.retry_total_seconds),
        )
        await client.open()
        return cls(client=client, config=config, server=server)

    async def run(self, program: str) -> ProgramRun:
        """Run one program.

        Raises:
            SandboxFault: the service failed after all retries; never raised for what the program did.
        """
        execution: Execution = await self.client.run_code(
            program, run_timeout=self.config.run_timeout, memory_limit_mb=self.config.memory_limit_mb
        )
        return ProgramRun(
            outcome=_OUTCOMES[execution.status],
            stdout=execution.stdout,
            stderr=execution.stderr,
            return_code=execution.return_code,
        )
