"""The one sandbox client of a process, and the embedded server behind it where no endpoint is configured."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

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
            settings = ServerConfig(port=0, workers=config.workers) if config.workers else ServerConfig(port=0)
            server = EmbeddedSandbox(settings)
            await asyncio.get_running_loop().run_in_executor(None, server.start)
            endpoints = (server.endpoint,)
            logger.warning("tir.sandbox.endpoints is empty: programs run in an embedded sandbox at %s", server.endpoint)
        client = SandboxClient(
            endpoints,
            timeouts=Timeouts(),
            limits=Limits(max_concurrency=config.max_concurrency),
            retry=RetryPolicy(attempts=config.retry_attempts, total_timeout=config.retry_total_seconds),
        )
        await client.__aenter__()
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
