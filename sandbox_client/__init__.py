"""An async client of Sandbox Fusion's HTTP API. Knows nothing of what the programs are for.

    async with SandboxClient(["http://sandbox-0:8080", "http://sandbox-1:8080"]) as client:
        execution = await client.run_code("print(1 + 1)", run_timeout=5.0)

A program that fails is an `Execution`; a sandbox that fails is a `SandboxFault`.
"""

from sandbox_client.breaker import BreakerState
from sandbox_client.client import SandboxClient
from sandbox_client.config import BreakerPolicy, Limits, ProbePolicy, RetryPolicy, Timeouts
from sandbox_client.credentials import Token, read_token
from sandbox_client.endpoints import validate_endpoints
from sandbox_client.errors import (
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
from sandbox_client.jupyter import (
    CellError,
    CellExecution,
    JupyterExecution,
    RunJupyterRequest,
    parse_run_jupyter_response,
)
from sandbox_client.outcome import ExecutionStatus
from sandbox_client.snapshot import ClientSnapshot, EndpointSnapshot
from sandbox_client.stats import ClientStats, Percentiles
from sandbox_client.tls import TlsSettings
from sandbox_client.wire import Execution, RunCodeRequest, parse_run_code_response

__all__ = [
    "BreakerPolicy",
    "BreakerState",
    "CellError",
    "CellExecution",
    "ClientClosedError",
    "ClientSnapshot",
    "ClientStats",
    "EndpointError",
    "EndpointSnapshot",
    "Execution",
    "ExecutionStatus",
    "JupyterExecution",
    "Limits",
    "Percentiles",
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
