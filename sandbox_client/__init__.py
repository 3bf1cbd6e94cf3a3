"""An async client of Sandbox Fusion's HTTP API. Knows nothing of what the programs are for.

    async with SandboxClient(["http://sandbox-0:8080", "http://sandbox-1:8080"]) as client:
        execution = await client.run_code("print(1 + 1)", run_timeout=5.0)

A program that fails is an `Execution`; a sandbox that fails is a `SandboxFault`.
"""

from sandbox_client.client import SandboxClient
from sandbox_client.config import Limits, RetryPolicy, Timeouts, validate_endpoints
from sandbox_client.errors import (
    EndpointError,
    SandboxDeadlineExceeded,
    SandboxFault,
    SandboxInternalError,
    SandboxOverloaded,
    SandboxProtocolError,
    SandboxUnreachable,
)
from sandbox_client.stats import ClientStats
from sandbox_client.wire import Execution, ExecutionStatus, RunCodeRequest, parse_run_code_response

__all__ = [
    "ClientStats",
    "EndpointError",
    "Execution",
    "ExecutionStatus",
    "Limits",
    "RetryPolicy",
    "RunCodeRequest",
    "SandboxClient",
    "SandboxDeadlineExceeded",
    "SandboxFault",
    "SandboxInternalError",
    "SandboxOverloaded",
    "SandboxProtocolError",
    "SandboxUnreachable",
    "Timeouts",
    "parse_run_code_response",
    "validate_endpoints",
]
