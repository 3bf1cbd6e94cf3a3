"""One HTTP exchange under way."""

import asyncio
import contextvars
from types import TracebackType
from typing import Self

from sandbox_client.scope import Scope

_CONTEXT = contextvars.Context()  # for timers, which need none of their own


class Exchange(Scope):
    """The time that an exchange may take, and what is known of it. Entered by whoever makes it."""

    __slots__ = ("_timer", "connect", "seconds", "timed_out")

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        """How long it may take."""
        self.connect = 0.0
        """Seconds that it took to get a connection."""
        self.timed_out = False
        """Whether the time was used up."""

    def __enter__(self) -> Self:
        super().__enter__()
        self._timer = asyncio.get_running_loop().call_later(self.seconds, self._expire, context=_CONTEXT)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        super().__exit__(kind, error, traceback)

    def _expire(self) -> None:
        if self.interrupted is None:
            self.timed_out = True
            self.interrupt(f"no answer in {self.seconds:.1f} s")
