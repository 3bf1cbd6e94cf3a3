"""Gives a call its turn, and makes its attempts until one brings a result or a further one makes no sense."""

import asyncio
import logging
import random
import time
from dataclasses import dataclass
from typing import TypeVar

from sandbox_client._balancer import Balancer
from sandbox_client._config import CallLimits, RetryPolicy, Timeouts
from sandbox_client._endpoint import Endpoint
from sandbox_client._errors import SandboxFault, SandboxUnavailable
from sandbox_client._execution import Timed, stamp
from sandbox_client._stats import Recorder
from sandbox_client._transport import Exchange, SandboxRequest, Transport

logger = logging.getLogger(__name__)

_LEAST_TIMEOUT = 0.1  # seconds, for an attempt that comes late because the machine is busy

_BURST_SECONDS = 0.1

Result = TypeVar("Result", bound=Timed)


class TokenBucket:
    """A bucket that fills with `rate` tokens per second and holds a tenth of a second's. Pure: the time is passed in.

    Kept as the time at which the next token is free, so that waiting callers are served in their order.
    """

    def __init__(self, rate: float) -> None:
        self._seconds_each = 1.0 / rate
        # One less than the burst: the token taken now is part of it.
        self._ahead = max(0.0, _BURST_SECONDS - self._seconds_each)
        self._next = float("-inf")

    def take(self, now: float) -> float:
        """Take a token and return the seconds to wait before it may be used. A caller that gives up loses it."""
        at = max(self._next, now - self._ahead)
        self._next = at + self._seconds_each
        return max(0.0, at - now)


@dataclass(slots=True)
class _Course:
    """How far a call has come."""

    deadline: float
    """When the call must be over."""
    needed: float
    """Seconds that an attempt must have: one that could not hear a program out is not worth making."""
    waited: float
    """Seconds spent waiting for a turn and for an endpoint."""
    attempts: int = 0
    """Attempts begun."""
    failed_at: Endpoint | None = None
    """Where the latest one failed."""
    misunderstood: bool = False
    """Whether a protocol error used up its one attempt elsewhere."""

    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.monotonic()


class Caller:
    """Attempts of calls on the endpoints of a balancer, by way of a transport that is open."""

    def __init__(
        self,
        transport: Transport,
        balancer: Balancer,
        recorder: Recorder,
        timeouts: Timeouts,
        limits: CallLimits,
        retry: RetryPolicy,
    ) -> None:
        self._transport = transport
        self._balancer = balancer
        self._recorder = recorder
        self._timeouts = timeouts
        self._retry = retry
        self._turns = asyncio.Semaphore(limits.max_concurrency)
        self._bucket = None if limits.max_rate is None else TokenBucket(limits.max_rate)
        self.in_flight = 0
        """Calls with an attempt under way."""

    async def call(self, request: SandboxRequest[Result]) -> Result:
        """The result of `request`. Raises SandboxFault."""
        called = time.monotonic()
        # One coroutine for it all: each more, and each object that lives as long as a call, is work for the collector.
        async with self._turns:
            if self._bucket is not None:
                await asyncio.sleep(self._bucket.take(time.monotonic()))
            now = time.monotonic()
            course = _Course(
                deadline=now + self._retry.total_timeout,
                needed=request.seconds + self._timeouts.margin,
                waited=now - called,
            )
            while True:
                endpoint = self._balancer.choose(course.failed_at) or await self._wait(course)
                course.attempts += 1
                if course.attempts > 1:
                    self._recorder.retried()
                exchange = Exchange(min(self._timeouts.total, max(course.left(), _LEAST_TIMEOUT)))
                endpoint.begin(exchange, request.seconds)
                self.in_flight += 1
                try:
                    result = await self._transport.send(request, endpoint.base, exchange)
                    break
                except SandboxFault as fault:
                    pause = self._failed(fault, endpoint, course)
                    if pause is None:
                        raise
                finally:
                    self.in_flight -= 1
                    endpoint.end(exchange)
                await asyncio.sleep(pause)
        endpoint.succeeded()
        now = time.monotonic()
        stamp(
            result,
            wait=course.waited,
            connect=exchange.connect,
            # The server's clock may see more of the run than the client's.
            queue=max(0.0, now - exchange.began - exchange.connect - result.run),
            latency=now - called,
            attempts=course.attempts,
        )
        return result

    def _failed(self, fault: SandboxFault, endpoint: Endpoint, course: _Course) -> float | None:
        """Note an attempt's fault. Returns as `_pause`."""
        fault.attempts = course.attempts
        endpoint.faulted(fault, self._retry.wait_max)
        self._recorder.fault(fault)
        course.failed_at = endpoint
        pause = self._pause(fault, endpoint, course)
        if pause is not None:
            logger.debug("attempt %d failed, the next in %.2f s: %s", course.attempts, pause, fault)
            endpoint.retried()
        return pause

    def _pause(self, fault: SandboxFault, endpoint: Endpoint, course: _Course) -> float | None:
        """Seconds to pause before the next attempt; None when there shall be none."""
        retry = self._retry
        if course.attempts >= retry.attempts:
            return None
        another = self._balancer.has_another(endpoint)
        if not fault.retryable:
            if not fault.blames_endpoint:
                return None
            # From a sandbox that has run programs it is a proxy's page or a route that is gone for a while: an outage.
            if not endpoint.proven:
                if course.misunderstood or not another:
                    return None
                course.misunderstood = True
        # The bound on the exponent keeps the power finite, however many attempts are allowed.
        wait = retry.wait_initial * 2.0 ** min(course.attempts - 1, 60)
        # What one endpoint asks for need not hold up a call that another one takes.
        if fault.retry_after and not another:
            wait = max(wait, fault.retry_after)
        wait = min(wait, retry.wait_max) + random.uniform(0.0, retry.wait_jitter)
        # An attempt needs what is left after the pause.
        return wait if course.left() - wait >= course.needed else None

    async def _wait(self, course: _Course) -> Endpoint:
        """Wait until an endpoint takes calls."""
        began = time.monotonic()
        endpoint = await self._balancer.wait(min(self._retry.patience, course.left() - course.needed), course.failed_at)
        waited = time.monotonic() - began
        course.waited += waited
        if endpoint is not None:
            return endpoint
        endpoints = self._balancer.endpoints
        listed = "; ".join(f"{one.base}: {one.last_fault}" for one in endpoints)
        fault = SandboxUnavailable(
            f"no endpoint took calls for {waited:.1f} s: {listed}",
            endpoint=", ".join(one.base for one in endpoints),
            attempts=course.attempts,
        )
        self._recorder.fault(fault)
        raise fault
