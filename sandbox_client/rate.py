"""How many calls may begin per second."""

_BURST_SECONDS = 0.1


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
