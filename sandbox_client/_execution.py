"""Sandbox Fusion's /run_code as values: requests out, executions in. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import NoneType
from typing import ClassVar

from sandbox_client._errors import SandboxInternalError
from sandbox_client._fields import JsonObject, encode_files, short

# The last line of a traceback: `MemoryError`, `numpy._core._exceptions._ArrayMemoryError: Unable to allocate ...`.
_MEMORY_ERROR = re.compile(r"(?:[A-Za-z_]\w*\.)*_?(?:Array)?MemoryError(?::.*)?")
_NAME_CHARACTERS = 1000
# As Python reports a signal, and as a shell does.
_KILLED = (-9, 128 + 9)


MOST_PRINTED = 1 << 26
"""Bytes of an answer without files. What programs print is cut by the server: at 2 MiB by default, or 12 in JSON."""

MOST_FETCHED = 3 << 26
"""Further bytes of one with files."""

_LONGEST_RUN = 7 * 86_400.0  # seconds
_RETURN_CODES = range(-(1 << 31), 1 << 32)  # what any system has


def answer_bytes(fetch_files: Sequence[str]) -> int:
    """Bytes that the body of an answer may have, where these files were asked for."""
    return MOST_PRINTED + (MOST_FETCHED if fetch_files else 0)


class ExecutionStatus(StrEnum):
    """How a program ended."""

    SUCCESS = "success"
    FAILED = "failed"
    TIME_LIMIT = "time_limit"
    MEMORY_LIMIT = "memory_limit"
    """Inferred, see `out_of_memory`."""


def out_of_memory(return_code: int | None, stderr: str) -> bool:
    """Whether a program that failed inside its time limit ran out of memory.

    Sandbox Fusion has no word for it, so it is inferred: the last line on standard error is a MemoryError, or SIGKILL
    ended the program, which is what the kernel's out-of-memory killer sends. A program that kills itself with SIGKILL,
    or that prints such a line last and fails for another reason, cannot be told apart.
    """
    if return_code in _KILLED:
        return True
    # Only the last line is looked at, however long the rest is, and only its beginning: matching takes memory.
    last = stderr.rstrip()
    at = last.rfind("\n") + 1
    return _MEMORY_ERROR.fullmatch(last[at : at + _NAME_CHARACTERS].rstrip("\r")) is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class Timed:
    """What a result says of its call. Seconds, as the caller saw them.

    `latency` is `wait`, `connect`, `queue`, the run itself, and, after a fault, the failed attempts and their pauses.
    """

    execution_time: float | None
    """Seconds that the program ran, as the server reports."""

    wait: float = 0.0
    """Waiting in the client, for a turn and for an endpoint that takes calls."""

    connect: float = 0.0
    """Getting a connection in the attempt that succeeded; next to nothing when an open one was used."""

    queue: float = 0.0
    """The rest of that attempt: the server's queue, what it adds to the program, the network."""

    latency: float = 0.0
    """From the call to the result: waiting for a turn, every attempt, every pause."""

    attempts: int = 1
    """How many attempts the call took."""

    endpoint: str = ""
    """Base URL of the endpoint that ran it."""

    @property
    def run(self) -> float:
        """Seconds that the program ran, 0 when the server does not say."""
        return self.execution_time or 0.0


def stamp(result: Timed, *, wait: float, connect: float, queue: float, latency: float, attempts: int) -> None:
    """Write the times into a result that nobody else has seen yet; a copy would cost as much as reading the answer."""
    write = object.__setattr__
    write(result, "wait", wait)
    write(result, "connect", connect)
    write(result, "queue", queue)
    write(result, "latency", latency)
    write(result, "attempts", attempts)


