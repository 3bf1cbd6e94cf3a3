"""What the embedded server takes as a request, and how it refuses the rest."""

import base64
import http.client
import json
import socket
import time
import urllib.error
import urllib.request
from typing import Literal
from urllib.parse import urlsplit

import pytest
from pydantic import BaseModel, ValidationError

from sandbox_server import EmbeddedSandbox, ServerConfig
from sandbox_server.api import parse_run_code, parse_run_jupyter
from sandbox_server.request_models import BadRequest

CONFIG = ServerConfig(port=0, workers=1, preload=(), max_run_timeout=20.0, max_request_mb=2, max_file_mb=1)


@pytest.fixture(scope="module")
def endpoint():
    """One server for all tests."""
    with EmbeddedSandbox(CONFIG) as sandbox:
        yield sandbox.endpoint


def post(endpoint, path="/run_code", **body):
    """Status and decoded body of a raw request."""
    return send(endpoint, path, json.dumps(body).encode())


def send(endpoint, path, data):
    try:
        with urllib.request.urlopen(urllib.request.Request(endpoint + path, data), timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refusal:
        return refusal.code, json.load(refusal)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"code": "1", "language": "cpp"}, "language: 'cpp' is not supported"),
        ({"code": "1"}, "language"),
        ({"language": "python"}, "code: must be a string"),
        ({"code": 1, "language": "python"}, "code: must be a string"),
        ({"code": "1", "language": "python", "run_timeout": 21}, "--max-run-timeout"),
        ({"code": "1", "language": "python", "run_timeout": 0}, "run_timeout: 0"),
        ({"code": "1", "language": "python", "run_timeout": -1}, "run_timeout: -1"),
        ({"code": "1", "language": "python", "run_timeout": 10**400}, "run_timeout"),
        ({"code": "1", "language": "python", "run_timeout": float("inf")}, "--max-run-timeout"),
        ({"code": "1", "language": "python", "memory_limit_MB": 10**400}, "memory_limit_MB: 1000"),
        ({"code": "1", "language": "python", "run_timeout": float("nan")}, "run_timeout: nan"),
        ({"code": "1", "language": "python", "run_timeout": "soon"}, "run_timeout: 'soon'"),
        ({"code": "1", "language": "python", "memory_limit_MB": 1 << 30}, "--max-memory-limit-mb"),
        ({"code": "1", "language": "python", "stdin": 3}, "stdin"),
        ({"code": "1", "language": "python", "files": {"../a": ""}}, "inside the working directory"),
        ({"code": "1", "language": "python", "files": {"/a": ""}}, "inside the working directory"),
        ({"code": "1", "language": "python", "files": {"a": "%"}}, "not base64"),
        ({"code": "1", "language": "python", "files": {"a\0b": ""}}, "inside the working directory"),
        ({"code": "1", "language": "python", "files": {"\ud800": ""}}, "inside the working directory"),
        ({"code": "1", "language": "python", "files": {"a" * 256: ""}}, "inside the working directory"),
        ({"code": "1", "language": "python", "files": {"a": "", "a/b": ""}}, "both a file and the directory"),
        ({"code": "1", "language": "python", "files": {"a": "A" * 1_500_000}}, "--max-file-mb"),
        ({"code": "1", "language": "python", "fetch_files": "a"}, "fetch_files"),
        ({"code": "1", "language": "python", "fetch_files": ["a"] * 20_000}, "20000 are more than 10000"),
        ({"code": "1", "language": "python", "fetch_files": ["a" * 200] * 9000}, "longer than 1048576 bytes"),
        ({"code": "1", "language": "python", "files": {str(n): "" for n in range(9000)}}, "more than 8192"),
        ({"code": "1", "language": "python", "files": {f"{n}/a": "" for n in range(5000)}}, "more than 8192"),
        ({"code": "1", "language": "python", "files": {f"{n:0>200}": "" for n in range(6000)}}, "paths are longer"),
        ({"code": "1", "language": "python", "files": {"a/" * 150 + "b": ""}}, "inside the working directory"),
        ({"code": "1", "language": "python", "files": {"a/.": ""}}, "inside the working directory"),
        ({"code": "1", "language": "python", "files": {"a": "", "./a/b": ""}}, "both a file and the directory"),
        ({"code": "1", "language": "python", "more": [[]] * 300_000}, "holds more than 262144 values"),
        (
            {"code": "1", "language": "python", "more": "x" * 70_000, "deep": json.loads("[" * 200 + "]" * 200)},
            "deeper",
        ),
    ],
)
def test_requests_that_cannot_be_honoured_are_refused(endpoint, body, message):
    """What the server will not do as asked is a 422 that says so, never a silent change."""
    status, answer = post(endpoint, **body)
    assert status == 422
    assert message in answer["detail"][0]["msg"]


