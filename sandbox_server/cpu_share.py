"""What a program of many running tasks gets of the processors: about what a program of one gets.

The kernel shares a busy machine out among tasks, so that a program with fifty of them slows its neighbours down by as
much. Each worker's keeper therefore looks at what runs below the worker and makes many tasks less important, so that
their weights together are one task's. On an idle machine they still have all of it. Control groups would do this in
the kernel, but a container rarely lets anyone make one.

Where the kernel shares out among sessions first (autogroup), a worker's programs are in one, and can make no other.
"""

import math
import os
import select
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

INTERVAL = 0.1
"""Seconds between two looks."""

_WEIGHT_RATIO = 1.25
"""Of two niceness values in a row, in the kernel's table of weights."""
_MOST = 19
_MOST_BYTES = 1 << 16
"""Of a file in /proc; the numbers of a program's processes, of which there are some hundreds at most."""


@dataclass(frozen=True)
class _Task:
    """A thread of a program."""

    tid: int
    runs: bool
    """Whether it has a processor or waits for one."""
    niceness: int


def keep(worker: int, uid: int | None, proc: int) -> None:
    """Share out what `worker`, a child of this process, runs, until it has ended; then reap it.

    Args:
        worker: its process.
        uid: the user of its programs; None for this process's own.
        proc: a descriptor of /proc, opened before the worker put another in its place.
    """
    end = select.poll()
    end.register(os.pidfd_open(worker), select.POLLIN)
    while not end.poll(INTERVAL * 1000):
        balance(worker, uid, proc)
    os.waitpid(worker, 0)


def balance(worker: int, uid: int | None, proc: int) -> None:
    """Make what runs below the process `worker` together as important as one task; arguments as for `keep`."""
    running = [task for task in _tasks_below(worker, proc) if task.runs]
    if len(running) < 2:
        return
    wanted = min(_MOST, os.getpriority(os.PRIO_PROCESS, worker) + niceness(len(running)))
    # No task gets importance back, for which a privilege would be needed.
    with _as_user(uid):
        for task in running:
            if task.niceness < wanted:
                with suppress(ProcessLookupError):  # it has ended
                    os.setpriority(os.PRIO_PROCESS, task.tid, wanted)


@contextmanager
def _as_user(uid: int | None) -> Iterator[None]:
    """Whose tasks may be made less important without CAP_SYS_NICE, which root has not in most containers."""
    if uid is None:
        yield
        return
    own = os.geteuid()
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(own)


def niceness(running: int) -> int:
    """How much more of it makes so many tasks weigh no more than one."""
    return min(_MOST, math.ceil(math.log(running, _WEIGHT_RATIO)))


def _tasks_below(worker: int, proc: int) -> Iterator[_Task]:
    """All threads of the processes that `worker` started; an orphan is a child of the worker by then."""
    parents = [worker]
    for parent in parents:
        for thread in _listed(f"{parent}/task", proc):
            if parent != worker and (fields := _stat(f"{parent}/task/{thread}/stat", proc)):
                yield _Task(int(thread), fields[0] == b"R", int(fields[16]))
            # Empty where the kernel was built without it (CONFIG_PROC_CHILDREN), which distributions' are not.
            parents += map(int, _read(f"{parent}/task/{thread}/children", proc).split())


def _stat(path: str, proc: int) -> list[bytes]:
    # The name, in parentheses, may hold anything.
    return _read(path, proc).rpartition(b")")[2].split()


def _listed(path: str, proc: int) -> list[str]:
    with suppress(FileNotFoundError, ProcessLookupError), _opened(path, proc) as folder:
        return os.listdir(folder)
    return []


def _read(path: str, proc: int) -> bytes:
    with suppress(FileNotFoundError, ProcessLookupError), _opened(path, proc) as file:
        return os.read(file, _MOST_BYTES)
    return b""


@contextmanager
def _opened(path: str, proc: int) -> Iterator[int]:
    file = os.open(path, os.O_RDONLY, dir_fd=proc)
    try:
        yield file
    finally:
        os.close(file)
