"""What the embedded server tells of itself: /metrics, and its log."""

import contextlib
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sandbox_server import EmbeddedSandbox, ServerConfig
from sandbox_server.telemetry import ProgramOutcome, Telemetry

CONFIG = ServerConfig(port=0, workers=1, preload=(), queue_size=0)


def call(url, data=None):
    """Status and body of a request."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data), timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read()


def run(endpoint, code, **options):
    return call(f"{endpoint}/run_code", json.dumps({"code": code, "language": "python", **options}).encode())


def samples(text):
    """Value by name and labels."""
    families = text_string_to_metric_families(text)
    return {(s.name, *sorted(s.labels.items())): s.value for family in families for s in family.samples}


def test_requests_and_programs_are_counted():
    """Requests by path and code, programs by outcome and time, and the state of the queue and of the workers."""
    with EmbeddedSandbox(CONFIG) as sandbox:
        endpoint = sandbox.endpoint  # its start-up trial is the first success
        run(endpoint, "print(1)")
        run(endpoint, "1/0")
        run(endpoint, "import time; time.sleep(9)", run_timeout=0.3)
        run(endpoint, "1", run_timeout=-1)
        call(f"{endpoint}/run_jupyter", b'{"cells": ["1"]}')
        call(f"{endpoint}/{'x' * 50}")
        status, text = call(f"{endpoint}/metrics")
    assert status == 200
    found = samples(text.decode())

    def value(name, **labels):
        return found[("verl_tir_sandbox_" + name, *sorted(labels.items()))]

    assert value("requests_total", path="/run_code", code="200") == 4
    assert value("requests_total", path="/run_code", code="422") == 1
    assert value("requests_total", path="/run_jupyter", code="200") == 1
    assert value("requests_total", path="other", code="404") == 1
    outcomes = {outcome: value("programs_total", outcome=outcome) for outcome in ProgramOutcome}
    assert outcomes == {"success": 3, "failed": 1, "time_limit": 1, "error": 0}
    assert (value("run_seconds_count"), value("queue_seconds_count")) == (5, 5)
    assert 0.3 <= value("run_seconds_sum") < 3.0
    assert 0.0 <= value("queue_seconds_sum") < 2.0
    assert (value("queue_length"), value("running"), value("workers_replaced_total")) == (0, 0, 0)
    assert value("workers", state="configured") == value("workers", state="alive") == 1
    assert found[("process_resident_memory_bytes",)] > 1 << 20
    assert "x" * 50 not in text.decode()


def test_a_caller_who_hangs_up_is_counted_and_frees_the_worker():
    """Nobody gets an answer then, but the count shows that it happened."""
    body = json.dumps({"code": "import time; time.sleep(50)", "language": "python", "run_timeout": 60}).encode()
    request = b"POST /run_code HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with EmbeddedSandbox(CONFIG) as sandbox:
        host, port = sandbox.endpoint.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as caller:
            caller.sendall(request)
            time.sleep(0.5)
        deadline = time.monotonic() + 10
        while run(sandbox.endpoint, "print(1)")[0] != 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        found = samples(call(f"{sandbox.endpoint}/metrics")[1].decode())
    assert found["verl_tir_sandbox_requests_total", ("code", "499"), ("path", "/run_code")] == 1


class Idle:
    """A pool of which nothing is known but its numbers."""

    waiting, running, alive, replaced = 3, 2, 4, 5


def test_servers_in_one_process_count_for_themselves():
    """Two servers do not share their numbers."""
    one, other = Telemetry(Idle(), 4), Telemetry(Idle(), 4)
    one.program_ended(ProgramOutcome.ERROR, 0.1, 0.2)
    name = ("verl_tir_sandbox_programs_total", ("outcome", "error"))
    assert (samples(one.exposition().decode())[name], samples(other.exposition().decode())[name]) == (1, 0)
    assert samples(one.exposition().decode())[("verl_tir_sandbox_workers_replaced_total",)] == 5


@contextlib.contextmanager
def served(tmp_path, *flags):
    """The log file of a server with `flags`, and its endpoint."""
    log = tmp_path / "log"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "sandbox_server", f"--port={port}", "--workers=1", "--preload="]
    with log.open("wb") as file, subprocess.Popen([*command, *flags], stderr=file) as server:
        try:
            wait_for(log, "sandbox server at")
            yield log, f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def wait_for(log, text):
    deadline = time.monotonic() + 30
    while text not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_requests_are_logged_without_what_was_sent(tmp_path, log_format):
    """A line has method, path, status, outcome and times; code and output are not in it."""
    with served(tmp_path, f"--log-format={log_format}", "--log-requests") as (log, endpoint):
        run(endpoint, "print('s3' + 'cr3t')  # s3cr3t")
        run(endpoint, "1", run_timeout="s3cr3t")
        wait_for(log, "422")
        lines = log.read_text().splitlines()
    assert not [line for line in lines if "s3cr3t" in line]
    if log_format == "text":
        (line,) = [line for line in lines if "/run_code 200" in line]
        assert "INFO sandbox_server.app: POST /run_code 200 success 0." in line
    else:
        requests = [json.loads(line) for line in lines if '"path"' in line]
        ran, refused = requests
        assert {"ts", "level", "logger", "message"} < ran.keys() & refused.keys()
        assert (ran["method"], ran["path"], ran["status"], ran["outcome"]) == ("POST", "/run_code", 200, "success")
        assert 0 < ran["run_seconds"] < 5
        assert 0 <= ran["queue_seconds"] < 5
        assert refused["status"] == 422
        assert "outcome" not in refused


def test_requests_are_not_logged_unless_asked(tmp_path):
    """At many calls a second, a line for each is a choice."""
    with served(tmp_path) as (log, endpoint):
        assert run(endpoint, "print(1)")[0] == 200
        assert "run_code" not in log.read_text()
