"""The client: takes turns, picks an endpoint, tries again, and counts."""

import asyncio
import logging
import random
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Self

import stamina

from sandbox_client.balance import Balancer
from sandbox_client.config import Limits, RetryPolicy, Timeouts, validate_endpoints
from sandbox_client.errors import SandboxFault, SandboxProtocolError
from sandbox_client.stats import ClientStats, StatsRecorder
from sandbox_client.transport import Transport
from sandbox_client.wire import Execution, RunCodeRequest, parse_run_code_response

logger = logging.getLogger(__name__)

_LEAST_TIMEOUT = 0.1  # seconds; aiohttp takes 0 for "no timeout"


class SandboxClient:
    """Runs programs on one or more Sandbox Fusion endpoints. An async context manager; one per event loop.

    A call waits for its turn (`limits`), goes to the least busy endpoint, and after a retryable SandboxFault to another
    one if there is one (`retry`). A program that ran, whatever became of it, is never run again.
    """

    def __init__(
        self,
        endpoints: Iterable[str],
        *,
        timeouts: Timeouts | None = None,
        limits: Limits | None = None,
        retry: RetryPolicy | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Raises EndpointError when an endpoint cannot be right. Nothing is connected yet."""
        self.endpoints = validate_endpoints(endpoints)
        self._timeouts = timeouts or Timeouts()
        self._limits = limits or Limits()
        self._retry = retry or RetryPolicy()
        self._headers = dict(headers or {})
        self._balancer = Balancer(self.endpoints)
        self._turns = asyncio.Semaphore(self._limits.max_concurrency)
        self._recorder = StatsRecorder()
        self._open_transport: Transport | None = None

    @property
    def stats(self) -> ClientStats:
        """What the client has seen so far."""
        return self._recorder.snapshot()

    async def open(self) -> None:
        """Make the connection pool; harmless when it is there."""
        if self._open_transport is None:
            self._open_transport = Transport(self._timeouts, self._limits, self._headers)

    async def close(self) -> None:
        """Close all connections; harmless when none is open."""
        transport, self._open_transport = self._open_transport, None
        if transport is not None:
            await transport.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def run_code(
        self,
        code: str,
        *,
        run_timeout: float,
        memory_limit_mb: int | None = None,
        stdin: str | None = None,
        files: Mapping[str, bytes] | None = None,
    ) -> Execution:
        """Run a Python program for at most `run_timeout` seconds and return how it ended.

        Raises SandboxFault when no endpoint ran it, ValueError when `run_timeout` leaves the client no margin to hear
        about it, RuntimeError when the client is not open.
        """
        self._check_run_timeout(run_timeout)
        request = RunCodeRequest(code, run_timeout, memory_limit_mb, stdin, files or {})
        called = time.monotonic()
        async with self._turns:
            try:
                execution = await self._attempts(request)
            except SandboxFault:
                self._recorder.faulted()
                raise
        self._recorder.executed(execution.status)
        return replace(execution, latency=time.monotonic() - called)

    async def ping(self, endpoint: str) -> float:
        """Seconds that `endpoint` takes to answer a ping. One attempt; raises SandboxFault."""
        (base,) = validate_endpoints([endpoint])
        started = time.monotonic()
        answer = await self._transport.get(base, "/v1/ping", self._timeouts.connect * 2)
        if answer != "pong":
            raise SandboxProtocolError(f"answered {answer!r:.100} to a ping", endpoint=base)
        return time.monotonic() - started

    @property
    def _transport(self) -> Transport:
        if self._open_transport is None:
            raise RuntimeError("the sandbox client is not open: use it in an `async with`, or call open() first")
        return self._open_transport

    def _check_run_timeout(self, run_timeout: float) -> None:
        room = min(self._timeouts.total, self._retry.total_timeout) - self._timeouts.margin
        if not 0 < run_timeout <= room:
            raise ValueError(
                f"run_timeout={run_timeout} s must be positive and at most {room} s: the smaller of Timeouts.total "
                "and RetryPolicy.total_timeout, less Timeouts.margin"
            )

    async def _attempts(self, request: RunCodeRequest) -> Execution:
        deadline = time.monotonic() + self._retry.total_timeout
        needed = request.run_timeout + self._timeouts.margin
        made = 0
        failed_at: str | None = None

        def pause(error: Exception) -> bool | float:
            """Whether to try again, or how long to pause when the server says so."""
            if not (isinstance(error, SandboxFault) and error.retryable):
                return False
            wait = min(error.retry_after or 0.0, self._retry.wait_max)
            # An attempt that could not hear a program out is not worth making.
            if deadline - time.monotonic() - wait < needed:
                return False
            return wait + random.uniform(0.0, self._retry.wait_jitter) if wait else True

        async for attempt in stamina.retry_context(
            on=pause,
            attempts=self._retry.attempts,
            timeout=None,  # `pause` knows what is left, and what an attempt needs
            wait_initial=self._retry.wait_initial,
            wait_max=self._retry.wait_max,
            wait_jitter=self._retry.wait_jitter,
        ):
            with attempt, self._balancer.lease(avoid=failed_at) as endpoint:
                made += 1
                if made > 1:
                    self._recorder.retried()
                try:
                    left = max(_LEAST_TIMEOUT, deadline - time.monotonic())
                    execution = await self._attempt(request, endpoint, min(self._timeouts.total, left))
                except SandboxFault as fault:
                    failed_at = endpoint
                    fault.attempts = made
                    self._recorder.fault(fault)
                    logger.debug("attempt %d failed: %s", made, fault)
                    raise
                return replace(execution, attempts=made)
        raise AssertionError("the last attempt returns or raises")

    async def _attempt(self, request: RunCodeRequest, endpoint: str, timeout: float) -> Execution:
        payload = await self._transport.post(endpoint, "/run_code", request.to_payload(), timeout)
        return parse_run_code_response(payload, endpoint)
