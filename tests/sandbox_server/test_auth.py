"""The bearer token: who is let in, and that nobody else learns it."""

import json
import os
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from sandbox_server import EmbeddedSandbox, SandboxStartError, ServerConfig
from sandbox_server.auth import ServerTokenError, TokenGate, is_loopback, load_token
from sandbox_server.server import _warn

CONFIG = ServerConfig(port=0, workers=1, preload=())
TOKEN = "t0p-s3cr3t"


@pytest.fixture(scope="module")
def sandbox():
    """A server that asks for a token."""
    with EmbeddedSandbox(CONFIG, token=TOKEN) as sandbox:
        yield sandbox


def call(endpoint, path, data=None, authorization=None):
    """Status, headers and body of a request."""
    headers = {} if authorization is None else {"Authorization": authorization}
    request = urllib.request.Request(endpoint + path, data, headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.headers, refusal.read()


def run(endpoint, code):
    body = json.dumps({"code": code, "language": "python"}).encode()
    return json.loads(call(endpoint, "/run_code", body, f"Bearer {TOKEN}")[2])["run_result"]["stdout"]


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer ", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x"])
@pytest.mark.parametrize("path", ["/run_code", "/run_jupyter", "/metrics", "/nothing"])
def test_nobody_comes_in_without_the_token(sandbox, path, authorization):
    """Every path but the ping answers 401, before it has read the request."""
    status, headers, body = call(sandbox.endpoint, path, b"{" if path != "/metrics" else None, authorization)
    assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
    assert "token" in json.loads(body)["detail"]


def test_the_token_opens(sandbox):
    """With the token all is as without one, and the ping needs none."""
    assert call(sandbox.endpoint, "/v1/ping")[0] == 200
    assert call(sandbox.endpoint, "/metrics", None, f"bearer {TOKEN}")[0] == 200
    assert run(sandbox.endpoint, "print(1)") == "1\n"


def test_the_token_is_nowhere_to_be_seen(sandbox):
    """Neither command lines, nor the log, nor anything that a program can read has it."""
    call(sandbox.endpoint, "/run_code", b"{}", f"Bearer {TOKEN}x")
    assert TOKEN not in Path(f"/proc/{sandbox.pid}/cmdline").read_text()
    sandbox._log.seek(0)
    assert TOKEN not in sandbox._log.read().decode()
    code = (
        "import glob, os\n"
        "seen = [repr(dict(os.environ))]\n"
        "for path in glob.glob('/proc/[0-9]*/environ') + glob.glob('/proc/[0-9]*/cmdline'):\n"
        "  try: seen.append(open(path).read())\n"
        "  except OSError: pass\n"
        "print(len(seen), 't0p-s3' + 'cr3t' in ''.join(seen))"
    )
    count, found = run(sandbox.endpoint, code).split()
    assert int(count) > 2
    assert found == "False"
    assert TOKEN not in repr(vars(TokenGate(TOKEN)).keys()) + repr(TokenGate(TOKEN))


def test_the_token_comes_from_a_file_or_the_environment(tmp_path, monkeypatch):
    """White space around it does not count; the launcher's trial sends it in either case."""
    (tmp_path / "token").write_text(f"  {TOKEN}\n")
    monkeypatch.setenv("SANDBOX_TOKEN", TOKEN)
    by_file = ServerConfig(port=0, workers=1, preload=(), token_file=str(tmp_path / "token"))
    by_name = ServerConfig(port=0, workers=1, preload=(), token_env="SANDBOX_TOKEN")
    assert (load_token(by_file), load_token(by_name), load_token(CONFIG)) == (TOKEN, TOKEN, None)
    with EmbeddedSandbox(by_file) as sandbox:
        assert run(sandbox.endpoint, "print(1)") == "1\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read"), ("", "is empty"), ("two words", "one word"), ("é", "one word"), (b"\xff", "not text")],
)
def test_a_token_that_cannot_be_used_stops_the_start(tmp_path, content, message):
    """The message names the file and not what is in it."""
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ServerTokenError, match=message) as raised:
        load_token(ServerConfig(token_file=str(path)))
    assert not content or str(content) not in str(raised.value)


def test_a_variable_that_is_not_set_stops_the_start(monkeypatch):
    """The server does not start open when it was meant to be closed."""
    monkeypatch.delenv("NO_SUCH_TOKEN", raising=False)
    config = ServerConfig(port=0, workers=1, preload=(), token_env="NO_SUCH_TOKEN")
    with pytest.raises(SandboxStartError, match=r"(?s)exit status 1.*NO_SUCH_TOKEN.*not set"):
        EmbeddedSandbox(config).start()


@pytest.mark.parametrize(
    ("host", "token", "warned"),
    [("127.0.0.1", None, 0), ("::1", None, 0), ("localhost", None, 0), ("0.0.0.0", None, 1), ("0.0.0.0", "t", 0)],
)
def test_an_open_door_is_told(caplog, host, token, warned):
    """Listening beyond this machine without a token is one warning."""
    _warn(ServerConfig(host=host, preload=()), TokenGate(token))
    assert [record.levelname for record in caplog.records] == ["WARNING"] * warned
    assert not is_loopback("10.0.0.1")
    assert os.environ.get("VERL_TIR_SANDBOX_TOKEN") is None
