"""For tests of what must end: an alarm, where a measured time would depend on what else the machine does."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

FOR_EVER = 20.0
"""Seconds, where what ends needs milliseconds, and what goes back and forth exponentially years."""


class TakesForEver(Exception):
    pass


@contextmanager
def guarded() -> Iterator[None]:
    """Raises TakesForEver in what is inside; Python's patterns look for signals while they match."""

    def stop(*_: Any) -> None:
        raise TakesForEver

    former = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, FOR_EVER)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)
