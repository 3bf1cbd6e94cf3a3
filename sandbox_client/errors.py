"""What can go wrong between a caller and a sandbox. None of it is the fault of the program that was to run.

    SandboxFault                    catch this one
    ├── SandboxUnreachable          connection refused, reset or cut; name not resolved; TLS failed
    ├── SandboxOverloaded           429 or 503: come back later
    ├── SandboxInternalError        any other 5xx, or status "SandboxError" in a 200
    ├── SandboxDeadlineExceeded     no answer in the client's time
    └── SandboxProtocolError        an answer that Sandbox Fusion does not give: other 4xx, not JSON, fields missing

    EndpointError (a ValueError)    bad configuration, found before any call

All but SandboxProtocolError are retried: what the server does not understand now, it will not understand later. All can
be pickled, so that they cross process boundaries.
"""

from collections.abc import Callable
from typing import ClassVar, Self


class SandboxFault(Exception):
    """A call that brought no result because the sandbox, or the way to it, failed."""

    retryable: ClassVar[bool] = True
    """Whether another attempt may fare better."""

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


class SandboxInternalError(SandboxFault):
    """The sandbox failed: a 5xx other than 503, or status SandboxError."""


class SandboxDeadlineExceeded(SandboxFault):
    """The sandbox did not answer in the client's time."""


class SandboxProtocolError(SandboxFault):
    """The answer is not one that Sandbox Fusion gives; most often the endpoint is not a sandbox at all."""

    retryable = False


class EndpointError(ValueError):
    """An endpoint that cannot be right; the message names the value and the fix."""
