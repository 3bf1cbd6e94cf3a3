"""Finds out which endpoints work, by running a trivial program: a server that is wedged still answers pings.

- An endpoint whose breaker is open is probed after its cool-down, and takes calls again when the program ran.
- An endpoint that has calls under way and has answered nothing for a while is probed too. It is judged wedged, and its
  calls are made elsewhere, when the probe is not answered in time and nothing else was answered meanwhile either. One
  that is only busy answers something: a program's result, or that its queue is full.
- An idle client sends nothing.
"""

import asyncio
import logging
import random
import time
from collections.abc import Coroutine
from contextlib import suppress

from sandbox_client._balancer import Balancer
from sandbox_client._breaker import BreakerState
from sandbox_client._config import ProbePolicy, RetryPolicy, Timeouts
from sandbox_client._endpoint import Endpoint
from sandbox_client._errors import (
    SandboxDeadlineExceeded,
    SandboxFault,
    SandboxInternalError,
    SandboxOverloaded,
    SandboxUnreachable,
)
from sandbox_client._execution import RunCodeRequest
from sandbox_client._fields import short
from sandbox_client._stats import Recorder
from sandbox_client._transport import Exchange, Transport

logger = logging.getLogger(__name__)

_RUN_TIMEOUT = 5.0  # seconds for `print`; less than what any server allows
_LOOKS = 4  # looks at a silent endpoint in the time that it may be silent


class Health:
    """Probes endpoints in the background, from `start` to `stop`."""

    def __init__(
        self,
        transport: Transport,
        balancer: Balancer,
        recorder: Recorder,
        policy: ProbePolicy,
        timeouts: Timeouts,
        retry: RetryPolicy,
    ) -> None:
        """`transport` must have room for a probe of each endpoint at any time; it is the owner's to close."""
        self._transport = transport
        self._balancer = balancer
        self._recorder = recorder
        self._policy = policy
        self._timeouts = timeouts
        self._retry = retry
        self._look = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin, in the running event loop."""
        self._balancer.on_change = self._look.set
        self._spawn(self._watch(), "sandbox health")

    async def stop(self) -> None:
        """End, and wait until everything has."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _spawn(self, work: Coroutine[object, object, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # A defect of ours. Silence would leave endpoints out for ever.
            logger.error("%s ended in an error", task.get_name(), exc_info=error)

    async def _watch(self) -> None:
        quiet = self._policy.quiet_seconds
        while True:
            self._look.clear()
            now = time.monotonic()
            # Calls do not wake the watch, which would cost each of them; it looks often enough instead.
            due = now + quiet / _LOOKS
            for endpoint in self._balancer.endpoints:
                if endpoint.probing:
                    continue
                breaker = endpoint.breaker
                if breaker.begin_probe(now) or (
                    breaker.state is BreakerState.CLOSED
                    and endpoint.outstanding
                    and now - endpoint.silent_since >= quiet
                ):
                    endpoint.probing = True
                    self._spawn(self._probe(endpoint), f"sandbox probe {endpoint.base}")
                elif breaker.state is BreakerState.OPEN:
                    due = min(due, breaker.probe_at)
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, due - now)):
                    await self._look.wait()

    async def _probe(self, endpoint: Endpoint) -> None:
        was_open = endpoint.breaker.state is BreakerState.HALF_OPEN
        began = time.monotonic()
        fault: SandboxFault | None = None
        finished = False
        try:
            fault = await self._try(endpoint, was_open)
            finished = True
        finally:
            endpoint.probing = False
            if was_open and not finished:
                endpoint.probe_failed(None, lengthen=False)
        if endpoint.removed:
            return
        if was_open:
            self._judge_open(endpoint, fault)
        else:
            self._judge_silent(endpoint, fault, began)
        self._look.set()

    async def _try(self, endpoint: Endpoint, was_open: bool) -> SandboxFault | None:
        """The fault that the probe ended in, None when its program ran and printed what it should."""
        # A number that nothing but the program can know, so that no cache and no proxy can answer for it.
        number = str(random.randrange(10**9, 10**10))
        request = RunCodeRequest(f"print({number})", min(_RUN_TIMEOUT, self._policy.timeout))
        seconds = self._policy.timeout
        if not was_open:
            seconds = max(seconds, endpoint.longest + self._timeouts.margin)
        self._recorder.probed()
        try:
            execution = await self._transport.send(request, endpoint.base, Exchange(seconds))
        except SandboxFault as fault:
            return fault
        if execution.stdout.strip() == number:
            return None
        what = f"the probe print({number}) ended as {execution.status}, printing {short(execution.stdout)}"
        return SandboxInternalError(what, endpoint=endpoint.base)

    def _judge_open(self, endpoint: Endpoint, fault: SandboxFault | None) -> None:
        if fault is None:
            endpoint.probe_succeeded()
            return
        # A full queue does not prove that programs run, and is not a new fault either.
        endpoint.probe_failed(fault, lengthen=not isinstance(fault, SandboxOverloaded))
        silent = time.monotonic() - endpoint.silent_since
        if endpoint.outstanding and silent >= self._policy.quiet_seconds and _is_silence(fault):
            endpoint.give_up(f"judged dead: no answer for {silent:.1f} s, and a probe failed: {fault.message}")

    def _judge_silent(self, endpoint: Endpoint, fault: SandboxFault | None, began: float) -> None:
        if fault is None:
            endpoint.alive()
        elif not _is_silence(fault):
            endpoint.hold(fault, self._retry.wait_max)
        elif endpoint.answered_at < began:
            silent = time.monotonic() - endpoint.silent_since
            endpoint.give_up(f"judged wedged: no answer for {silent:.1f} s, nor to a probe: {fault.message}")
        else:
            endpoint.silent_since = time.monotonic()


def _is_silence(fault: SandboxFault) -> bool:
    return isinstance(fault, SandboxDeadlineExceeded | SandboxUnreachable)
