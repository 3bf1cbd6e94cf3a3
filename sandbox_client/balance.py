"""Which endpoint gets the next attempt."""

from collections.abc import Iterator
from contextlib import contextmanager


class Balancer:
    """Picks the endpoint with the fewest attempts outstanding; among equals, the one that waited longest for its turn.

    Least outstanding and not round robin: an endpoint that slows down gets less, and one that stands still nothing.
    """

    def __init__(self, endpoints: tuple[str, ...]) -> None:
        self._outstanding = dict.fromkeys(endpoints, 0)
        self._last_turn = dict.fromkeys(endpoints, 0)
        self._turn = 0

    @contextmanager
    def lease(self, avoid: str | None = None) -> Iterator[str]:
        """An endpoint for one attempt; `avoid`, the one that just failed, only when there is no other."""
        usable = [endpoint for endpoint in self._outstanding if endpoint != avoid] or list(self._outstanding)
        endpoint = min(usable, key=lambda one: (self._outstanding[one], self._last_turn[one]))
        self._turn += 1
        self._last_turn[endpoint] = self._turn
        self._outstanding[endpoint] += 1
        try:
            yield endpoint
        finally:
            self._outstanding[endpoint] -= 1
