"""How important the tasks of a program are, by their number."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sandbox_server.cpu_share import balance, keep, niceness

# Children that compute, one of them by two threads, and one that sleeps; it prints their numbers.
CROWD = """
import os, sys, threading, time
def spin():
    while True: pass
for number in range(int(sys.argv[1])):
    if (pid := os.fork()) == 0:
        if number == 2: threading.Thread(target=spin).start()
        if number: spin()
        time.sleep(60)
    print(pid, end=" ")
print(flush=True)
os.wait()
"""


@pytest.fixture
def proc() -> Iterator[int]:
    """A descriptor of /proc."""
    folder = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
    yield folder
    os.close(folder)


def test_many_weigh_what_one_weighs() -> None:
    """By the kernel's weights: 1024 for niceness 0, and 1.25 times less for each further one."""
    assert [niceness(count) for count in (1, 2, 3, 10, 50, 64, 1000)] == [0, 4, 5, 11, 18, 19, 19]
    weights = [1024, 820, 655, 526, 423, 335, 272, 215, 172, 137, 110, 87, 70, 56, 45, 36, 29, 23, 18, 15]
    for count in range(2, 70):
        assert count * weights[niceness(count)] <= 1.03 * 1024, count
        assert niceness(count) == 19 or count * weights[niceness(count) - 1] > 1024, count


@contextmanager
def crowd(count: int) -> Iterator[tuple[int, list[int]]]:
    """A stand-in for a worker, and its children that have begun to run."""
    worker = subprocess.Popen([sys.executable, "-c", CROWD, str(count)], stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert worker.stdout is not None
        yield worker.pid, [*map(int, worker.stdout.readline().split())]
    finally:
        os.killpg(worker.pid, 9)
        worker.wait()


def test_tasks_that_run_give_way_and_others_do_not(proc: int) -> None:
    """Threads count; a child that sleeps and the worker itself stay as they are, and looking again changes nothing."""
    own = os.getpriority(os.PRIO_PROCESS, 0)
    with crowd(4) as (worker, (sleeper, *spinning)):
        until = time.monotonic() + 20
        while len(os.listdir(f"/proc/{spinning[1]}/task")) < 2 and time.monotonic() < until:
            time.sleep(0.01)
        # A thread that waits for the interpreter's lock does not run at that moment, and may not for several looks.
        expected = {min(19, own + niceness(count)) for count in (2, 3, 4)}
        for _ in range(100):
            balance(worker, None, proc)
            threads = {os.getpriority(os.PRIO_PROCESS, int(tid)) for tid in os.listdir(f"/proc/{spinning[1]}/task")}
            if threads & expected:
                break
            time.sleep(0.01)
        assert threads & expected
        alone = {os.getpriority(os.PRIO_PROCESS, pid) for pid in (spinning[0], spinning[2])}
        assert alone <= expected
        assert [os.getpriority(os.PRIO_PROCESS, pid) for pid in (sleeper, worker)] == [own, own]


def test_one_task_stays_as_important_as_it_is(proc: int) -> None:
    """However long it runs."""
    with crowd(2) as (worker, (_, spinning)):
        time.sleep(0.3)  # until the other one sleeps
        balance(worker, None, proc)
        assert os.getpriority(os.PRIO_PROCESS, spinning) == os.getpriority(os.PRIO_PROCESS, worker)


def test_keeping_ends_with_the_worker(proc: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """And reaps it; what it looks at meanwhile may end at any moment."""
    looks = []
    monkeypatch.setattr("sandbox_server.cpu_share.INTERVAL", 0.01)
    monkeypatch.setattr("sandbox_server.cpu_share.balance", lambda *arguments: looks.append(arguments))
    worker = subprocess.Popen(["sleep", "0.3"])
    keep(worker.pid, 7, 8)
    with pytest.raises(ChildProcessError):
        os.waitpid(worker.pid, os.WNOHANG)
    worker.returncode = 0
    assert set(looks) == {(worker.pid, 7, 8)}
    balance(worker.pid, None, proc)
