"""How the embedded server starts, fills up and ends, and that nothing outlives it."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox_client import ExecutionStatus, RetryPolicy, SandboxClient, SandboxOverloaded, Timeouts
from sandbox_server import EmbeddedSandbox, SandboxStartError, ServerConfig

BARE = ServerConfig(port=0, workers=1, preload=(), shutdown_grace=0.5, drain_seconds=0.5)
ROOT = Path(__file__).resolve().parents[2]
PATIENT = RetryPolicy(attempts=30, total_timeout=20.0, wait_initial=0.05, wait_max=0.3, wait_jitter=0.1)
ONCE = RetryPolicy(attempts=1, total_timeout=20.0)
TIMEOUTS = Timeouts(total=20.0, margin=1.0)


async def call(endpoint, *programs, retry=PATIENT, run_timeout=10.0):
    """The executions, or faults, of `programs` sent at once."""
    async with SandboxClient([endpoint], retry=retry, timeouts=TIMEOUTS) as client:
        calls = (client.run_code(code, run_timeout=run_timeout) for code in programs)
        return await asyncio.gather(*calls, return_exceptions=True), client.stats


def post(endpoint, code):
    """Status of a call and its decoded body, or the headers of its refusal."""
    return get(endpoint, "/run_code", json.dumps({"code": code, "language": "python"}).encode())


def get(endpoint, path, data=None):
    try:
        with urllib.request.urlopen(endpoint + path, data, timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refusal:
        refusal.close()
        return refusal.code, refusal.headers


def descendants(pid):
    with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{pid}/children") as listing:
        below = [int(child) for child in listing.read().split()]
        return below + [lower for child in below for lower in descendants(child)]
    return []


def running(pids):
    """Those of `pids` that still run; a zombie that nobody reaps does not."""
    found = []
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as stat:
            if stat.read().rpartition(")")[2].split()[0] not in "ZX":
                found.append(pid)
    return found


def scratch_roots(pids):
    """The scratch root in the command line of each zygote among `pids`."""
    roots = set()
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline") as line:
            roots |= {Path(word) for word in line.read().split("\0") if "verl-tir-sandbox-" in word}
    return roots


def eventually(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


@contextlib.contextmanager
def busy_server(config=BARE):
    """A server that runs a long program with a child of its own; yields it, its processes and its scratch roots."""
    with EmbeddedSandbox(config) as sandbox:
        program = "import subprocess\nsubprocess.run(['sleep', '60'])"
        calls = call(sandbox.endpoint, program, retry=ONCE)
        threading.Thread(target=asyncio.run, args=(calls,), daemon=True).start()
        # zygote, keeper, worker, program, sleep
        assert eventually(lambda: len(running(descendants(sandbox.pid))) == 5)
        processes = [sandbox.pid, *descendants(sandbox.pid)]
        yield sandbox, processes, scratch_roots(processes)


def test_closing_leaves_nothing():
    """After close() no process and no directory of the server is left, although a program was running."""
    with busy_server() as (sandbox, processes, roots):
        assert len(roots) == 1
        sandbox.close()
        assert not running(processes)
        assert not [root for root in roots if root.exists()]
        with pytest.raises(RuntimeError, match="not running"):
            _ = sandbox.endpoint


def test_sigterm_ends_the_server_in_order():
    """SIGTERM gives exit status 0 and leaves nothing."""
    with busy_server() as (sandbox, processes, roots):
        os.kill(sandbox.pid, signal.SIGTERM)
        assert sandbox._process.wait(10) == 0
        assert not running(processes)
        assert not [root for root in roots if root.exists()]


def test_a_killed_server_leaves_nothing():
    """Even when the server is killed outright, its processes end and its directory goes."""
    with busy_server() as (sandbox, processes, roots):
        os.kill(sandbox.pid, signal.SIGKILL)
        assert eventually(lambda: not running(processes))
        assert eventually(lambda: not [root for root in roots if root.exists()])


def test_the_server_dies_with_its_parent():
    """A parent that is killed takes the server along, without having closed it."""
    code = (
        "import time\nfrom sandbox_server import EmbeddedSandbox, ServerConfig\n"
        "sandbox = EmbeddedSandbox(ServerConfig(port=0, workers=1, preload=()))\nsandbox.start()\n"
        "print(sandbox.pid, flush=True)\ntime.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT, text=True)
    with parent:
        server = int(parent.stdout.readline())
        processes = [server, *descendants(server)]
        assert len(running(processes)) >= 4  # server, zygote, keeper, worker
        parent.kill()
    assert eventually(lambda: not running(processes))


async def test_a_running_program_may_finish_within_the_grace():
    """Shutting down does not throw away a result that is about to come."""
    with EmbeddedSandbox(BARE) as sandbox:
        async with SandboxClient([sandbox.endpoint], retry=ONCE, timeouts=TIMEOUTS) as client:
            call = asyncio.create_task(client.run_code("import time; time.sleep(0.4); print(1)", run_timeout=5.0))
            await asyncio.sleep(0.2)
            os.kill(sandbox.pid, signal.SIGTERM)
            assert (await call).stdout == "1\n"


async def test_a_full_queue_is_overload_and_passes():
    """With the queue full, calls are turned away with 429; a client that comes back gets them done."""
    config = ServerConfig(port=0, workers=1, queue_size=1, preload=())
    programs = ["import time; time.sleep(0.2); print(1)"] * 6
    with EmbeddedSandbox(config) as sandbox:
        outcomes, stats = await call(sandbox.endpoint, *programs, retry=ONCE)
        turned_away = [outcome for outcome in outcomes if isinstance(outcome, SandboxOverloaded)]
        assert (len(turned_away), stats.faults["overloaded"], stats.success) == (4, 4, 2)
        assert all(1.0 <= fault.retry_after <= 30.0 for fault in turned_away)
        outcomes, stats = await call(sandbox.endpoint, *programs)
    assert [outcome.status for outcome in outcomes] == [ExecutionStatus.SUCCESS] * 6
    assert stats.retries == stats.faults["overloaded"] > 0


def test_a_server_that_cannot_start_says_why():
    """The launcher's error carries the server's own words, and comes without delay."""
    started = time.monotonic()
    with pytest.raises(SandboxStartError, match=r"(?s)exit status 1.*cannot preload 'no_such_module'.*--preload"):
        EmbeddedSandbox(ServerConfig(port=0, workers=1, preload=("no_such_module",))).start()
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SandboxStartError, match="address already in use"):
            EmbeddedSandbox(ServerConfig(port=port, workers=1, preload=())).start()
    assert time.monotonic() - started < 15.0


def test_a_server_that_takes_too_long_is_ended():
    """The launcher gives up in its time and leaves no process behind."""
    sandbox = EmbeddedSandbox(BARE, start_timeout=0.05)
    before = set(descendants(os.getpid()))
    with pytest.raises(SandboxStartError, match=r"within 0.05 s"):
        sandbox.start()
    assert eventually(lambda: not set(running(descendants(os.getpid()))) - before)


def test_sigterm_lets_programs_finish_and_takes_no_new_ones():
    """While a server drains, what runs and what waits is answered, and the rest, pings too, gets 503 and a hint."""
    config = replace(BARE, drain_seconds=20.0)
    with EmbeddedSandbox(config) as sandbox, ThreadPoolExecutor(2) as callers:
        program = "import time; time.sleep(0.7); print(1)"
        calls = [callers.submit(post, sandbox.endpoint, program) for _ in range(2)]
        time.sleep(0.3)
        os.kill(sandbox.pid, signal.SIGTERM)
        time.sleep(0.1)
        refused, hint = post(sandbox.endpoint, "print(2)")
        pinged, _ = get(sandbox.endpoint, "/v1/ping")
        assert (refused, pinged) == (503, 503)
        assert 1 <= int(hint["Retry-After"]) <= 20
        answers = [call.result() for call in calls]
        assert [(status, body["run_result"]["stdout"]) for status, body in answers] == [(200, "1\n")] * 2
        assert sandbox._process.wait(10) == 0


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_server_at_once(second):
    """Somebody in a hurry need not wait for the programs, and nothing is left behind all the same."""
    with busy_server(replace(BARE, drain_seconds=60.0)) as (sandbox, processes, roots):
        os.kill(sandbox.pid, signal.SIGTERM)
        time.sleep(0.3)
        assert sandbox._process.poll() is None
        os.kill(sandbox.pid, second)
        assert sandbox._process.wait(5) == 0
        assert not running(processes)
        assert not [root for root in roots if root.exists()]


def test_draining_ends_after_its_time():
    """A program that runs on does not keep the server: its call is told of a fault of the sandbox."""
    with busy_server(replace(BARE, drain_seconds=0.5)) as (sandbox, processes, _):
        started = time.monotonic()
        os.kill(sandbox.pid, signal.SIGTERM)
        assert sandbox._process.wait(5) == 0
        assert time.monotonic() - started >= 0.4
        assert not running(processes)


@pytest.mark.parametrize("run_timeout", [0, -1, 19.5, float("nan")])
async def test_run_timeouts_that_leave_no_margin_are_refused(run_timeout):
    """A program whose time limit the client could not await is refused before it is sent."""
    (outcome,), stats = await call("http://127.0.0.1:9", "print(1)", run_timeout=run_timeout)
    assert isinstance(outcome, ValueError)
    assert "run_timeout" in str(outcome)
    assert stats.calls == 0


async def test_a_client_that_is_not_open_says_so():
    """Forgetting `async with` is told in these words."""
    with pytest.raises(RuntimeError, match="async with"):
        await SandboxClient(["http://127.0.0.1:9"]).run_code("print(1)", run_timeout=1.0)
