"""What can go wrong between a caller and a sandbox. None of it is the fault of the program that was to run.

    SandboxFault                        catch this one
    ├── SandboxUnreachable              connection refused, reset or cut; name not resolved; TLS failed; judged wedged
    ├── SandboxOverloaded               429 or 503: its queue is full, come back later
    ├── SandboxInternalError            any other 5xx, or status "SandboxError" in a 200
    ├── SandboxDeadlineExceeded         no answer in the client's time
    ├── SandboxProtocolError            an answer that Sandbox Fusion does not give: other 4xx, not JSON, fields missing
    │   └── SandboxRequestRefused       400, 413 or 422: the endpoint works, and does not want this request
    └── SandboxUnavailable              no endpoint took calls for longer than the call may wait

    ClientClosedError (a RuntimeError)  the client was closed while the call ran
    EndpointError (a ValueError)        bad configuration, found before any call
    TokenError (a ValueError)           the same, of the bearer token
    TlsError (a ValueError)             the same, of the TLS files

The first four are retried. So is a SandboxProtocolError of an endpoint that has run a program before: it is a sandbox,
and the answer is that of a proxy before it, or of a route that is lost for a while. From an endpoint that never ran one
it is retried once, at another endpoint if there is one: what such a server does not understand now, it will not
understand later, but its neighbour may be the one that is set up right. The last two are not retried. All faults can be
pickled, so that they cross process boundaries.
"""

from collections.abc import Callable
from typing import ClassVar, Self


class SandboxFault(Exception):
    """A call that brought no result because the sandbox, or the way to it, failed."""

    retryable: ClassVar[bool] = True
    """Whether another attempt at the same endpoint may fare better."""

    blames_endpoint: ClassVar[bool] = True
    """Whether it counts against the endpoint's breaker."""

    endpoint: str
    """Base URL of the last endpoint tried."""

    attempts: int
    """How many attempts the call took."""

    retry_after: float | None
    """Seconds that the server asked to be left alone for, if it did."""

    def __init__(self, message: str, *, endpoint: str, attempts: int = 1, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.endpoint = endpoint
        self.attempts = attempts
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.message} [{self.endpoint}, attempts: {self.attempts}]"

    def __reduce__(self) -> tuple[Callable[..., Self], tuple[object, ...]]:
        # The default would call the class with the message alone, and fail for want of an endpoint.
        return _rebuild, (type(self), self.message, self.endpoint, self.attempts, self.retry_after)


def _rebuild(
    kind: type[SandboxFault], message: str, endpoint: str, attempts: int, retry_after: float | None
) -> SandboxFault:
    return kind(message, endpoint=endpoint, attempts=attempts, retry_after=retry_after)


class SandboxUnreachable(SandboxFault):
    """No connection, or one that broke before the answer was complete."""


class SandboxOverloaded(SandboxFault):
    """The sandbox has no room: 429 or 503."""

    # Back-pressure of a server that works. A breaker that opened on it would turn a full queue into an outage.
    blames_endpoint = False


class SandboxInternalError(SandboxFault):
    """The sandbox failed: a 5xx other than 503, or status SandboxError."""


class SandboxDeadlineExceeded(SandboxFault):
    """The sandbox did not answer in the client's time."""


class SandboxProtocolError(SandboxFault):
    """The answer is not one that Sandbox Fusion gives; most often the endpoint is not a sandbox at all."""

    retryable = False


class SandboxRequestRefused(SandboxProtocolError):
    """The endpoint understood the request well enough to refuse it; nothing to hold against the endpoint."""

    blames_endpoint = False


class SandboxUnavailable(SandboxFault):
    """Every endpoint's breaker stayed open for longer than the call may wait. `endpoint` names them all."""

    retryable = False
    blames_endpoint = False


class ClientClosedError(RuntimeError):
    """The client was closed while the call ran."""


class EndpointError(ValueError):
    """An endpoint that cannot be right; the message names the value and the fix."""


class TokenError(ValueError):
    """A bearer token that cannot be read; the message names the file or variable, and never the token."""


class TlsError(ValueError):
    """TLS settings that cannot be used; the message names the key, the file and the fix."""
