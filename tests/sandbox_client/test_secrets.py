"""What the sandbox client proves to a service and asks it to prove: tokens that never show, and TLS."""

import logging
import pickle
import ssl
import traceback

import pytest
from aiohttp import web

from sandbox_client import (
    RetryPolicy,
    SandboxClient,
    SandboxFault,
    SandboxUnreachable,
    TlsError,
    TlsSettings,
    Token,
    TokenError,
    read_token,
)

SECRET = "s3cr3t-0123456789"
ONCE = RetryPolicy(attempts=1)
TWICE = RetryPolicy(attempts=2, wait_initial=0.01, wait_jitter=0.0)

# Made for these tests, for 127.0.0.1, good until 2126.
CERTIFICATE = """-----BEGIN CERTIFICATE-----
MIIBjzCCATagAwIBAgIUCFhWzXF0Y4kQZ4WvdQugcYFcL7YwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMTEzMDEwNFoYDzIxMjYxMDI4
MTMwMTA0WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAARX7SmDrhadW8pO4FyDlP8OtpwYFJCG8jFG0ukJQQr6ikmTZM0gmmfD
2dQYt9K32pM1YFy4WRFNYdEtFXOW7iHHo2QwYjAdBgNVHQ4EFgQU1/iR9506hEb8
5MhAaY5E7SIBoiAwHwYDVR0jBBgwFoAU1/iR9506hEb85MhAaY5E7SIBoiAwDwYD
VR0TAQH/BAUwAwEB/zAPBgNVHREECDAGhwR/AAABMAoGCCqGSM49BAMCA0cAMEQC
IFNQOZ/+M5iIdBExy6Q7ov3ez9SEL/rvMDBNDeo2TG67AiBf+VnQigdjfVPkM++r
1fHW3GUeZ7WYSx+87Sx0boAEsw==
-----END CERTIFICATE-----
"""
KEY = """-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg1fanhafALtYcrr0o
Hn1786Mad9iC8ga140dKM/OoVVyhRANCAARX7SmDrhadW8pO4FyDlP8OtpwYFJCG
8jFG0ukJQQr6ikmTZM0gmmfD2dQYt9K32pM1YFy4WRFNYdEtFXOW7iHH
-----END PRIVATE KEY-----
"""


def result():
    run_result = {"status": "Finished", "execution_time": 0.0, "return_code": 0, "stdout": "2\n", "stderr": ""}
    return web.json_response({"status": "Success", "message": "", "run_result": run_result, "files": {}})


async def serve(handle, context=None):
    app = web.Application()
    app.router.add_post("/run_code", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    return runner, f"{'http' if context is None else 'https'}://127.0.0.1:{runner.addresses[0][1]}"


async def call(handle, context=None, **settings):
    """One call to a server that answers with `handle`."""
    runner, url = await serve(handle, context)
    try:
        async with SandboxClient([url], **({"retry": ONCE} | settings)) as client:
            return await client.run_code("print(2)", run_timeout=1.0)
    finally:
        await runner.cleanup()


def test_tokens_come_from_a_file_or_a_variable(tmp_path, monkeypatch):
    """White space around a token, such as the line break at the end of a file, is not part of it."""
    (tmp_path / "token").write_text(f"  {SECRET}\n\n")
    monkeypatch.setenv("SANDBOX_TOKEN", f"{SECRET} ")
    assert read_token(file=tmp_path / "token").header() == f"Bearer {SECRET}"
    assert read_token(env="SANDBOX_TOKEN").header() == f"Bearer {SECRET}"


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read"), (b" \n", "empty"), (b"\xff\xfe", "other than text"), (b"one two3\n", "spaces")],
)
def test_bad_token_files_are_named(tmp_path, content, message):
    """A token file that is missing, empty or not a token is named, and what is in it is not shown."""
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TokenError, match=message) as caught:
        read_token(file=str(path))
    assert str(path) in str(caught.value)
    assert "two3" not in "".join(traceback.format_exception(caught.value))


def test_an_unreadable_token_file_is_named(tmp_path):
    """A path that cannot be read is named with the reason."""
    with pytest.raises(TokenError, match="Is a directory"):
        read_token(file=tmp_path)


@pytest.mark.parametrize(("value", "message"), [(None, "not set"), ("", "empty"), ("  ", "empty"), ("a\nb", "line")])
def test_bad_token_variables_are_named(monkeypatch, value, message):
    """A variable that is missing, empty or no token is named."""
    monkeypatch.delenv("SANDBOX_TOKEN", raising=False)
    if value is not None:
        monkeypatch.setenv("SANDBOX_TOKEN", value)
    with pytest.raises(TokenError, match=f"SANDBOX_TOKEN.*{message}"):
        read_token(env="SANDBOX_TOKEN")


def test_a_token_has_one_source():
    """Neither and both are refused."""
    for sources in ({}, {"file": "a", "env": "B"}):
        with pytest.raises(ValueError, match="either"):
            read_token(**sources)


def test_a_token_keeps_to_itself():
    """It shows in no text, and does not leave its process."""
    token = Token(SECRET)
    assert SECRET not in f"{token} {token!r} {[token]} {vars(SandboxClient(['http://127.0.0.1:1'], token=token))}"
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(token)


