"""The memory of a program's whole tree, which no resource limit of the kernel bounds: those count one process each."""

import time

from sandbox_server import processes

GUARD_INTERVAL = 0.05
"""Seconds between two looks. Processes take memory at a few GiB per second and core, so this is the overshoot."""


class MemoryGuard:
    """Tells when the processes of the running program have more memory together than one of them may have.

    Control groups would do this in the kernel, but a container rarely lets anyone make one.
    """

    def __init__(self, limit_bytes: int, own_namespace: bool) -> None:
        """`own_namespace`: whether this process is pid 1 of a namespace that holds nothing but the program."""
        self._limit = limit_bytes
        self._own_namespace = own_namespace
        self._next_walk = 0.0

    def exceeded(self) -> bool:
        """Whether there is more now. A program of one process costs one look at /proc: its own limit binds it."""
        pids = processes.descendants(self._own_namespace)
        if len(pids) < 2 or processes.resident_bytes(pids) <= self._limit:
            return False
        # The resident sizes count a page that forks share once for each of them. The exact figure takes the kernel a
        # walk through every page table: only those who may be above the limit cause it, for a quarter of the time.
        started = time.monotonic()
        if started < self._next_walk:
            return False
        exact = processes.proportional_bytes(pids)
        ended = time.monotonic()
        self._next_walk = ended + 3 * (ended - started)
        return exact > self._limit
