"""Which endpoint gets the next attempt."""

import asyncio
import time
from collections.abc import Callable

from sandbox_client._breaker import BreakerState
from sandbox_client._config import BreakerPolicy
from sandbox_client._endpoint import Endpoint


class Balancer:
    """Picks the endpoint with the fewest attempts outstanding; among equals, the one that waited longest for its turn.

    Least outstanding and not round robin: an endpoint that slows down gets less, and one that stands still nothing.
    Only endpoints whose breaker is closed are picked.
    """

    def __init__(self, bases: tuple[str, ...], policy: BreakerPolicy) -> None:
        self.on_change: Callable[[], None] = lambda: None
        """Called when a breaker changed or the list did."""
        self._policy = policy
        self._turn = 0
        self._changed = asyncio.Event()
        self.endpoints: tuple[Endpoint, ...] = ()
        """Those in the list."""
        self.set_endpoints(bases)

    def set_endpoints(self, bases: tuple[str, ...]) -> None:
        """Replace the list. Endpoints that stay keep their state."""
        known = {endpoint.base: endpoint for endpoint in self.endpoints}
        self.endpoints = tuple(known.get(base) or Endpoint(base, self._policy, self._announce) for base in bases)
        for base in known.keys() - set(bases):
            known[base].removed = True
        self._announce()

    def choose(self, avoid: Endpoint | None = None) -> Endpoint | None:
        """The endpoint for one attempt, None when no breaker is closed.

        `avoid`, the one that just failed, and those that asked to be left alone, only when there is no other.
        """
        now = time.monotonic()
        best, best_rank = None, None
        for endpoint in self.endpoints:
            if endpoint.breaker.state is BreakerState.CLOSED:
                unwanted = endpoint is avoid or endpoint.busy_until > now
                rank = (unwanted, endpoint.outstanding, endpoint.last_turn)
                if best_rank is None or rank < best_rank:
                    best, best_rank = endpoint, rank
        if best is not None:
            self._turn += 1
            best.last_turn = self._turn
        return best

    def has_another(self, than: Endpoint | None) -> bool:
        """Whether an endpoint other than `than` wants calls now."""
        now = time.monotonic()
        return any(
            endpoint is not than and endpoint.breaker.state is BreakerState.CLOSED and endpoint.busy_until <= now
            for endpoint in self.endpoints
        )

    async def wait(self, seconds: float, avoid: Endpoint | None = None) -> Endpoint | None:
        """The endpoint for one attempt as soon as a breaker is closed, None when none is for `seconds`."""
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                while (endpoint := self.choose(avoid)) is None:
                    self._changed.clear()
                    await self._changed.wait()
                return endpoint
        except TimeoutError:
            return None

    def _announce(self) -> None:
        self._changed.set()
        self.on_change()