def test_what_does_not_fit_into_the_scratch_is_refused():
    """Files, standard input and the code are counted together, in whole pages, and what just fits runs."""
    config = ServerConfig(port=0, workers=1, preload=(), scratch_mb=2, max_file_mb=1)
    half = base64.b64encode(b"a" * (1 << 20)).decode()
    with EmbeddedSandbox(config) as sandbox:
        too_much = (
            {"files": {"a": half}, "stdin": "b" * (1 << 20)},
            {"stdin": "b" * (2 << 20)},
            {"files": {"a": half, "b": half}},
            {"code": "#" * ((2 << 20) + 1)},
            {"files": {str(number): "YQ==" for number in range(256)}, "stdin": "b" * ((1 << 20) + 4096)},
        )
        for more in too_much:
            status, answer = post(sandbox.endpoint, **{"code": "1", "language": "python"} | more)
            assert (status, "--scratch-mb" in answer["detail"][0]["msg"]) == (422, True), answer
        body = {"cells": ["#" * (1 << 20)], "files": {"a": half}}
        assert post(sandbox.endpoint, "/run_jupyter", **body)[0] == 422
        code = "import sys; print(len(sys.stdin.read()), len(open('a').read()))"
        fits = {"files": {"a": half}, "stdin": "b" * ((1 << 20) - 4096)}
        _, answer = post(sandbox.endpoint, code=code, language="python", **fits)
        assert answer["run_result"]["stdout"] == f"{(1 << 20) - 4096} {1 << 20}\n", answer
        _, answer = post(sandbox.endpoint, code="print(1)".ljust(2 << 20), language="python")
        assert answer["run_result"]["stdout"] == "1\n", answer
        many = {f"{number % 10}/{number}": "YQ==" for number in range(240)}
        code = "import glob; print(len(glob.glob('*/*')))"
        _, answer = post(sandbox.endpoint, code=code, language="python", files=many)
        assert answer["run_result"]["stdout"] == "240\n", answer


def test_the_most_that_may_be_asked_for_is_answered_in_time(endpoint):
    """Eight thousand files to write and ten thousand to look for, links among them, take seconds and no worker."""
    files = {f"d{number % 90}/{number}": "" for number in range(8000)}
    names = [f"x/{number}" for number in range(5000)] + [f"y{number}" for number in range(5000)]
    code = (
        "import os\nos.makedirs('a')\nos.symlink('a', 'x')\nopen('a/7', 'w').write('7')\nprint(len(os.listdir('d1')))"
    )
    started = time.monotonic()
    _, body = post(endpoint, code=code, language="python", files=files, fetch_files=names)
    assert (body["status"], body["files"]) == ("Success", {"x/7": "Nw=="}), body
    assert time.monotonic() - started < 10.0
    assert post(endpoint, code="print(1)", language="python")[1]["run_result"]["stdout"] == "1\n"


def test_names_that_no_file_can_have_are_not_there(endpoint):
    """Fetching what cannot exist, or may lie elsewhere, fails neither the program nor the server."""
    names = ["a\0b", "\ud800", "a" * 256, "a/" * 2000, "locked", "two", "", "."]
    code = "import os\nopen('locked', 'w').write('x')\nos.chmod('locked', 0)\nopen('two', 'w')\nos.link('two', 'names')"
    status, body = post(endpoint, code=code, language="python", fetch_files=names)
    assert (status, body["status"], body["files"]) == (200, "Success", {"locked": "eA=="})


def test_fetched_files_are_bounded_together(endpoint):
    """Files that are large only on paper do not fill the server's memory."""
    code = "for n in range(40):\n  with open(str(n), 'wb') as f: f.truncate(1 << 19)"
    _, body = post(endpoint, code=code, language="python", fetch_files=[str(n) for n in range(40)])
    assert body["status"] == "Success"
    assert sorted(body["files"]) == ["0", "1"]


def test_base64_may_have_line_breaks(endpoint):
    """Content as `base64.encodebytes` writes it is taken, as Sandbox Fusion takes it."""
    _, body = post(endpoint, code="print(open('a').read())", language="python", files={"a": "YWJj\nZGVm\n"})
    assert body["run_result"]["stdout"] == "abcdef\n"


@pytest.mark.parametrize(
    ("data", "status"),
    [(b"", 422), (b"{", 422), (b"\xff\xfe", 422), (b"[" * 100_000, 422), (b"[]", 422), (b"null", 422), (b"3", 422)],
)
@pytest.mark.parametrize("path", ["/run_code", "/run_jupyter"])
def test_what_is_no_request_is_refused(endpoint, path, data, status):
    """A body that is not a JSON object is a 422 in JSON."""
    code, body = send(endpoint, path, data)
    assert (code, body["detail"][0]["loc"]) == (status, ["body", "body"])


