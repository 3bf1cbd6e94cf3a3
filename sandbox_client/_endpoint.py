"""One endpoint as the client sees it: what is under way there, what came of it, and whether it takes more."""

import logging
import random
import time
from collections import Counter
from collections.abc import Callable

from sandbox_client._breaker import Breaker, BreakerState
from sandbox_client._config import BreakerPolicy
from sandbox_client._errors import SandboxDeadlineExceeded, SandboxFault, SandboxUnreachable
from sandbox_client._transport import Exchange

logger = logging.getLogger(__name__)

_SILENCE = 60.0  # seconds between two lines about retries: in an outage there are thousands


class Endpoint:
    """The state of one endpoint. `on_change` is called after each step of its breaker."""

    def __init__(self, base: str, policy: BreakerPolicy, on_change: Callable[[], None]) -> None:
        self.base = base
        """Its base URL."""
        self.breaker = Breaker(policy)
        """Whether it takes calls."""
        self.attempts = 0
        """Attempts made there."""
        self.faults: Counter[str] = Counter()
        """Attempts that ended in a fault, by its kind."""
        self.last_fault = "no attempt was made"
        """The latest of them, in words."""
        self.last_turn = 0
        """The number of the turn in which it was last chosen."""
        self.busy_until = 0.0
        """Until when it asked to be left alone (Retry-After)."""
        self.silent_since = time.monotonic()
        """When it last answered anything, or last went from idle to busy, or was last probed."""
        self.answered_at = float("-inf")
        """When it last answered anything."""
        self.proven = False
        """Whether it has ever run a program: then it is a sandbox, and what answers otherwise in its place is not."""
        self.probing = False
        """Whether a probe is under way."""
        self.removed = False
        """Whether it is no longer in the client's list; what is under way there runs to its end."""
        self._on_change = on_change
        self._under_way: dict[Exchange, float] = {}
        self._opened_at = 0.0
        self._retries = 0  # since they were last spoken of
        self._speaks_at = float("-inf")

    @property
    def outstanding(self) -> int:
        """Attempts under way."""
        return len(self._under_way)

    @property
    def longest(self) -> float:
        """The most seconds that a program under way may run; 0 when none is."""
        return max(self._under_way.values(), default=0.0)

    def begin(self, exchange: Exchange, seconds: float) -> None:
        """An attempt begins, of a program that may run for `seconds`."""
        if not self._under_way:
            self.silent_since = time.monotonic()
        self._under_way[exchange] = seconds
        self.attempts += 1

    def end(self, exchange: Exchange) -> None:
        """The attempt is over, whatever became of it."""
        del self._under_way[exchange]

    def succeeded(self) -> None:
        """An attempt brought a result."""
        now = time.monotonic()
        self.silent_since = self.answered_at = now
        self.proven = True
        self.breaker.succeeded(now)

    def faulted(self, fault: SandboxFault, longest_wait: float) -> None:
        """An attempt ended in a fault. A Retry-After is heeded for at most `longest_wait` seconds."""
        self.faults[fault.kind] += 1
        self.hold(fault, longest_wait)

    def retried(self) -> None:
        """A call that failed there is tried again. The log hears of it at most once a minute."""
        self._retries += 1
        now = time.monotonic()
        if now >= self._speaks_at:
            logger.info(
                "sandbox %s failed, retrying (%d since last said): %s", self.base, self._retries, self.last_fault
            )
            self._retries, self._speaks_at = 0, now + _SILENCE

    def hold(self, fault: SandboxFault, longest_wait: float) -> None:
        """Hold a fault, of an attempt or a probe, against the endpoint as far as it is to blame."""
        now = time.monotonic()
        self.last_fault = _words(fault)
        if not isinstance(fault, SandboxDeadlineExceeded | SandboxUnreachable):
            self.silent_since = self.answered_at = now
        if fault.retry_after:
            self.busy_until = now + min(fault.retry_after, longest_wait)
        if fault.blames_endpoint and not self.removed:
            why = self.breaker.faulted(now, random.random())
            if why is not None:
                self._opened(now, f"{why}, the last: {self.last_fault}")

    def alive(self) -> None:
        """It gave a sign of life that is not a result."""
        self.silent_since = self.answered_at = time.monotonic()

    def give_up(self, why: str) -> None:
        """Open the breaker and end the attempts under way, so that they are made elsewhere.

        A program may thus run twice. No result is ever used twice, and a program in a sandbox has no effect outside.
        """
        now = time.monotonic()
        self.last_fault = why
        if self.breaker.state is BreakerState.CLOSED:
            self.breaker.trip(now, random.random())
            self._opened(now, why)
        self.silent_since = now
        for exchange in list(self._under_way):
            exchange.interrupt(why)

    def probe_succeeded(self) -> None:
        """The probe of an open endpoint ran."""
        self.alive()
        self.proven = True
        self.breaker.probe_succeeded()
        logger.info("sandbox %s takes calls again, after %.1f s", self.base, time.monotonic() - self._opened_at)
        self._on_change()

    def probe_failed(self, fault: SandboxFault | None, *, lengthen: bool) -> None:
        """The probe of an open endpoint did not run; None when it was broken off."""
        now = time.monotonic()
        self.breaker.probe_failed(now, random.random(), lengthen=lengthen)
        if fault is not None:
            self.last_fault = _words(fault)
            wait = self.breaker.probe_at - now
            logger.info("sandbox %s stays out, next probe in %.1f s: %s", self.base, wait, self.last_fault)
        self._on_change()

    def _opened(self, now: float, why: str) -> None:
        self._opened_at = now
        wait = self.breaker.probe_at - now
        logger.warning("sandbox %s gets no more calls, first probe in %.1f s: %s", self.base, wait, why)
        self._on_change()


def _words(fault: SandboxFault) -> str:
    return f"{type(fault).__name__}: {fault.message}"