@pytest.mark.parametrize("how", ["token", "header"])
@pytest.mark.parametrize("answer", ["body", "status", "message", "location", "cut"])
async def test_a_token_that_comes_back_is_hidden(how, answer, caplog):
    """A server that answers with what it was sent puts the token into no log, no fault and no pickled fault."""
    seen = []

    async def echo(request):
        secret = request.headers["Authorization"]
        seen.append(secret)
        match answer:
            case "body":
                return web.Response(status=500, text=f"headers were {secret}")
            case "status":
                return web.json_response({"status": secret})
            case "message":
                return web.json_response({"status": "SandboxError", "message": secret})
            case "location":
                return web.Response(status=302, headers={"Location": f"http://elsewhere/?{SECRET}"})
        request.transport.abort()
        return web.Response()

    settings = {"token": Token(SECRET)} if how == "token" else {"headers": {"authorization": f"Bearer {SECRET}"}}
    with caplog.at_level(logging.DEBUG), pytest.raises(SandboxFault) as caught:
        await call(echo, retry=TWICE, **settings)
    assert set(seen) == {f"Bearer {SECRET}"}
    fault = caught.value
    shown = [str(fault), repr(fault), repr(vars(fault)), *traceback.format_exception(fault)]
    shown += [repr(fault.__cause__), repr(fault.__context__), repr(pickle.dumps(fault))]
    shown += [f"{record.getMessage()} {vars(record)}" for record in caplog.records]
    assert not [text for text in shown if SECRET in text]


def test_credentials_over_plain_http_are_warned_of_once(caplog):
    """A token that crosses a network in the clear is worth one warning; on this machine, or with https, none."""
    for endpoint in ("http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1", "https://10.0.0.5"):
        SandboxClient([endpoint], token=Token(SECRET))
    SandboxClient(["http://10.0.0.5"])
    assert not caplog.records
    client = SandboxClient(["http://10.0.0.5", "http://10.0.0.6"], token=Token(SECRET))
    client.set_endpoints(["http://10.0.0.7"])
    (record,) = caplog.records
    assert "http://10.0.0.5" in record.getMessage()
    assert SECRET not in record.getMessage()


@pytest.mark.parametrize(
    "headers", [{"a b": "1"}, {"X-One": "1\r\nX-Two: 2"}, {"X-One": 1}, {"AUTHORIZATION": "Basic 1"}]
)
def test_headers_that_cannot_be_sent_are_refused(headers):
    """A header that would fail each call, or clash with the token, is found when the client is made."""
    with pytest.raises(ValueError, match="headers"):
        SandboxClient(["http://127.0.0.1:1"], headers=headers, token=Token(SECRET))


@pytest.fixture
def files(tmp_path):
    """Paths of a certificate and its key."""
    (tmp_path / "cert.pem").write_text(CERTIFICATE)
    (tmp_path / "key.pem").write_text(KEY)
    return str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")


def server_context(files, ask=False):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*files)
    if ask:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(files[0])
    return context


async def works(request):
    return result()


async def test_endpoints_must_prove_themselves(files):
    """An endpoint with a certificate that nobody known has signed gets no program."""
    for tls in (None, TlsSettings()):
        with pytest.raises(SandboxUnreachable, match=r"(?i)certificate"):
            await call(works, server_context(files), tls=tls)
    assert (await call(works, server_context(files), tls=TlsSettings(ca_file=files[0]))).stdout == "2\n"


async def test_unverified_tls_is_warned_of(files, caplog):
    """Without verification calls work, and the log says what that means."""
    assert (await call(works, server_context(files), tls=TlsSettings(verify=False))).stdout == "2\n"
    assert [record for record in caplog.records if "verify=False" in record.getMessage()]


async def test_clients_can_prove_themselves(files):
    """A server that asks for a certificate gets the client's, and turns away one without."""
    certificate, key = files
    context = server_context(files, ask=True)
    tls = TlsSettings(ca_file=certificate, cert_file=certificate, key_file=key)
    assert (await call(works, context, tls=tls)).stdout == "2\n"
    with pytest.raises(SandboxUnreachable):
        await call(works, context, tls=TlsSettings(ca_file=certificate))


@pytest.mark.parametrize("key", ["ca_file", "cert_file", "key_file"])
def test_missing_tls_files_are_named(key):
    """A file that is not there is found at start-up, by its key and path."""
    with pytest.raises(TlsError, match=f"{key}='/no/such.pem'"):
        TlsSettings(**{key: "/no/such.pem"})


def test_useless_tls_files_are_named(files, tmp_path):
    """A file that does not hold what its key says, or settings that contradict, are found at start-up."""
    certificate, key = files
    (tmp_path / "empty.pem").write_text("")
    empty = str(tmp_path / "empty.pem")
    for settings, named in [
        ({"ca_file": empty}, "ca_file"),
        ({"cert_file": certificate}, "cert_file"),
        ({"cert_file": certificate, "key_file": empty}, "key_file"),
        ({"key_file": key}, "key_file"),
        ({"ca_file": certificate, "verify": False}, "ca_file"),
    ]:
        with pytest.raises(TlsError, match=named):
            SandboxClient(["https://127.0.0.1:1"], tls=TlsSettings(**settings))