def test_paths_and_methods_that_are_not_there(endpoint):
    """404 and 405 are JSON, and a 405 says what is allowed."""
    assert send(endpoint, "/nothing/here", None) == (404, {"detail": "Not Found"})
    assert send(endpoint, "/run_code", None) == (405, {"detail": "Method Not Allowed"})
    assert send(endpoint, "/v1/ping", b"{}") == (405, {"detail": "Method Not Allowed"})


def test_a_body_beyond_the_limit_is_refused(endpoint):
    """413 names the flag, whether the caller says in advance how much comes or not."""
    data = json.dumps({"code": "#" * (3 << 20), "language": "python"}).encode()
    for chunked in (False, True):
        connection = http.client.HTTPConnection(urlsplit(endpoint).netloc, timeout=20)
        body = iter([data[at : at + 65536] for at in range(0, len(data), 65536)]) if chunked else data
        connection.request("POST", "/run_code", body, encode_chunked=chunked)
        answer = connection.getresponse()
        assert answer.status == 413
        assert "--max-request-mb" in json.load(answer)["detail"]
        connection.close()


def test_one_connection_serves_many_calls(endpoint):
    """Connections are kept, through refusals too."""
    connection = http.client.HTTPConnection(urlsplit(endpoint).netloc, timeout=20)
    connection.connect()
    ours = connection.sock.getsockname()
    for body, status in (("{}", 422), ('{"code": "1", "language": "python"}', 200), ("x", 422)):
        connection.request("POST", "/run_code", body)
        answer = connection.getresponse()
        answer.read()
        assert (answer.status, connection.sock.getsockname()) == (status, ours)
    connection.close()


def test_a_caller_who_says_half_and_leaves_does_no_harm(endpoint):
    """A request that never ends leaves the server as it was."""
    host, port = urlsplit(endpoint).netloc.split(":")
    with socket.create_connection((host, int(port))) as caller:
        caller.sendall(b"POST /run_code HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
    assert send(endpoint, "/v1/ping", None) == (200, "pong")


class TheirRunCode(BaseModel):
    """Sandbox Fusion's request, as far as it is about types."""

    compile_timeout: float = 10
    run_timeout: float = 10
    memory_limit_MB: int = -1
    code: str
    stdin: str | None = None
    language: Literal["python"]
    files: dict[str, str | None] = {}
    fetch_files: list[str] = []


class TheirRunJupyter(BaseModel):
    """The same of their request for cells."""

    cells: list[str]
    cell_timeout: float = 0
    total_timeout: float = 45
    memory_limit_MB: int = -1
    kernel: Literal["python3"] = "python3"
    files: dict[str, str] = {}
    fetch_files: list[str] = []


VALUES = (
    *(None, True, False, 0, 1, 5, -1, 2.0, 2.5, "2", " 2 ", "2.0", "2.5", "+2", "-1", "1_0", "2.", ".5", "1e1"),
    *("", "abc", "0x2", "1__0", "٥", [], {}, ["a"], ["a", 1], {"a": "YQ=="}, {"a": None}, {"a": 1}, [["a", "b"]]),
)
REQUESTS = {
    parse_run_code: (TheirRunCode, {"code": "1", "language": "python"}),
    parse_run_jupyter: (TheirRunJupyter, {"cells": ["1"]}),
}


@pytest.mark.parametrize("parse", REQUESTS, ids=["run_code", "run_jupyter"])
def test_types_are_taken_as_sandbox_fusion_takes_them(parse):
    """Every field takes and refuses the values that pydantic does there, a missing one included."""
    model, least = REQUESTS[parse]
    wrong = []
    for name, value in ((name, value) for name in model.model_fields for value in VALUES):
        body = least | {name: value}
        try:
            theirs = getattr(model.model_validate(body), name)
        except ValidationError:
            theirs = None
            accepted = False
        else:
            # Zero seconds cannot be honoured, whatever the type.
            accepted = not (name in ("run_timeout", "total_timeout") and theirs <= 0)
        try:
            job = parse(body, ServerConfig())
        except BadRequest:
            if accepted:
                wrong.append((name, value, "refused"))
        else:
            if not accepted:
                wrong.append((name, value, "taken"))
            elif name in ("run_timeout", "total_timeout") and job.run_timeout != theirs:
                wrong.append((name, value, job.run_timeout))
    for name in least:
        with pytest.raises(BadRequest, match=name):
            parse({key: value for key, value in least.items() if key != name}, ServerConfig())
    assert not wrong
