"""The server under a low limit of open files, and against callers who connect and say nothing, or little."""

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zlib
from pathlib import Path

from sandbox_server import ServerConfig, worker_factory
from sandbox_server.connections import Connections
from sandbox_server.frames import Job
from sandbox_server.isolation import IsolationPolicy
from sandbox_server.launcher import server_arguments
from sandbox_server.pool import WorkerPool

BARE = ServerConfig(port=0, workers=1, preload=(), isolation=IsolationPolicy.BEST_EFFORT)
ROOT = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def limited_server(descriptors):
    """A server that may have so many files open; yields its process and its endpoint."""
    read, write = os.pipe()
    command = f'ulimit -n {descriptors}; exec "$0" "$@"'
    server = ["-m", "sandbox_server", *server_arguments(BARE), "--announce-fd", str(write), "--exit-on-stdin-eof"]
    process = subprocess.Popen(
        ["bash", "-c", command, sys.executable, *server],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=(write,),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    os.close(write)
    with open(read) as announced:
        endpoint = announced.readline().strip()
    try:
        yield process, endpoint
    finally:
        process.stdin.close()
        process.stderr.close()
        process.wait(20)


def get(endpoint, path, data=None):
    try:
        with urllib.request.urlopen(endpoint + path, data, timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refusal:
        return refusal.code, json.load(refusal)


def post(endpoint, code):
    return get(endpoint, "/run_code", json.dumps({"code": code, "language": "python"}).encode())


def worker_of(pid):
    """The process that has no child, below the newest child of `pid`: an idle worker."""
    while True:
        with open(f"/proc/{pid}/task/{pid}/children") as listing:
            children = listing.read().split()
        if not children:
            return pid
        pid = int(children[-1])


BEGINNINGS = (
    b"",
    b"POST /run",
    b"POST /run_code HTTP/1.1\r\nHost: x\r\nX: ",
    b"POST /run_code HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{",
    b"POST /run_code HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n{",
)


def test_idle_connections_cost_no_worker_and_no_call():
    """With more connections than descriptors, a worker that dies is replaced, and callers are answered."""
    with limited_server(64) as (process, endpoint), contextlib.ExitStack() as connections:
        host, port = endpoint.removeprefix("http://").split(":")
        for number in range(80):
            caller = connections.enter_context(socket.create_connection((host, int(port))))
            caller.sendall(BEGINNINGS[number % len(BEGINNINGS)])
        time.sleep(0.3)
        os.kill(worker_of(process.pid), signal.SIGKILL)
        time.sleep(0.5)
        for number in range(5):
            status, body = post(endpoint, f"print({number})")
            assert (status, body["run_result"]["stdout"]) == (200, f"{number}\n")
        assert get(endpoint, "/v1/ping") == (200, "pong")
        assert len(os.listdir(f"/proc/{process.pid}/fd")) < 64


def request_with(body, *headers):
    return "\r\n".join(["POST /run_code HTTP/1.1", "Host: x", *headers]).encode() + b"\r\n\r\n" + body


def test_a_compressed_body_is_not_taken():
    """A gigabyte in a megabyte is refused in no time, and nobody waits for it."""
    squeezer = zlib.compressobj(9, wbits=31)
    zeros = b"0" * (1 << 20)
    body = b"".join([squeezer.compress(zeros) for _ in range(1024)]) + squeezer.flush()
    with limited_server(256) as (_, endpoint):
        host, port = endpoint.removeprefix("http://").split(":")
        for _ in range(4):
            with socket.create_connection((host, int(port)), timeout=10) as caller:
                caller.sendall(request_with(body, "Content-Encoding: gzip", f"Content-Length: {len(body)}"))
                assert caller.recv(1000).startswith(b"HTTP/1.1 415 ")
        started = time.monotonic()
        assert get(endpoint, "/v1/ping") == (200, "pong")
        assert time.monotonic() - started < 1.0


def test_malformed_requests_are_the_callers_errors():
    """What is not HTTP is a 4xx or a closed connection, and leaves no line in the log, for strangers could fill it."""
    chance = random.Random(3)
    body = json.dumps({"code": "print(1)", "language": "python"}).encode()
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    seeds = [request_with(body, f"Content-Length: {len(body)}"), request_with(chunked, "Transfer-Encoding: chunked")]
    heads = []
    with limited_server(256) as (process, endpoint):
        host, port = endpoint.removeprefix("http://").split(":")
        for number in range(200):
            text = bytearray(seeds[number % 2])
            at = chance.randrange(len(text))
            text[at : at + chance.randint(0, 8)] = chance.randbytes(chance.randint(0, 8))
            with socket.create_connection((host, int(port)), timeout=0.3) as caller, contextlib.suppress(OSError):
                caller.sendall(text)
                caller.shutdown(socket.SHUT_WR)
                heads.append(caller.recv(1000).partition(b"\r\n")[0])
        assert post(endpoint, "print(3)")[1]["run_result"]["stdout"] == "3\n"
        assert not [head for head in heads if b" 500 " in head]
        process.stdin.close()
        process.wait(20)
        assert b"Traceback" not in process.stderr.read()


def test_a_limit_that_leaves_no_connection_is_said_at_the_start():
    """A server that could answer nobody does not start, and says what to raise."""
    with limited_server(24) as (process, endpoint):
        assert endpoint == ""
        assert "ulimit -n" in process.stderr.read().decode()


def test_a_program_that_waits_keeps_its_connection():
    """Connections that say nothing do not push out those whose programs run."""
    with limited_server(64) as (_, endpoint), contextlib.ExitStack() as connections:
        host, port = endpoint.removeprefix("http://").split(":")
        caller = connections.enter_context(socket.create_connection((host, int(port))))
        body = json.dumps({"code": "import time\ntime.sleep(1)\nprint('kept')", "language": "python"}).encode()
        caller.sendall(b"POST /run_code HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        time.sleep(0.2)
        for _ in range(80):
            connections.enter_context(socket.create_connection((host, int(port))))
        caller.settimeout(10)
        answer = b""
        while b"kept" not in answer:
            part = caller.recv(65536)
            assert part, answer
            answer += part


async def test_a_worker_is_replaced_when_the_machine_has_room_again(monkeypatch):
    """Two refusals of a descriptor put the replacement off, and do not end it."""
    pool = WorkerPool(BARE)
    await pool.start()
    refusals = [OSError(24, "Too many open files"), OSError(24, "Too many open files")]
    real = worker_factory.socket.socketpair

    def socketpair(*arguments):
        if refusals:
            raise refusals.pop()
        return real(*arguments)

    monkeypatch.setattr(worker_factory.socket, "socketpair", socketpair)
    try:
        os.kill(worker_of(os.getpid()), signal.SIGKILL)
        await asyncio.sleep(0.1)
        report = await asyncio.wait_for(pool.run(Job("print(1)", 5.0, 256)), 10)
        assert (report.stdout, refusals, pool.replaced) == ("1\n", [], 1)
    finally:
        await pool.close()


async def test_a_ping_replaces_a_dead_worker():
    """A worker that died while idle is replaced although no call comes, for a proxy sends none when pings fail."""
    pool = WorkerPool(BARE)
    await pool.start()
    try:
        os.kill(worker_of(os.getpid()), signal.SIGKILL)
        await asyncio.sleep(0.2)
        pool.replace_dead()
        assert pool.alive == 0
        async with asyncio.timeout(10):
            while pool.alive == 0:
                await asyncio.sleep(0.02)
    finally:
        await pool.close()


class _Silent(asyncio.Protocol):
    pass


class _Wire(asyncio.Transport):
    def __init__(self):
        super().__init__()
        self.aborted = False

    def abort(self):
        self.aborted = True


def test_the_longest_wait_goes_first_and_work_never():
    """Beyond the limit the connection that has waited longest is closed; if all others work, it is the new one."""
    now = [0.0]
    connections = Connections(clock=lambda: now[0])
    connections.most = 2
    make = connections.guard(_Silent)
    wires = [_Wire() for _ in range(5)]

    def connect(wire):
        now[0] += 1.0
        protocol = make()
        protocol.connection_made(wire)
        return protocol

    first = connect(wires[0])
    connect(wires[1])
    now[0] += 1.0
    first.data_received(b"G")
    connect(wires[2])
    assert [wire.aborted for wire in wires] == [False, True, False, False, False]
    connections.set_working(wires[0], True)
    connections.set_working(wires[2], True)
    connect(wires[3])
    assert [wire.aborted for wire in wires] == [False, True, False, True, False]
    connections.set_working(wires[0], False)
    connect(wires[4])
    assert [wire.aborted for wire in wires] == [True, True, False, True, False]
