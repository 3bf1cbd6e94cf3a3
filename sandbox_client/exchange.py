"""One HTTP exchange under way."""

import time

from sandbox_client.scope import Scope


class Exchange(Scope):
    """The time that an exchange may take, from when it is made, and what is known of it."""

    __slots__ = ("began", "connect", "seconds", "timed_out")

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        """How long it may take."""
        self.began = time.monotonic()
        """When it was made."""
        self.connect = 0.0
        """Seconds that it took to get a connection; 0 when there was an open one."""
        self.timed_out = False
        """Whether the time was used up."""

    @property
    def deadline(self) -> float:
        """When its time is over."""
        return self.began + self.seconds

    def expire(self) -> None:
        """End it because its time is over."""
        if self.interrupted is None:
            self.timed_out = True
            self.interrupt(f"no answer in {self.seconds:.1f} s")
