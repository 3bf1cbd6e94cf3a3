"""HTTP exchanges with endpoints, with every way they can fail mapped to a SandboxFault."""

import email.utils
import io
import json
import ssl
import time
from collections.abc import Awaitable
from http.cookies import BaseCookie, SimpleCookie
from typing import Any, Protocol, TypeVar

import aiohttp

from sandbox_client.credentials import Headers
from sandbox_client.deadlines import Deadlines
from sandbox_client.errors import (
    SandboxDeadlineExceeded,
    SandboxFault,
    SandboxInternalError,
    SandboxOverloaded,
    SandboxProtocolError,
    SandboxRequestRefused,
    SandboxUnreachable,
)
from sandbox_client.exchange import Exchange
from sandbox_client.scope import Interrupted

# Ready made, for json.dumps and json.loads would make or look for theirs each time. Requests hold no cycles.
_encode = json.JSONEncoder(check_circular=False, separators=(",", ":")).encode
_decode = json.JSONDecoder().decode

_NO_COOKIES: BaseCookie[str] = SimpleCookie()

_JSON = "application/json"
_BODY_SHOWN = 400  # characters of an unexpected answer in an error
_BODY_MOST = 1 << 28  # bytes of an answer; what sends more is not a sandbox, and must not fill the memory
_BODY_STREAMED = 1 << 20  # bytes of a request from which aiohttp wants a stream, to let others have the loop
# Less than the 5 s of uvicorn, which Sandbox Fusion runs on: a connection must not be used just as the server drops it.
_KEEP_ALIVE = 4.0  # seconds

_FAILURES = (Interrupted, aiohttp.ClientError, OSError)  # TimeoutError is an OSError

_EXCHANGE = "sandbox_exchange"  # attribute of a request's body: what the connector gets to see of whose request it is

Result = TypeVar("Result", covariant=True)


class Request(Protocol[Result]):
    """What to send, and how to read the answer."""

    path: str
    """Where it goes."""

    @property
    def seconds(self) -> float:
        """Wall seconds that a server may take from the start of the program to its answer."""

    def to_payload(self) -> dict[str, object]:
        """The JSON body."""

    def parse(self, payload: object, endpoint: str) -> Result:
        """The result in the answer. Raises SandboxFault."""


class _Connector(aiohttp.TCPConnector):
    """Keeps the time that it takes to make a connection. aiohttp's own tracing would cost every request."""

    async def _create_connection(self, req: Any, traces: Any, timeout: Any) -> Any:
        began = time.monotonic()
        connection = await super()._create_connection(req, traces, timeout)
        if (exchange := getattr(req.body, _EXCHANGE, None)) is not None:
            exchange.connect = time.monotonic() - began
        return connection


class _NoCookies(aiohttp.DummyCookieJar):
    """What one program's answer sets must not go with the next program."""

    def filter_cookies(self, request_url: object) -> BaseCookie[str]:
        return _NO_COOKIES  # the base class makes an empty one for each request


class Transport:
    """A pooled HTTP session. Opened and closed by its owner, inside a running event loop."""

    def __init__(
        self,
        headers: Headers,
        connect_timeout: float,
        connections: int,
        tls: ssl.SSLContext | None = None,
        *,
        keep_alive: bool = True,
    ) -> None:
        """At most `connections` at a time, 0 for any number; without `keep_alive` each is used once."""
        self._headers = headers
        self._deadlines = Deadlines()
        connector = _Connector(
            limit=connections,
            ssl=True if tls is None else tls,
            force_close=not keep_alive,
            **({"keepalive_timeout": _KEEP_ALIVE} if keep_alive else {}),
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers=headers.values,
            # The whole exchange has its own limit. This one also covers the resolution of names, which no other does.
            timeout=aiohttp.ClientTimeout(total=None, connect=connect_timeout),
            cookie_jar=_NoCookies(),
        )

    async def close(self) -> None:
        """Close all connections."""
        self._deadlines.close()
        await self._session.close()

    def send(self, request: Request[Result], base: str, exchange: Exchange) -> Awaitable[Result]:
        """POST a request to an endpoint and return the result in its answer. Raises SandboxFault."""
        return self._exchange("POST", base, request.path, exchange, request, _payload(request, exchange))

    def get(self, base: str, path: str, exchange: Exchange) -> Awaitable[object]:
        """GET a JSON answer. Raises SandboxFault."""
        return self._exchange("GET", base, path, exchange, None, None)

    async def _exchange(
        self,
        method: str,
        base: str,
        path: str,
        exchange: Exchange,
        request: Request[Result] | None,
        data: aiohttp.Payload | None,
    ) -> Any:
        self._deadlines.add(exchange)
        try:
            with exchange:
                # A redirected POST comes back as a GET and fails in strange ways; better to say what the server said.
                answer = await self._session.request(method, base + path, data=data, allow_redirects=False)
                received = await _read(answer, base)
            _check_status(answer, received, base)
            payload = _decoded(received, base)
            return payload if request is None else request.parse(payload, base)
        except SandboxFault as fault:
            self._headers.hide(fault)
            raise
        except _FAILURES as error:
            fault = _fault(error, exchange, base)
            self._headers.hide(fault)
            # The exceptions of aiohttp carry the request along, and a scope's say nothing more.
            raise fault from None
        finally:
            self._deadlines.discard(exchange)


