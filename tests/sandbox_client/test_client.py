"""The pure parts of the sandbox client: wire, configuration, errors, balance."""

import pickle

import pytest

from sandbox_client import (
    CallLimits,
    ClientStats,
    EndpointError,
    ExecutionStatus,
    RetryPolicy,
    RunCodeRequest,
    SandboxClient,
    SandboxDeadlineExceeded,
    SandboxFault,
    SandboxInternalError,
    SandboxOverloaded,
    SandboxProtocolError,
    SandboxUnreachable,
    Timeouts,
    parse_run_code_response,
    validate_endpoints,
)
from sandbox_client._http_status import parse_retry_after

ENDPOINT = "http://127.0.0.1:8080"
FAULTS = [
    SandboxUnreachable,
    SandboxOverloaded,
    SandboxInternalError,
    SandboxDeadlineExceeded,
    SandboxProtocolError,
]


def response(status="Success", run_status="Finished", **result):
    run_result = {"status": run_status, "execution_time": 0.25, "return_code": 0, "stdout": "", "stderr": ""}
    return {
        "status": status,
        "message": "",
        "compile_result": None,
        "run_result": run_result | result,
        "executor_pod_name": None,
        "files": {},
    }


def test_request_payload_is_sandbox_fusions():
    """Every field of Sandbox Fusion's request is sent, files in base64."""
    request = RunCodeRequest("print(1)", 3.0, memory_limit_mb=256, stdin="in", files={"a.txt": b"\x00hi"})
    assert request.to_payload() == {
        "code": "print(1)",
        "language": "python",
        "stdin": "in",
        "compile_timeout": 3.0,
        "run_timeout": 3.0,
        "memory_limit_MB": 256,
        "files": {"a.txt": "AGhp"},
        "fetch_files": [],
    }


def test_request_leaves_memory_to_the_server_by_default():
    """No memory limit is Sandbox Fusion's -1."""
    assert RunCodeRequest("", 1.0).to_payload()["memory_limit_MB"] == -1


@pytest.mark.parametrize(
    ("payload", "status", "return_code"),
    [
        (response(stdout="2\n"), ExecutionStatus.SUCCESS, 0),
        (response("Failed", return_code=1), ExecutionStatus.FAILED, 1),
        (response("Failed", return_code=-11), ExecutionStatus.FAILED, -11),
        (response("Failed", return_code=-9), ExecutionStatus.MEMORY_LIMIT, -9),
        (response("Failed", "TimeLimitExceeded", return_code=None), ExecutionStatus.TIME_LIMIT, None),
        (response(stdout=None, stderr=None), ExecutionStatus.SUCCESS, 0),
        (response(new_field=1) | {"another": []}, ExecutionStatus.SUCCESS, 0),
    ],
)
def test_responses_become_executions(payload, status, return_code):
    """Each way that a program can end is an execution, whatever else the body holds."""
    execution = parse_run_code_response(payload, ENDPOINT)
    assert (execution.status, execution.return_code) == (status, return_code)
    assert execution.execution_time == 0.25
    assert execution.stdout == (payload["run_result"]["stdout"] or "")
    assert execution.endpoint == ENDPOINT


def without(payload, *path):
    *parents, last = path
    for key in parents:
        payload = payload[key]
    del payload[last]


@pytest.mark.parametrize(
    "path",
    [("status",), ("run_result",)]
    + [("run_result", name) for name in ("status", "execution_time", "return_code", "stdout", "stderr")],
)
def test_missing_fields_are_protocol_errors(path):
    """A response that lacks a field is not taken for a result, and the error names the field."""
    payload = response()
    without(payload, *path)
    with pytest.raises(SandboxProtocolError, match=path[-1]):
        parse_run_code_response(payload, ENDPOINT)


@pytest.mark.parametrize(
    "payload",
    [
        *(None, [], "pong", {}),
        *(response("Great"), response(run_status="Error"), response(return_code="0"), response(stdout=3)),
    ],
)
def test_foreign_answers_are_protocol_errors(payload):
    """Anything that Sandbox Fusion does not answer is refused."""
    with pytest.raises(SandboxProtocolError):
        parse_run_code_response(payload, ENDPOINT)


def test_sandbox_error_is_a_fault_even_without_a_result():
    """Status SandboxError raises, with the server's message, although it came with HTTP 200."""
    payload = {"status": "SandboxError", "message": "no space left", "run_result": None}
    with pytest.raises(SandboxInternalError, match="no space left"):
        parse_run_code_response(payload, ENDPOINT)


