"""An async client of Sandbox Fusion's HTTP API. It knows nothing of what the programs are for.

    async with SandboxClient(["http://sandbox-0:8080", "http://sandbox-1:8080"]) as client:
        execution = await client.run_code("print(1 + 1)", run_timeout=5.0)

A program that fails is an `Execution`; a sandbox that fails is a `SandboxFault`, which is never the program's doing:

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
understand later, but its neighbour may be the one that is set up right. SandboxRequestRefused and SandboxUnavailable
are not retried. All faults can be pickled, so that they cross process boundaries.
"""

from sandbox_client._breaker import BreakerState
from sandbox_client._client import SandboxClient
from sandbox_client._config import BreakerPolicy, CallLimits, ProbePolicy, RetryPolicy, Timeouts
from sandbox_client._credentials import Headers, TlsSettings, Token, read_token
from sandbox_client._errors import (
    FAULT_KINDS,
    ClientClosedError,
    EndpointError,
    SandboxDeadlineExceeded,
    SandboxFault,
    SandboxInternalError,
    SandboxOverloaded,
    SandboxProtocolError,
    SandboxRequestRefused,
    SandboxUnavailable,
    SandboxUnreachable,
    TlsError,
    TokenError,
)
from sandbox_client._execution import Execution, ExecutionStatus, RunCodeRequest, parse_run_code_response
from sandbox_client._jupyter import (
    CellError,
    CellExecution,
    JupyterExecution,
    RunJupyterRequest,
    parse_run_jupyter_response,
)
from sandbox_client._stats import ClientSnapshot, ClientStats, EndpointSnapshot
from sandbox_client._urls import validate_endpoints

__all__ = [
    "FAULT_KINDS",
    "BreakerPolicy",
    "BreakerState",
    "CallLimits",
    "CellError",
    "CellExecution",
    "ClientClosedError",
    "ClientSnapshot",
    "ClientStats",
    "EndpointError",
    "EndpointSnapshot",
    "Execution",
    "ExecutionStatus",
    "Headers",
    "JupyterExecution",
    "ProbePolicy",
    "RetryPolicy",
    "RunCodeRequest",
    "RunJupyterRequest",
    "SandboxClient",
    "SandboxDeadlineExceeded",
    "SandboxFault",
    "SandboxInternalError",
    "SandboxOverloaded",
    "SandboxProtocolError",
    "SandboxRequestRefused",
    "SandboxUnavailable",
    "SandboxUnreachable",
    "Timeouts",
    "TlsError",
    "TlsSettings",
    "Token",
    "TokenError",
    "parse_run_code_response",
    "parse_run_jupyter_response",
    "read_token",
    "validate_endpoints",
]
