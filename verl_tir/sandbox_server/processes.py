"""Ending every process that a program started, however it hid."""

import contextlib
import os
import signal
import time

_PATIENCE = 5.0  # seconds; only a process stuck in the kernel takes more than a few milliseconds to die
_PAUSE = 0.001


def kill_all(own_namespace: bool) -> None:
    """Kill and reap all descendants of this process, which must be pid 1 of its namespace or a child subreaper.

    Raises TimeoutError (an OSError) when some are still there after five seconds.
    """
    deadline = time.monotonic() + _PATIENCE
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
