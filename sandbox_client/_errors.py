"""The exceptions of the client; their tree stands in the docstring of `sandbox_client`."""

from collections.abc import Callable, Iterator
from typing import ClassVar


class SandboxFault(Exception):
    """A call that brought no result because the sandbox, or the way to it, failed."""

    kind: ClassVar[str]
    """One word for the class, in counters and in the names of metrics. All of them: `FAULT_KINDS`."""

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

    def __reduce__(self) -> tuple[Callable[..., "SandboxFault"], tuple[object, ...]]:
        # The default would call the class with the message alone, and fail for want of an endpoint.
        return _rebuild, (type(self), self.message, self.endpoint, self.attempts, self.retry_after)


def _rebuild(
    kind: type[SandboxFault], message: str, endpoint: str, attempts: int, retry_after: float | None
) -> SandboxFault:
    return kind(message, endpoint=endpoint, attempts=attempts, retry_after=retry_after)


class SandboxUnreachable(SandboxFault):
    """No connection, or one that broke before the answer was complete."""

    kind = "unreachable"


class SandboxOverloaded(SandboxFault):
    """The sandbox has no room: 429 or 503."""

    kind = "overloaded"

    # Back-pressure of a server that works. A breaker that opened on it would turn a full queue into an outage.
    blames_endpoint = False


class SandboxInternalError(SandboxFault):
    """The sandbox failed: a 5xx other than 503, or status SandboxError."""

    kind = "internal_error"


class SandboxDeadlineExceeded(SandboxFault):
    """The sandbox did not answer in the client's time."""

    kind = "deadline_exceeded"


class SandboxProtocolError(SandboxFault):
    """The answer is not one that Sandbox Fusion gives; most often the endpoint is not a sandbox at all."""

    kind = "protocol_error"

    retryable = False


class SandboxRequestRefused(SandboxProtocolError):
    """The endpoint understood the request well enough to refuse it; nothing to hold against the endpoint."""

    kind = "request_refused"

    blames_endpoint = False


class SandboxUnavailable(SandboxFault):
    """Every endpoint's breaker stayed open for longer than the call may wait. `endpoint` names them all."""

    kind = "unavailable"

    retryable = False
    blames_endpoint = False


def _kinds(fault: type[SandboxFault]) -> Iterator[str]:
    for narrower in fault.__subclasses__():
        yield narrower.kind
        yield from _kinds(narrower)


FAULT_KINDS = tuple(_kinds(SandboxFault))
"""The `kind` of every fault above, in their order."""


class ClientClosedError(RuntimeError):
    """The client was closed while the call ran."""


class EndpointError(ValueError):
    """An endpoint that cannot be right; the message names the value and the fix."""


class TokenError(ValueError):
    """A bearer token that cannot be read; the message names the file or variable, and never the token."""


class TlsError(ValueError):
    """TLS settings that cannot be used; the message names the key, the file and the fix."""