@pytest.mark.parametrize("kind", FAULTS)
def test_faults_survive_pickling(kind):
    """A fault that crosses a process boundary keeps its type and all it carries."""
    fault = kind("it broke", endpoint=ENDPOINT, attempts=3, retry_after=1.5)
    copy = pickle.loads(pickle.dumps(fault))
    assert type(copy) is kind
    assert (copy.message, copy.endpoint, copy.attempts, copy.retry_after) == ("it broke", ENDPOINT, 3, 1.5)
    assert str(copy) == str(fault) == f"it broke [{ENDPOINT}, attempts: 3]"
    assert isinstance(copy, SandboxFault)


def test_executions_survive_pickling():
    """An execution can cross a process boundary."""
    execution = parse_run_code_response(response(), ENDPOINT)
    assert pickle.loads(pickle.dumps(execution)) == execution


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("http://127.0.0.1:8080/run_code", "http://127.0.0.1:8080"),
        ("http://127.0.0.1:8080/run_code/", "http://127.0.0.1:8080"),
        ("https://sandbox.cluster.local", "https://sandbox.cluster.local"),
        ("https://gateway.cloud.net/team/run_code", "https://gateway.cloud.net/team"),
        ("http://sandbox-0_a:80", "http://sandbox-0_a:80"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://sandbox-host:80", "http://sandbox-host:80"),
        ("http://xx-large:80", "http://xx-large:80"),
        ("http://torino.example-lab.it:80", "http://torino.example-lab.it:80"),
    ],
)
def test_good_endpoints_become_base_urls(given, base):
    """A base URL and one that ends in /run_code mean the same."""
    assert validate_endpoints([given]) == (base,)


@pytest.mark.parametrize(
    "given",
    [
        "http://your-sandbox:8080",
        "http://your_sandbox_host:8080/run_code",
        "https://example.com/run_code",
        "http://sandbox.example.org",
        "http://<host>:8080",
        "http://${SANDBOX_HOST}:8080",
        "http://{host}:8080",
        "https://xxx.region.cloud.com/run_code",
        "https://XXXXXX/run_code",
        "http://TODO:8080",
        "http://todo",
        "http://0.0.0.0:8080",
        "http://[::]:8080",
        "http://change-me:8080",
        "http://changeme:8080",
        "http://replace_me",
        "http://placeholder/run_code",
        "http://SANDBOX_HOST:8080",
        "http://sandbox.example:8080",
        "http://...",
        "",
        "  ",
        None,
        8080,
        "127.0.0.1:8080",
        "localhost",
        "ftp://10.0.0.5",
        "http://",
        "http://:8080",
        "http://10.0.0.5:99999",
        "http://10.0.0.5:0",
        "http://10.0.0.5:port",
        "http://10.0.0.5:80,http://10.0.0.6:80",
        "http://10.0.0.5 :80",
        "http://user:secret@10.0.0.5",
        "http://10.0.0.5/run_code?x=1",
        "http://[::1",
    ],
)
def test_bad_endpoints_are_refused_by_name(given):
    """A placeholder or malformed endpoint is refused, and the error shows it and says what to do."""
    with pytest.raises(EndpointError) as refusal:
        validate_endpoints([given])
    assert repr(given) in str(refusal.value)
    assert ": " in str(refusal.value)


@pytest.mark.parametrize("given", [[], "http://10.0.0.5", ["http://10.0.0.5", "http://10.0.0.5/run_code"]])
def test_bad_endpoint_lists_are_refused(given):
    """An empty list, a bare string and a repeated endpoint are refused."""
    with pytest.raises(EndpointError):
        validate_endpoints(given)


def test_client_refuses_bad_endpoints_when_made():
    """A bad endpoint is found when the client is made and not at the first call."""
    with pytest.raises(EndpointError):
        SandboxClient(["http://your-sandbox:8080"])


@pytest.mark.parametrize(
    "make",
    [
        lambda: Timeouts(connect=0),
        lambda: Timeouts(margin=-1),
        lambda: CallLimits(max_concurrency=0),
        lambda: RetryPolicy(attempts=0),
        lambda: RetryPolicy(wait_jitter=-1),
    ],
)
def test_settings_without_sense_are_refused(make):
    """Times and counts that make no sense raise when they are written down."""
    with pytest.raises(ValueError, match="must"):
        make()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("3", 3.0),
        ("-1", 0.0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 90.0),
        ("Thu, 01 Jan 1970 00:00:01 GMT", 0.0),
        ("soon", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value, seconds):
    """Both forms of the header are understood, and nonsense is not a header."""
    assert parse_retry_after(value, now=10.0) == seconds


def test_a_new_client_has_seen_nothing():
    """Statistics start at zero."""
    assert SandboxClient([ENDPOINT]).stats == ClientStats()
