"""One HTTP exchange with one endpoint, with every way it can fail mapped to a SandboxFault."""

import email.utils
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import aiohttp

from sandbox_client.config import Limits, Timeouts
from sandbox_client.errors import (
    SandboxDeadlineExceeded,
    SandboxInternalError,
    SandboxOverloaded,
    SandboxProtocolError,
    SandboxUnreachable,
)

_BODY_SHOWN = 400  # characters of an unexpected answer in an error


class Transport:
    """A pooled HTTP session. Opened and closed by its owner, inside a running event loop."""

    def __init__(self, timeouts: Timeouts, limits: Limits, headers: Mapping[str, str] | None) -> None:
        self._timeouts = timeouts
        # As many connections as calls in flight: a call that has its turn must not wait again for a connection.
        connector = aiohttp.TCPConnector(limit=limits.max_concurrency)
        self._session = aiohttp.ClientSession(connector=connector, headers=headers)

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def post(self, endpoint: str, path: str, payload: object, timeout: float) -> object:
        """POST `payload` as JSON and return the decoded answer, all within `timeout` seconds. Raises SandboxFault."""
        return await self._exchange("POST", endpoint, path, timeout, payload)

    async def get(self, endpoint: str, path: str, timeout: float) -> object:
        """GET a JSON answer within `timeout` seconds. Raises SandboxFault."""
        return await self._exchange("GET", endpoint, path, timeout)

    async def _exchange(self, method: str, endpoint: str, path: str, timeout: float, payload: object = None) -> object:
        limits = aiohttp.ClientTimeout(total=timeout, sock_connect=self._timeouts.connect)
        # A redirected POST comes back as a GET and fails in strange ways; better to say what the server said.
        request = self._session.request(method, endpoint + path, json=payload, timeout=limits, allow_redirects=False)
        with _faults(endpoint, timeout):
            async with request as answer:
                body = await answer.read()
        _check_status(answer, body, endpoint)
        try:
            return json.loads(body)
        except ValueError as error:
            raise SandboxProtocolError(f"the answer is not JSON: {_shown(body)}", endpoint=endpoint) from error


@contextmanager
def _faults(endpoint: str, timeout: float) -> Iterator[None]:
    try:
        yield
    except aiohttp.ConnectionTimeoutError as error:
        raise SandboxUnreachable(f"no connection: {_text(error)}", endpoint=endpoint) from error
    except TimeoutError as error:
        raise SandboxDeadlineExceeded(f"no answer in {timeout:.1f} s", endpoint=endpoint) from error
    except aiohttp.ClientResponseError as error:  # whatever listens there does not speak HTTP
        raise SandboxProtocolError(f"not an HTTP answer: {_text(error)}", endpoint=endpoint) from error
    except (aiohttp.ClientError, OSError) as error:
        raise SandboxUnreachable(f"connection failed: {_text(error)}", endpoint=endpoint) from error


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
    if location := answer.headers.get("Location"):
        what += f"; it points to {location}"
    raise SandboxProtocolError(what, endpoint=endpoint)


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Seconds in a Retry-After header, which holds seconds or a date; None when there is nothing to make out.

    `now` is in seconds since the epoch.
    """
    if value is None:
        return None
    try:
        return max(0.0, float(int(value)))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - now)
    except ValueError:
        return None


def _text(error: BaseException) -> str:
    return f"{type(error).__name__} {error}".strip()


def _shown(body: bytes) -> str:
    text = body[: 4 * _BODY_SHOWN].decode("utf-8", errors="replace")
    return repr(text[:_BODY_SHOWN])
