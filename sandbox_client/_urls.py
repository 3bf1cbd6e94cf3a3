"""The check of the endpoints that a client is given."""

import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from sandbox_client._errors import EndpointError

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
# As the resolver wants it: it raises something of its own for an empty or long one, at the first call.
_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_LISTEN_ONLY = ("0.0.0.0", "::")


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
    if not re.fullmatch(rf"{_LABEL}(\.{_LABEL})*\.?|[0-9a-f:.%]*:[0-9a-z:.%]*", host) or port == 0:
        raise wrong("has a host or port that cannot be connected to", "write one such as http://127.0.0.1:8080")
    if host in _LISTEN_ONLY:
        raise wrong("is an address to listen on, not to connect to", "name the machine, or 127.0.0.1 for this one")
    if parts.username or parts.password:
        raise wrong("carries credentials, which would end up in logs", "pass them as a header")
    if parts.query or parts.fragment:
        raise wrong("carries a query or a fragment", "leave out what follows the path")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix(_RUN_CODE).rstrip('/')}"


def is_loopback(base: str) -> bool:
    """Whether a base URL leads to this machine, so that what is sent to it crosses no network."""
    host = urlsplit(base).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
