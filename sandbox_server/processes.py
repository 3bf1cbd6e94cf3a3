"""The processes that a program started, however they hid: finding, measuring and ending them."""

import contextlib
import functools
import os
import resource
import signal
import socket
import time

_PATIENCE = 5.0  # seconds; only a process stuck in the kernel takes more than a few milliseconds to die
_PAUSE = 0.001

GUARD_INTERVAL = 0.05
"""Seconds between two looks. Processes take memory at a few GiB per second and core, so this is the overshoot."""


def kill_all(own_namespace: bool, patience: float = _PATIENCE) -> None:
    """Kill and reap all descendants of this process, which must be pid 1 of its namespace or a child subreaper.

    Raises TimeoutError (an OSError) when some are still there after `patience` seconds.
    """
    deadline = time.monotonic() + patience
    while not _reap():
        if own_namespace:
            # One system call for the whole namespace: nothing can fork its way out.
            _kill(-1)
        else:
            # Orphans come to this process as their parents die, so the loop reaches every generation.
            for pid in children():
                _kill(-pid)
                _kill(pid)
        if _reap():
            return
        if time.monotonic() > deadline:
            raise TimeoutError("processes of a program survive SIGKILL")
        time.sleep(_PAUSE)


def children() -> tuple[int, ...]:
    """The process ids of this process's children, zombies included."""
    me = os.getpid()
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and _parent(entry) == me:
            found.append(int(entry))
    return tuple(found)


def descendants(own_namespace: bool) -> tuple[int, ...]:
    """The process ids of all that this process started, zombies included, at any depth.

    `own_namespace`: whether this process is pid 1 of its own namespace, with everything in it below this process.
    """
    pids = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
    if own_namespace:
        return tuple(pid for pid in pids if pid != 1)
    parents = {pid: _parent(str(pid)) for pid in pids}
    found, layer = [], {os.getpid()}
    while layer := {pid for pid, parent in parents.items() if parent in layer}:
        found += layer
    return tuple(found)


def resident_bytes(pids: tuple[int, ...]) -> int:
    """The resident sizes of `pids`, added up: an upper bound, for shared pages count more than once."""
    return sum(map(_resident, pids)) * resource.getpagesize()


def proportional_bytes(pids: tuple[int, ...]) -> int:
    """The memory of `pids`, with each shared page divided among those who share it."""
    return sum(map(_proportional, pids))


def _resident(pid: int) -> int:
    """Pages; 0 for a process that has ended."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as statm:
            return int(statm.read().split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _proportional(pid: int) -> int:
    """Bytes; 0 for a process that has ended."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as rollup:
            line = next((line for line in rollup if line.startswith(b"Pss:")), b"Pss: 0 kB")
            return int(line.split()[1]) << 10
    except (FileNotFoundError, ProcessLookupError):
        return 0
    except PermissionError:
        # It made itself undumpable. The upper bound, then: hiding must not pay.
        return _resident(pid) * resource.getpagesize()


def socket_bytes() -> int:
    """What the sockets of this process's network namespace may hold, those that are on their way in a message too."""
    with open("/proc/net/sockstat", "rb") as sockstat:
        return int(sockstat.readline().split()[2]) * _bytes_of_a_socket()


@functools.cache
def _bytes_of_a_socket() -> int:
    # The kernel counts a buffer without a part of what it takes; twice the limit is never passed.
    with socket.socket(socket.AF_UNIX) as one:
        return 2 * one.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)


def _parent(pid: str) -> int | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            # The name, in parentheses, may hold anything; the fields after it are state and parent.
            return int(stat.read().rpartition(b")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _reap() -> bool:
    """Reap what has ended; whether no child is left."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return True
        if pid == 0:
            return False


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
        pids = descendants(self._own_namespace)
        if len(pids) < 2:
            return False
        held = socket_bytes() if self._own_namespace else 0
        if resident_bytes(pids) + held <= self._limit:
            return False
        # The resident sizes count a page that forks share once for each of them. The exact figure takes the kernel a
        # walk through every page table: only those who may be above the limit cause it, for a quarter of the time.
        started = time.monotonic()
        if started < self._next_walk:
            return False
        exact = proportional_bytes(pids) + held
        ended = time.monotonic()
        self._next_walk = ended + 3 * (ended - started)
        return exact > self._limit
