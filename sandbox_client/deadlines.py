"""Ends exchanges whose time is over."""

import asyncio
import contextvars
import math
import time

from sandbox_client.exchange import Exchange

_CONTEXT = contextvars.Context()  # for the timer, which must not keep that of whichever call set it


class Deadlines:
    """One timer for all exchanges, set for the first that may be due.

    A timer for each would cost a call more than anything else that the client does for it. An exchange that ends in
    time leaves the timer as it is: when it fires, it is set again for the first that is still under way.
    """

    def __init__(self) -> None:
        self._exchanges: set[Exchange] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._looks_at = math.inf

    def add(self, exchange: Exchange) -> None:
        """Watch an exchange from now on, in the running event loop."""
        self._exchanges.add(exchange)
        if exchange.deadline < self._looks_at:
            self._look_at(exchange.deadline)

    def discard(self, exchange: Exchange) -> None:
        """The exchange is over."""
        self._exchanges.discard(exchange)

    def close(self) -> None:
        """Watch no more."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._looks_at = None, math.inf

    def _look_at(self, when: float) -> None:
        self.close()
        self._looks_at = when
        # With a delay and not a time: the clock of the loop may be another one.
        delay = max(0.0, when - time.monotonic())
        self._timer = asyncio.get_running_loop().call_later(delay, self._look, context=_CONTEXT)

    def _look(self) -> None:
        self._looks_at = math.inf
        now = time.monotonic()
        for exchange in [one for one in self._exchanges if one.deadline <= now]:
            self._exchanges.discard(exchange)
            exchange.expire()
        if self._exchanges:
            self._look_at(min(exchange.deadline for exchange in self._exchanges))
