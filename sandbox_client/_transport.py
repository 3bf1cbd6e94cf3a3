"""HTTP exchanges with endpoints, with every way they can fail mapped to a SandboxFault."""

import asyncio
import io
import json
import ssl
import time
from collections import defaultdict
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from http.cookies import BaseCookie, SimpleCookie
from types import TracebackType
from typing import Any, ClassVar, Protocol, TypeVar

import aiohttp

from sandbox_client._body import BodyError, decoded, inflated, is_light
from sandbox_client._credentials import Headers
from sandbox_client._errors import (
    SandboxDeadlineExceeded,
    SandboxFault,
    SandboxProtocolError,
    SandboxUnreachable,
)
from sandbox_client._http_status import SHOWN, check_status, shown

# Ready made, for json.dumps would make its own each time. Requests hold no cycles.
_encode = json.JSONEncoder(check_circular=False, separators=(",", ":")).encode

_NO_COOKIES: BaseCookie[str] = SimpleCookie()

_JSON = "application/json"
_ENCODINGS = "gzip, deflate"  # what can be counted while it is decompressed
_SHORT_MOST = 1 << 16  # bytes of an answer that is no result; of an error, the rest is not read
_LARGE = 1 << 22  # bytes beyond which an answer waits for its turn
_LARGE_TURNS = 4  # of an endpoint, at a time: what it sends must not fill the memory
_DECODERS = 2  # threads; what keeps them busy does not keep the loop waiting for long
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
    def most_bytes(self) -> int:
        """Bytes that the body of an answer may have, when it is not compressed."""

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

    def update_cookies_from_headers(self, headers: object, response_url: object) -> None:
        """Not even parsed."""


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
        self._decoders = ThreadPoolExecutor(_DECODERS, "sandbox answers")
        self._large: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(_LARGE_TURNS))
        said = any(name.lower() == "accept-encoding" for name in headers.values)
        encodings = {} if said else {"Accept-Encoding": _ENCODINGS}
        check = True if tls is None else tls
        connector = (
            _Connector(limit=connections, ssl=check, keepalive_timeout=_KEEP_ALIVE)
            if keep_alive
            else _Connector(limit=connections, ssl=check, force_close=True)
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers={**encodings, **headers.values},
            # Counted while it is decompressed, and not on the loop.
            auto_decompress=False,
            # The whole exchange has its own limit. This one also covers the resolution of names, which no other does.
            timeout=aiohttp.ClientTimeout(total=None, connect=connect_timeout),
            cookie_jar=_NoCookies(),
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()
        self._decoders.shutdown(wait=False, cancel_futures=True)

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
                try:
                    content = answer.content
                    # A small body comes with its head; aiohttp's way of waiting for one would cost more than reading
                    # it, and so would a coroutine.
                    if content.is_eof() and answer.status == 200 and "Content-Encoding" not in answer.headers:
                        received = content.read_nowait()
                        if is_light(received):
                            return _read(received, None, base, request, _SHORT_MOST)
                    else:
                        received = b""
                    return await self._understood(answer, received, base, request)
                except BaseException:
                    # One that was read to its end has given its connection back by itself.
                    answer.close()
                    raise

    async def _understood(
        self, answer: aiohttp.ClientResponse, begun: bytes, base: str, request: SandboxRequest[Result] | None
    ) -> Any:
        """The result in an answer of which `begun` has been read."""
        content = answer.content
        most = _SHORT_MOST if request is None or answer.status != 200 else request.most_bytes
        received = bytearray(begun)
        if await _ends(content, received, min(most, _LARGE)):
            return await self._result(answer, bytes(received), base, request, most)
        if answer.status != 200:
            check_status(answer, bytes(received), base)
        async with self._large[base]:
            if (answer.content_length or 0) > most or not await _ends(content, received, most):
                raise SandboxProtocolError(f"the answer is longer than {most} bytes", endpoint=base)
            return await self._result(answer, bytes(received), base, request, most)

    async def _result(
        self,
        answer: aiohttp.ClientResponse,
        received: bytes,
        base: str,
        request: SandboxRequest[Result] | None,
        most: int,
    ) -> Any:
        check_status(answer, received, base)
        encoding = answer.headers.get("Content-Encoding")
        if encoding is None and is_light(received):
            return _read(received, None, base, request, most)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._decoders, _read, received, encoding, base, request, most)


def _read(received: bytes, encoding: str | None, base: str, request: SandboxRequest[Any] | None, most: int) -> object:
    try:
        body = received if encoding is None else inflated(received, encoding, most)
        payload = decoded(body)
    except BodyError as error:
        raise SandboxProtocolError(f"the answer {error}: {shown(received)}", endpoint=base) from None
    return payload if request is None else request.parse(payload, base)


async def _ends(content: aiohttp.StreamReader, received: bytearray, most: int) -> bool:
    """Add to `received` what comes; whether that ends before it is more than `most` bytes."""
    while len(received) <= most:
        chunk = await content.readany()
        if not chunk:
            return True
        received += chunk
    return False


def _payload(request: SandboxRequest[Any], exchange: Exchange) -> aiohttp.Payload:
    body = _encode(request.to_payload()).encode()
    payload: aiohttp.Payload
    if len(body) < _BODY_STREAMED:
        payload = aiohttp.BytesPayload(body, content_type=_JSON)
    else:
        payload = aiohttp.BytesIOPayload(io.BytesIO(body), content_type=_JSON)
    setattr(payload, _EXCHANGE, exchange)
    return payload


def _text(error: BaseException) -> str:
    return f"{type(error).__name__} {error}".strip()[:SHOWN]
