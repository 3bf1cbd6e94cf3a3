"""How a client behaves, as values, and the check of the endpoints that it is given."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from sandbox_client.errors import EndpointError

_RUN_CODE = "/run_code"

# What people leave in when they copy a configuration. A call to one of these fails forever, and looks like an outage.
_PLACEHOLDERS = re.compile(
    r"""
    [<>{}$]                                     # <host>, ${SANDBOX}, {host}
    | \byour[-_. ]                              # your-sandbox
    | \bexample\.(com|org|net)\b
    | [./]example(?=[:/]|$)
    | x{3,}                                     # xxx, xxxx.region.cloud
    | \bchange[-_.]?(me|this)\b
    | \breplace[-_.]?(me|this|with)\b
    | \bplaceholder\b
    | (?<![a-z0-9])to[-_]?do(?![a-z0-9])
    | _(host|url|address|ip)\b                  # SANDBOX_HOST; names in DNS have no underscore
    | \.\.\.
    """,
    re.VERBOSE | re.IGNORECASE,
)
_LISTEN_ONLY = ("0.0.0.0", "::")


@dataclass(frozen=True)
class Timeouts:
    """Seconds that one attempt may take."""

    connect: float = 5.0
    """To open a connection."""

    total: float = 120.0
    """For the whole attempt: the server's queue, the program, the answer."""

    margin: float = 5.0
    """By how much `total` must at least exceed a program's run_timeout. With less, the client would give up on programs
    that the server is about to report as out of time, and an observation would turn into an outage."""

    def __post_init__(self) -> None:
        _require_positive(self, "connect", "total", "margin")


@dataclass(frozen=True)
class Limits:
    """How much a client asks of its endpoints at once."""

    max_concurrency: int = 256
    """Calls in flight; further ones wait in the client for their turn, and that wait counts against no timeout."""

    def __post_init__(self) -> None:
        _require_positive(self, "max_concurrency")


@dataclass(frozen=True)
class RetryPolicy:
    """When to try again after a fault, and when to give up."""

    attempts: int = 5
    """Attempts of a call, the first included."""

    total_timeout: float = 240.0
    """Seconds for all attempts and pauses of a call, from its turn on."""

    wait_initial: float = 0.2
    """Seconds before the second attempt; doubled before each further one."""

    wait_max: float = 10.0
    """Seconds that a pause may take, also when the server asks for more with Retry-After."""

    wait_jitter: float = 0.5
    """Up to this many seconds are added at random, so that callers do not come back together."""

    def __post_init__(self) -> None:
        _require_positive(self, "attempts", "total_timeout", "wait_max")
        if self.wait_initial < 0 or self.wait_jitter < 0:
            raise ValueError(f"{self}: wait_initial and wait_jitter must not be negative")


def validate_endpoints(endpoints: Iterable[str]) -> tuple[str, ...]:
    """The base URLs of `endpoints`, without a trailing slash or /run_code.

    Raises EndpointError, naming the value and the fix, for an empty list, a malformed URL, a placeholder, an address
    that can only be listened on, or the same endpoint twice.
    """
    if isinstance(endpoints, str):
        raise EndpointError(f"endpoints={endpoints!r} is one string: write a list, [{endpoints!r}]")
    bases = tuple(_base_url(endpoint) for endpoint in endpoints)
    if not bases:
        raise EndpointError("endpoints=[] is empty: give at least one, such as http://127.0.0.1:8080")
    for base in bases:
        if bases.count(base) > 1:
            raise EndpointError(f"endpoint {base!r} is listed {bases.count(base)} times: list it once")
    return bases


def _base_url(endpoint: object) -> str:
    def wrong(what: str, fix: str) -> EndpointError:
        return EndpointError(f"endpoint {endpoint!r} {what}: {fix}")

    if not isinstance(endpoint, str) or not endpoint.strip():
        raise wrong("is not a URL", "write one such as http://127.0.0.1:8080")
    if _PLACEHOLDERS.search(endpoint):
        raise wrong("looks like a placeholder", "put in the address of a running sandbox, such as http://10.0.0.5:8080")
    if re.search(r"[\s,;]", endpoint):
        raise wrong("holds a space or a separator", "give each endpoint as an item of its own, without spaces")
    try:
        parts = urlsplit(endpoint)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise wrong(f"is not a URL ({error})", "write one such as http://127.0.0.1:8080") from error
    if parts.scheme not in ("http", "https"):
        raise wrong("does not begin with http:// or https://", f"write http://{endpoint.rpartition('://')[2]}")
    if not host:
        raise wrong("has no host", "write one such as http://127.0.0.1:8080")
    if not re.fullmatch(r"[a-z0-9._-]+|[0-9a-f:.%]+", host) or port == 0:
        raise wrong("has a host or port that cannot be connected to", "write one such as http://127.0.0.1:8080")
    if host in _LISTEN_ONLY:
        raise wrong("is an address to listen on, not to connect to", "name the machine, or 127.0.0.1 for this one")
    if parts.username or parts.password:
        raise wrong("carries credentials, which would end up in logs", "pass them as a header")
    if parts.query or parts.fragment:
        raise wrong("carries a query or a fragment", "leave out what follows the path")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix(_RUN_CODE).rstrip('/')}"


def _require_positive(value: object, *names: str) -> None:
    for name in names:
        if getattr(value, name) <= 0:
            raise ValueError(f"{value}: {name} must be positive")
