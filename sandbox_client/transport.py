"""HTTP exchanges with endpoints, with every way they can fail mapped to a SandboxFault."""

import email.utils
import io
import json
import ssl
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

import aiohttp

from sandbox_client.credentials import Headers
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

_JSON = "application/json"
_BODY_SHOWN = 400  # characters of an unexpected answer in an error
_BODY_MOST = 1 << 28  # bytes of an answer; what sends more is not a sandbox, and must not fill the memory
_BODY_STREAMED = 1 << 20  # bytes of a request from which aiohttp wants a stream, to let others have the loop
# Less than the 5 s of uvicorn, which Sandbox Fusion runs on: a connection must not be used just as the server drops it.
_KEEP_ALIVE = 4.0  # seconds

_FAILURES = (Interrupted, aiohttp.ClientError, OSError)  # TimeoutError is an OSError

_current: ContextVar[Exchange | None] = ContextVar("_current", default=None)

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
    """Keeps the time that it takes to get a connection. aiohttp's own tracing would cost each request more."""

    async def connect(self, req: Any, traces: Any, timeout: Any) -> Any:
        began = time.monotonic()
        connection = await super().connect(req, traces, timeout)
        if (exchange := _current.get()) is not None:
            exchange.connect = time.monotonic() - began
        return connection


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
            # What one program's answer sets must not go with the next program.
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    def send(self, request: Request[Result], base: str, body: bytes, exchange: Exchange) -> Awaitable[Result]:
        """POST `body`, the encoded payload of `request`, to an endpoint and return the result in its answer.

        Raises SandboxFault.
        """
        return self._exchange("POST", base, request.path, exchange, request.parse, _payload(body))

    def get(self, base: str, path: str, exchange: Exchange) -> Awaitable[object]:
        """GET a JSON answer. Raises SandboxFault."""
        return self._exchange("GET", base, path, exchange, lambda payload, _: payload, None)

    async def _exchange(
        self,
        method: str,
        base: str,
        path: str,
        exchange: Exchange,
        parse: Callable[[object, str], Result],
        data: aiohttp.Payload | None,
    ) -> Result:
        before = _current.set(exchange)
        try:
            with exchange:
                # A redirected POST comes back as a GET and fails in strange ways; better to say what the server said.
                answer = await self._session.request(method, base + path, data=data, allow_redirects=False)
                try:
                    received = await _read(answer, base)
                finally:
                    # What was read to its end has given its connection back already; what was not must not be reused.
                    answer.close()
            _check_status(answer, received, base)
            return parse(_decoded(received, base), base)
        except SandboxFault as fault:
            self._headers.hide(fault)
            raise
        except _FAILURES as error:
            fault = _fault(error, exchange, base)
            self._headers.hide(fault)
            # The exceptions of aiohttp carry the request along, and a scope's say nothing more.
            raise fault from None
        finally:
            _current.reset(before)


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
        return json.loads(received.decode())
    except (ValueError, RecursionError):
        # Without the cause, which would carry the whole answer along.
        raise SandboxProtocolError(f"the answer is not JSON: {_shown(received)}", endpoint=base) from None


def _payload(body: bytes) -> aiohttp.Payload:
    if len(body) < _BODY_STREAMED:
        return aiohttp.BytesPayload(body, content_type=_JSON)
    return aiohttp.BytesIOPayload(io.BytesIO(body), content_type=_JSON)


async def _read(answer: aiohttp.ClientResponse, base: str) -> bytes:
    length = answer.content_length
    if length is not None and length <= _BODY_MOST:
        return await answer.read()
    received = bytearray()
    if length is None:
        async for chunk in answer.content.iter_any():
            received += chunk
            if len(received) > _BODY_MOST:
                break
        else:
            return bytes(received)
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