def _fault(error: BaseException, exchange: Exchange, base: str) -> SandboxFault:
    match error:
        case Interrupted():
            kind = SandboxDeadlineExceeded if exchange.timed_out else SandboxUnreachable
            return kind(str(error), endpoint=base)
        case TimeoutError():  # the only time limit that aiohttp was given
            return SandboxUnreachable(f"no connection: {_text(error)}", endpoint=base)
        case aiohttp.ClientResponseError():  # whatever listens there does not speak HTTP
            return SandboxProtocolError(f"not an HTTP answer: {_text(error)}", endpoint=base)
        case _:
            return SandboxUnreachable(f"connection failed: {_text(error)}", endpoint=base)


def _decoded(received: bytes, base: str) -> object:
    try:
        # Decoded here, because json would first look for encodings that no server uses.
        return _decode(received.decode())
    except (ValueError, RecursionError):
        # Without the cause, which would carry the whole answer along.
        raise SandboxProtocolError(f"the answer is not JSON: {_shown(received)}", endpoint=base) from None


def _payload(request: Request[Any], exchange: Exchange) -> aiohttp.Payload:
    body = _encode(request.to_payload()).encode()
    payload: aiohttp.Payload
    if len(body) < _BODY_STREAMED:
        payload = aiohttp.BytesPayload(body, content_type=_JSON)
    else:
        payload = aiohttp.BytesIOPayload(io.BytesIO(body), content_type=_JSON)
    setattr(payload, _EXCHANGE, exchange)
    return payload


async def _read(answer: aiohttp.ClientResponse, base: str) -> bytes:
    """The body. Read to its end, the answer gives its connection back by itself."""
    try:
        content = answer.content
        # A small body comes with its head; aiohttp's way of waiting for one would cost more than reading it.
        if content.is_eof():
            return content.read_nowait()
        length = answer.content_length
        if length is not None and length <= _BODY_MOST:
            return await answer.read()
        received = bytearray()
        if length is None:
            async for chunk in content.iter_any():
                received += chunk
                if len(received) > _BODY_MOST:
                    break
            else:
                return bytes(received)
    except BaseException:
        answer.close()
        raise
    answer.close()
    raise SandboxProtocolError(f"the answer is longer than {_BODY_MOST >> 20} MiB", endpoint=base)


def _check_status(answer: aiohttp.ClientResponse, body: bytes, endpoint: str) -> None:
    status = answer.status
    if status == 200:
        return
    what = f"HTTP {status}: {_shown(body)}"
    if status in (429, 503):
        retry_after = parse_retry_after(answer.headers.get("Retry-After"), time.time())
        raise SandboxOverloaded(what, endpoint=endpoint, retry_after=retry_after)
    if status >= 500:
        raise SandboxInternalError(what, endpoint=endpoint)
    if status in (400, 413, 422):
        raise SandboxRequestRefused(what, endpoint=endpoint)
    if location := answer.headers.get("Location"):
        what += f"; it points to {location:.200}"
    raise SandboxProtocolError(what, endpoint=endpoint)


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Seconds in a Retry-After header, which holds seconds or a date; None when there is nothing to make out.

    `now` is in seconds since the epoch.
    """
    if value is None:
        return None
    try:
        return max(0.0, float(int(value)))
    except (ValueError, OverflowError):
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def _text(error: BaseException) -> str:
    return f"{type(error).__name__} {error}".strip()


def _shown(body: bytes) -> str:
    text = body[: 4 * _BODY_SHOWN].decode("utf-8", errors="replace")
    return repr(text[:_BODY_SHOWN])
