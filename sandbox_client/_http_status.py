"""Which fault an HTTP status is that is not 200."""

import email.utils
import time

import aiohttp

from sandbox_client._errors import (
    SandboxInternalError,
    SandboxOverloaded,
    SandboxProtocolError,
    SandboxRequestRefused,
)

SHOWN = 400
"""Characters of an unexpected answer in an error."""


def check_status(answer: aiohttp.ClientResponse, body: bytes, endpoint: str) -> None:
    """Raise the SandboxFault that an answer with `body` is; none with status 200."""
    status = answer.status
    if status == 200:
        return
    what = f"HTTP {status}: {shown(body)}"
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


def shown(body: bytes) -> str:
    """The beginning of a body, for an error."""
    text = body[: 4 * SHOWN].decode("utf-8", errors="replace")
    return repr(text[:SHOWN])
