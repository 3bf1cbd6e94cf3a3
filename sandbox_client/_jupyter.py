"""Sandbox Fusion's /run_jupyter as values: requests out, executions in. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from sandbox_client._errors import SandboxInternalError
from sandbox_client._execution import CommandRun, ExecutionStatus, Timed, answer_bytes, take_status
from sandbox_client._fields import JsonObject, encode_files, short

# Sandbox Fusion gives its driver this many seconds beyond total_timeout, to start the kernel and to collect.
_DRIVER_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class CellError:
    """An exception that a cell did not catch."""

    ename: str
    """The exception's class."""

    evalue: str
    """Its message."""

    traceback: tuple[str, ...]
    """Its traceback, as the kernel formats it: with colours for a terminal."""


@dataclass(frozen=True, slots=True)
class CellExecution:
    """A cell that ran, well or badly."""

    stdout: str
    """Its standard output."""

    stderr: str
    """Its standard error; an uncaught exception is not there but in `error`."""

    display: tuple[Mapping[str, Any], ...]
    """What it displayed, the value of its last expression included: content by MIME type."""

    error: tuple[CellError, ...]
    """The exceptions that ended it; empty when it succeeded."""


@dataclass(frozen=True, slots=True)
class JupyterExecution(Timed):
    """Cells that ran in one kernel, one after the other."""

    status: ExecutionStatus
    """Derived: time_limit when the kernel ran out of time; failed when a cell raised, or the kernel ended badly;
    success otherwise."""

    cells: tuple[CellExecution, ...]
    """The cells in their order; none when the kernel did not come to its end."""

    stdout: str
    """What the process that drives the kernel printed."""

    stderr: str
    """What it wrote on standard error."""

    return_code: int | None
    """Its exit status; None when the time limit cut it off."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    """Contents of the files asked for, by path; one that no cell wrote is not there."""


@dataclass(frozen=True, slots=True)
class RunJupyterRequest:
    """Cells to run in one new kernel."""

    path: ClassVar[str] = "/run_jupyter"
    """Where the request goes."""

    cells: Sequence[str]
    """Python sources."""

    cell_timeout: float
    """Wall seconds that one cell may take."""

    total_timeout: float
    """Wall seconds that all may take together. Sandbox Fusion adds 10, to start the kernel and to collect."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    """Path, relative to the kernel's working directory, to content."""

    fetch_files: Sequence[str] = ()
    """Paths of files to bring back."""

    @property
    def most_bytes(self) -> int:
        """Bytes that the body of an answer may have."""
        return answer_bytes(self.fetch_files)

    @property
    def seconds(self) -> float:
        """Wall seconds that a server may take from the start of the kernel to its answer."""
        return self.total_timeout + _DRIVER_SECONDS

    def to_payload(self) -> dict[str, object]:
        """The JSON body of the request."""
        return {
            "cells": list(self.cells),
            "cell_timeout": self.cell_timeout,
            "total_timeout": self.total_timeout,
            "kernel": "python3",
            "files": encode_files(self.files),
            "fetch_files": list(self.fetch_files),
        }

    def parse(self, payload: object, endpoint: str) -> JupyterExecution:
        """The execution in the response to this request; raises as `parse_run_jupyter_response`."""
        return parse_run_jupyter_response(payload, endpoint, files_required=bool(self.fetch_files))


def parse_run_jupyter_response(payload: object, endpoint: str, *, files_required: bool = False) -> JupyterExecution:
    """The execution in a response body; unknown fields are ignored.

    Raises SandboxInternalError when the body reports a fault of the sandbox, SandboxProtocolError when it is not a
    response of Sandbox Fusion. `files` may only be left out when it is not required.
    """
    body = JsonObject(payload, endpoint, "response")
    status = take_status(body, endpoint)
    fields = JsonObject(body.take("driver", dict), endpoint, "driver")
    driver = CommandRun.taken_from(fields)
    if driver.status == "Error":
        raise SandboxInternalError(f"the kernel could not be driven: {short(driver.stderr)}", endpoint=endpoint)
    if driver.status not in ("Finished", "TimeLimitExceeded"):
        raise fields.error(f"has status={short(driver.status)}")
    cells = tuple(_cell(item, endpoint, f"cells[{place}]") for place, item in enumerate(body.take("cells", list)))
    if driver.status == "TimeLimitExceeded":
        outcome = ExecutionStatus.TIME_LIMIT
    # A cell that raises still answers Success: the kernel survived it.
    elif status == "Failed" or any(cell.error for cell in cells):
        outcome = ExecutionStatus.FAILED
    else:
        outcome = ExecutionStatus.SUCCESS
    return JupyterExecution(
        status=outcome,
        cells=cells,
        stdout=driver.stdout,
        stderr=driver.stderr,
        return_code=driver.return_code,
        execution_time=driver.execution_time,
        # Sandbox Fusion sends none of a kernel that did not come to its end.
        files=body.files(required=files_required),
        endpoint=endpoint,
    )


def _cell(value: object, endpoint: str, where: str) -> CellExecution:
    cell = JsonObject(value, endpoint, where)
    return CellExecution(
        stdout=cell.take("stdout", str),
        stderr=cell.take("stderr", str),
        display=tuple(cell.objects("display")),
        error=tuple(
            _error(item, endpoint, f"{where}.error[{place}]") for place, item in enumerate(cell.objects("error"))
        ),
    )


def _error(value: object, endpoint: str, where: str) -> CellError:
    error = JsonObject(value, endpoint, where)
    lines = error.take("traceback", list)
    for line in lines:
        if not isinstance(line, str):
            raise error.error(f"has traceback={short(lines)}")
    return CellError(error.take("ename", str), error.take("evalue", str), tuple(lines))
