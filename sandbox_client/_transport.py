"""HTTP exchanges with endpoints, with every way they can fail mapped to a SandboxFault."""

import asyncio
import email.utils
import io
import json
import ssl
import time
from collections.abc import Awaitable
from http.cookies import BaseCookie, SimpleCookie
from types import TracebackType
from typing import Any, ClassVar, Protocol, TypeVar

import aiohttp

from sandbox_client._credentials import Headers
from sandbox_client._errors import (
    SandboxDeadlineExceeded,
    SandboxFault,
    SandboxInternalError,
    SandboxOverloaded,
    SandboxProtocolError,
    SandboxRequestRefused,
    SandboxUnreachable,
)

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

_EXCHANGE = "sandbox_exchange"  # attribute of a request's body: what the connector gets to see of whose request it is

Result = TypeVar("Result", covariant=True)


class SandboxRequest(Protocol[Result]):
    """What to send, and how to read the answer."""

    path: ClassVar[str]
    """Where it goes."""

    @property
    def seconds(self) -> float:
        """Wall seconds that a server may take from the start of the program to its answer."""

    def to_payload(self) -> dict[str, object]:
        """The JSON body."""

    def parse(self, payload: object, endpoint: str) -> Result:
        """The result in the answer. Raises SandboxFault."""


class Exchange:
    """One HTTP exchange under way: the time that it may take, from when it is made, and what is known of it."""

    __slots__ = ("began", "connect", "interrupted", "limit", "seconds")

    def __init__(self, seconds: float) -> None:
        """It may take `seconds`. Made inside a running event loop."""
        self.seconds = seconds
        """How long it may take."""
        self.limit = asyncio.timeout(seconds)
        """What ends it. Entered for as long as it runs."""
        self.began = time.monotonic()
        """When it was made."""
        self.connect = 0.0
        """Seconds that it took to get a connection; 0 when there was an open one."""
        self.interrupted: str | None = None
        """Why it was ended before its time was over, if it was."""

    def interrupt(self, why: str) -> None:
        """End it now: SandboxUnreachable comes out of it. Harmless when it is ending."""
        if not self.limit.expired():
            self.interrupted = why
            self.limit.reschedule(0.0)  # long past on any loop's clock


class _FaultsOnly:
    """Maps every error that an exchange can end in to a SandboxFault, and takes the secrets out of it."""

    __slots__ = ("_base", "_exchange", "_headers")

    def __init__(self, exchange: Exchange, base: str, headers: Headers) -> None:
        self._exchange = exchange
        self._base = base
        self._headers = headers

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, SandboxFault):
            self._headers.hide(error)
        elif isinstance(error, aiohttp.ClientError | OSError):  # TimeoutError is an OSError
            fault = self._fault(error)
            self._headers.hide(fault)
            # The exceptions of aiohttp carry the request along, and a timeout's says nothing more.
            raise fault from None

    def _fault(self, error: BaseException) -> SandboxFault:
        match error:
            case TimeoutError() if (why := self._exchange.interrupted) is not None:
                return SandboxUnreachable(why, endpoint=self._base)
            case TimeoutError() if self._exchange.limit.expired():
                return SandboxDeadlineExceeded(f"no answer in {self._exchange.seconds:.1f} s", endpoint=self._base)
            case TimeoutError():  # the only time limit that aiohttp was given
                return SandboxUnreachable(f"no connection: {_text(error)}", endpoint=self._base)
            case aiohttp.ClientResponseError():  # whatever listens there does not speak HTTP
                return SandboxProtocolError(f"not an HTTP answer: {_text(error)}", endpoint=self._base)
            case _:
                return SandboxUnreachable(f"connection failed: {_text(error)}", endpoint=self._base)


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
        check = True if tls is None else tls
        connector = (
            _Connector(limit=connections, ssl=check, keepalive_timeout=_KEEP_ALIVE)
            if keep_alive
            else _Connector(limit=connections, ssl=check, force_close=True)
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
        await self._session.close()

    def send(self, request: SandboxRequest[Result], base: str, exchange: Exchange) -> Awaitable[Result]:
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
        request: SandboxRequest[Result] | None,
        data: aiohttp.Payload | None,
    ) -> Any:
        with _FaultsOnly(exchange, base, self._headers):
            async with exchange.limit:
                # A redirected POST comes back as a GET and fails in strange ways; better to say what the server said.
                answer = await self._session.request(method, base + path, data=data, allow_redirects=False)
                received = await _read(answer, base)
            _check_status(answer, received, base)
            payload = _decoded(received, base)
            return payload if request is None else request.parse(payload, base)


def _decoded(received: bytes, base: str) -> object:
    try:
        # Decoded here, because json would first look for encodings that no server uses.
        return _decode(received.decode())
    except (ValueError, RecursionError):
        # Without the cause, which would carry the whole answer along.
        raise SandboxProtocolError(f"the answer is not JSON: {_shown(received)}", endpoint=base) from None


def _payload(request: SandboxRequest[Any], exchange: Exchange) -> aiohttp.Payload:
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
