"""How soon a caller who was turned away should come back."""

import math
import time
from collections import deque
from collections.abc import Callable

_REMEMBERED = 64  # ends of programs; enough to even out long and short ones, few enough to follow a change
_UNKNOWN = 10.0  # seconds that a program is taken to run while none has ended yet
_LONGEST = 30


class Pace:
    """The rate at which programs end, from the last of them."""

    def __init__(self, workers: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: seconds, for tests."""
        self._workers = workers
        self._clock = clock
        self._ends: deque[float] = deque(maxlen=_REMEMBERED)

    def ended(self) -> None:
        """A program has ended."""
        self._ends.append(self._clock())

    def retry_after(self, waiting: int) -> int:
        """Whole seconds, 1 to 30, until `waiting` calls will have had their turn."""
        if self._ends:
            # Up to now and not to the last end, so that a server that stands still is seen to.
            seconds_each = max(self._clock() - self._ends[0], 1e-3) / max(1, len(self._ends) - 1)
        else:
            seconds_each = _UNKNOWN / self._workers
        return min(_LONGEST, max(1, math.ceil(waiting * seconds_each)))
