"""Sandbox Fusion's /run_code as values: requests out, executions in. Pure."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import UnionType
from typing import Any

from sandbox_client.errors import SandboxInternalError, SandboxProtocolError


class ExecutionStatus(StrEnum):
    """How a program ended."""

    SUCCESS = "success"
    FAILED = "failed"
    TIME_LIMIT = "time_limit"


@dataclass(frozen=True)
class RunCodeRequest:
    """One program to run."""

    code: str
    """Python source."""

    run_timeout: float
    """Wall seconds that the program may take."""

    memory_limit_mb: int | None = None
    """MiB that the program may use; None leaves it to the server."""

    stdin: str | None = None
    """What the program reads on standard input."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    """Path, relative to the program's working directory, to content."""

    def to_payload(self) -> dict[str, object]:
        """The JSON body of the request."""
        return {
            "code": self.code,
            "language": "python",
            "stdin": self.stdin,
            "compile_timeout": self.run_timeout,
            "run_timeout": self.run_timeout,
            "memory_limit_MB": -1 if self.memory_limit_mb is None else self.memory_limit_mb,
            "files": {name: base64.b64encode(content).decode() for name, content in self.files.items()},
            "fetch_files": [],
        }


@dataclass(frozen=True)
class Execution:
    """A program that ran, well or badly."""

    status: ExecutionStatus
    """How it ended."""

    stdout: str
    """Its standard output."""

    stderr: str
    """Its standard error; the last line of an uncaught exception is the exception."""

    return_code: int | None
    """Its exit status, negative for a signal; None when the time limit cut it off."""

    execution_time: float | None
    """Seconds that it ran, as the server reports."""

    latency: float = 0.0
    """Seconds from the call to the result as the caller saw them: waiting for a turn, every attempt, every pause."""

    attempts: int = 1
    """How many attempts the call took."""

    endpoint: str = ""
    """Base URL of the endpoint that ran it."""


def parse_run_code_response(payload: object, endpoint: str) -> Execution:
    """The execution in a response body; unknown fields are ignored.

    Raises SandboxInternalError when the body reports a fault of the sandbox, SandboxProtocolError when it is not a
    response of Sandbox Fusion.
    """
    body = _Fields(payload, endpoint, "response")
    status = body.take("status", str)
    if status == "SandboxError":
        message = body.take("message", str | None)
        raise SandboxInternalError(f"the sandbox reports an error of its own: {_short(message)}", endpoint=endpoint)
    if status not in ("Success", "Failed"):
        raise SandboxProtocolError(f"response: unknown status {_short(status)}", endpoint=endpoint)
    result = _Fields(body.take("run_result", dict), endpoint, "run_result")
    run_status = result.take("status", str)
    return_code = result.take("return_code", int | None)
    execution_time = result.take("execution_time", int | float | None)
    if run_status == "TimeLimitExceeded":
        outcome = ExecutionStatus.TIME_LIMIT
    elif run_status != "Finished":
        raise SandboxProtocolError(f"run_result: status {_short(run_status)} in a {status} response", endpoint=endpoint)
    else:
        outcome = ExecutionStatus.SUCCESS if status == "Success" else ExecutionStatus.FAILED
    return Execution(
        status=outcome,
        # Sandbox Fusion sends null for a stream that it could not read.
        stdout=result.take("stdout", str | None) or "",
        stderr=result.take("stderr", str | None) or "",
        return_code=return_code,
        execution_time=None if execution_time is None else float(execution_time),
        endpoint=endpoint,
    )


class _Fields:
    """A JSON object whose fields are taken with their types checked."""

    def __init__(self, value: object, endpoint: str, where: str) -> None:
        self._endpoint = endpoint
        self._where = where
        if not isinstance(value, dict):
            raise self._error(f"is {type(value).__name__} and not an object")
        self._value = value

    def take(self, name: str, kind: type | UnionType) -> Any:
        if name not in self._value:
            raise self._error(f"has no field {name!r}")
        value = self._value[name]
        if not isinstance(value, kind):
            raise self._error(f"has {name}={_short(value)}")
        return value

    def _error(self, what: str) -> SandboxProtocolError:
        return SandboxProtocolError(
            f"{self._where} {what}; is this endpoint a Sandbox Fusion server?", endpoint=self._endpoint
        )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 300 else text[:300] + "..."
