"""When an endpoint gets no more calls. A pure state machine: the time, and what is random, are passed in.

    CLOSED     every attempt is let through. Faults in a row, or a share of faults over a window of time, open it.
    OPEN       none is, until the cool-down is over.
    HALF_OPEN  still none; exactly one probe runs. Its success closes the breaker, its fault opens it for twice as long.

An attempt that ends while the breaker is not closed began before it opened and says nothing new: it is ignored. The
cool-down stays long over a probe's success, and starts anew only after a call's: a server that passes probes and fails
calls is left alone for longer and longer.
"""

from collections import deque
from enum import StrEnum

from sandbox_client._config import BreakerPolicy

_SLICES = 10  # of a window; what is older than the window is forgotten a slice at a time


class BreakerState(StrEnum):
    """What a breaker lets through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """One endpoint's breaker. `now` is in seconds on any clock that does not go back, `draw` a number in [0, 1)."""

    def __init__(self, policy: BreakerPolicy) -> None:
        self.state = BreakerState.CLOSED
        """What is let through now."""
        self.probe_at = 0.0
        """The time from which an open breaker wants a probe."""
        self._policy = policy
        self._in_a_row = 0
        self._openings = 0
        self._window = _Window(policy.window)

    def succeeded(self, now: float) -> None:
        """An attempt brought a result."""
        if self.state is BreakerState.CLOSED:
            self._in_a_row = self._openings = 0
            self._window.add(now, fault=False)

    def faulted(self, now: float, draw: float) -> str | None:
        """An attempt ended in a fault that blames the endpoint. Returns why the breaker opened, if it did."""
        if self.state is not BreakerState.CLOSED:
            return None
        self._in_a_row += 1
        self._window.add(now, fault=True)
        if self._in_a_row >= self._policy.consecutive_faults:
            why = f"{self._in_a_row} faults in a row"
        elif self._too_many_faults():
            why = f"{self._window.faults} faults in {self._window.attempts} attempts"
        else:
            return None
        self._open(now, draw)
        return why

    def trip(self, now: float, draw: float) -> None:
        """Open a closed breaker whatever the counts say."""
        if self.state is BreakerState.CLOSED:
            self._open(now, draw)

    def begin_probe(self, now: float) -> bool:
        """Whether a probe may begin: the cool-down is over, and no other probe runs."""
        if self.state is not BreakerState.OPEN or now < self.probe_at:
            return False
        self.state = BreakerState.HALF_OPEN
        return True

    def probe_succeeded(self) -> None:
        """The probe's program ran."""
        if self.state is BreakerState.HALF_OPEN:
            self.state = BreakerState.CLOSED
            self._in_a_row = 0
            self._window = _Window(self._policy.window)

    def probe_failed(self, now: float, draw: float, *, lengthen: bool = True) -> None:
        """The probe did not run. `lengthen` doubles the cool-down."""
        if self.state is BreakerState.HALF_OPEN:
            if not lengthen:
                self._openings -= 1
            self._open(now, draw)

    def _too_many_faults(self) -> bool:
        attempts = self._window.attempts
        return attempts >= self._policy.minimum_attempts and self._window.faults >= self._policy.error_rate * attempts

    def _open(self, now: float, draw: float) -> None:
        policy = self._policy
        # The bound on the exponent keeps the power finite in an outage of days.
        cool_down = min(policy.cool_down_max, policy.cool_down * 2.0 ** min(self._openings, 60))
        self.state = BreakerState.OPEN
        self.probe_at = now + cool_down * (1.0 + policy.cool_down_jitter * draw)
        self._openings += 1


class _Window:
    """Attempts and faults of the last `seconds`, exact to a tenth of them."""

    def __init__(self, seconds: float) -> None:
        self._slice = seconds / _SLICES
        self._slices: deque[list[float]] = deque()  # of [number of the slice, attempts, faults]
        self.attempts = 0
        self.faults = 0

    def add(self, now: float, *, fault: bool) -> None:
        number = now // self._slice
        slices = self._slices
        if not slices or slices[-1][0] != number:
            slices.append([number, 0, 0])
            while slices[0][0] <= number - _SLICES:
                _, attempts, faults = slices.popleft()
                self.attempts -= int(attempts)
                self.faults -= int(faults)
        slices[-1][1] += 1
        slices[-1][2] += fault
        self.attempts += 1
        self.faults += fault