@dataclass(frozen=True, slots=True)
class Execution(Timed):
    """A program that ran, well or badly."""

    status: ExecutionStatus
    """How it ended."""

    stdout: str
    """Its standard output."""

    stderr: str
    """Its standard error; the last line of an uncaught exception is the exception."""

    return_code: int | None
    """Its exit status, negative for a signal; None when the time limit cut it off."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    """Contents of the files asked for, by path; one that the program did not write is not there."""


@dataclass(frozen=True, slots=True)
class RunCodeRequest:
    """One program to run."""

    path: ClassVar[str] = "/run_code"
    """Where the request goes."""

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

    fetch_files: Sequence[str] = ()
    """Paths of files to bring back."""

    @property
    def most_bytes(self) -> int:
        """Bytes that the body of an answer may have."""
        return answer_bytes(self.fetch_files)

    @property
    def seconds(self) -> float:
        """Wall seconds that a server may take from the start of the program to its answer."""
        return self.run_timeout

    def to_payload(self) -> dict[str, object]:
        """The JSON body of the request."""
        return {
            "code": self.code,
            "language": "python",
            "stdin": self.stdin,
            "compile_timeout": self.run_timeout,
            "run_timeout": self.run_timeout,
            "memory_limit_MB": -1 if self.memory_limit_mb is None else self.memory_limit_mb,
            "files": encode_files(self.files),
            "fetch_files": list(self.fetch_files),
        }

    def parse(self, payload: object, endpoint: str) -> Execution:
        """The execution in the response to this request; raises as `parse_run_code_response`."""
        return parse_run_code_response(payload, endpoint, files_required=bool(self.fetch_files))


def parse_run_code_response(payload: object, endpoint: str, *, files_required: bool = False) -> Execution:
    """The execution in a response body; unknown fields are ignored.

    Raises SandboxInternalError when the body reports a fault of the sandbox, SandboxProtocolError when it is not a
    response of Sandbox Fusion. `files` may only be left out when it is not required.
    """
    body = JsonObject(payload, endpoint, "response")
    status = take_status(body, endpoint)
    result = JsonObject(body.take("run_result", dict), endpoint, "run_result")
    run = CommandRun.taken_from(result)
    if run.status == "TimeLimitExceeded":
        outcome = ExecutionStatus.TIME_LIMIT
    elif run.status != "Finished":
        raise result.error(f"has status={short(run.status)} in a {status} response")
    elif status == "Success":
        outcome = ExecutionStatus.SUCCESS
    else:
        outcome = ExecutionStatus.MEMORY_LIMIT if out_of_memory(run.return_code, run.stderr) else ExecutionStatus.FAILED
    return Execution(
        status=outcome,
        stdout=run.stdout,
        stderr=run.stderr,
        return_code=run.return_code,
        execution_time=run.execution_time,
        files=body.files(required=files_required),
        endpoint=endpoint,
    )


@dataclass(frozen=True, slots=True)
class CommandRun:
    """Sandbox Fusion's record of a process that it ran: `run_result`, and a notebook's `driver`."""

    status: str
    """Finished, Error or TimeLimitExceeded."""

    return_code: int | None
    """Its exit status; None when it has none."""

    execution_time: float | None
    """Seconds that it ran."""

    stdout: str
    """Its standard output."""

    stderr: str
    """Its standard error."""

    @classmethod
    def taken_from(cls, fields: JsonObject) -> "CommandRun":
        """The record in a JSON object. Raises SandboxProtocolError."""
        status = fields.take("status", str)
        return_code = fields.take("return_code", int, NoneType)
        if return_code is not None and return_code not in _RETURN_CODES:
            raise fields.error(f"has return_code={short(return_code)}")
        seconds = fields.take("execution_time", int, float, NoneType)
        # Written so that NaN, which compares false with everything, is refused too.
        if seconds is not None and not 0 <= seconds <= _LONGEST_RUN:
            raise fields.error(f"has execution_time={short(seconds)}")
        # Sandbox Fusion sends null for a stream that it could not read.
        stdout = fields.take("stdout", str, NoneType) or ""
        stderr = fields.take("stderr", str, NoneType) or ""
        return cls(status, return_code, None if seconds is None else float(seconds), stdout, stderr)


def take_status(body: JsonObject, endpoint: str) -> str:
    """The status of a response that is a result: Success or Failed. Raises as `parse_run_code_response`."""
    status = body.take("status", str)
    if status == "SandboxError":
        message = body.take("message", str, NoneType)
        raise SandboxInternalError(f"the sandbox reports an error of its own: {short(message)}", endpoint=endpoint)
    if status not in ("Success", "Failed"):
        raise body.error(f"has status={short(status)}")
    return status
