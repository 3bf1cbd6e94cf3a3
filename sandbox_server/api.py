"""The wire format of Sandbox Fusion's /run_code and /run_jupyter: requests in, responses out, nothing done.

Where Sandbox Fusion would go along with a request that this server cannot honour as asked (another language, a longer
time or more memory than the server gives, a file outside the working directory), it is refused with 422 and told why:
the same status that Sandbox Fusion answers to a malformed request.

In a notebook, as there, a cell that raises is a Success of the request, and the cells after it run; so is one that is
interrupted. A notebook that runs out of time, or whose process ends before its last cell does, is Failed. More than
there: the cells that did end are in a Failed answer too, `cell_timeout` and `memory_limit_MB` are kept to, and
`total_timeout` is exact.
"""

import json
import math

from sandbox_server.config import ServerConfig
from sandbox_server.frames import Job, ProgramReport, ProgramStatus
from sandbox_server.request_models import (
    BadRequest,
    RequestBody,
    RunCodeBody,
    RunJupyterBody,
    decoded_files,
    fetchable_names,
    show,
)

MAX_CELLS = 10_000
"""Each leaves something in the answer, and the answer must stay bounded."""


def parse_run_code(body: object, config: ServerConfig) -> Job:
    """The job that a request body asks for. Unknown fields are ignored. Raises BadRequest."""
    request = RunCodeBody.of(body)
    if request.language != "python":
        raise BadRequest("language", f"{show(request.language)} is not supported; this server runs 'python' only")
    return Job(
        code=request.code,
        run_timeout=time_limit(request, "run_timeout", config),
        memory_limit_mb=memory_limit(request, config),
        stdin=request.stdin or "",
        files=decoded_files(request.files, config, request.code, request.stdin or ""),
        fetch_files=fetchable_names(request.fetch_files),
    )


def response(report: ProgramReport) -> dict[str, object]:
    """The response body for a report."""
    failed = report.status is ProgramStatus.TIME_LIMIT or report.return_code != 0
    status = "SandboxError" if report.status is ProgramStatus.ERROR else "Failed" if failed else "Success"
    return {
        "status": status,
        "message": report.stderr if report.status is ProgramStatus.ERROR else "",
        "compile_result": None,
        "run_result": command_result(report),
        "executor_pod_name": None,
        "files": report.files,
    }


def command_result(report: ProgramReport) -> dict[str, object]:
    """Sandbox Fusion's CommandRunResult for a report."""
    return {
        "status": report.status.value,
        "execution_time": report.execution_time,
        "return_code": report.return_code,
        "stdout": report.stdout,
        "stderr": report.stderr,
    }


def time_limit(request: RequestBody, name: str, config: ServerConfig) -> float:
    """Seconds of the time limit `name`. Raises BadRequest when the server does not give that much."""
    seconds: float = getattr(request, name)
    if name not in request.model_fields_set:
        seconds = min(seconds, config.max_run_timeout)
    # Written so that NaN, which compares false with everything, is refused too.
    if not 0 < seconds <= config.max_run_timeout:
        raise BadRequest(
            name,
            f"{seconds:g} s is not within 0 and the server's {config.max_run_timeout:g} s; "
            "ask for less, or start the server with a larger --max-run-timeout",
        )
    return seconds


def memory_limit(request: RequestBody, config: ServerConfig) -> int:
    """MiB of memory; the server's own limit where the request sets none. Raises BadRequest when that is too much."""
    # Sandbox Fusion's -1 means "no limit of mine".
    mib = request.memory_limit_MB
    if mib > config.max_memory_limit_mb:
        raise BadRequest(
            "memory_limit_MB",
            f"{show(mib)} is above the server's {config.max_memory_limit_mb}; "
            "ask for less, or start the server with a larger --max-memory-limit-mb",
        )
    return mib if mib > 0 else config.memory_limit_mb


def parse_run_jupyter(body: object, config: ServerConfig) -> Job:
    """The job that a request body asks for. Unknown fields are ignored. Raises BadRequest."""
    request = RunJupyterBody.of(body)
    cells, seconds = request.cells, request.cell_timeout
    if len(cells) > MAX_CELLS:
        raise BadRequest("cells", f"{len(cells)} are more than the {MAX_CELLS} that one request may have; send several")
    if request.kernel != "python3":
        raise BadRequest("kernel", f"{show(request.kernel)} is not supported; this server runs 'python3' only")
    if math.isnan(seconds):
        raise BadRequest("cell_timeout", "nan is not a number of seconds; leave it out for no limit")
    total = time_limit(request, "total_timeout", config)
    return Job(
        code="",
        cells=cells,
        # The total ends a cell whose own limit is longer.
        cell_timeout=seconds if 0 < seconds < total else 0.0,
        run_timeout=total,
        memory_limit_mb=memory_limit(request, config),
        files=decoded_files(request.files, config, json.dumps(cells, ensure_ascii=False)),
        fetch_files=fetchable_names(request.fetch_files),
    )


def jupyter_response(report: ProgramReport, job: Job) -> dict[str, object]:
    """The response body for a report on `job`."""
    asked = len(job.cells or ())
    status, message = "Success", ""
    if report.status is ProgramStatus.ERROR:
        status, message = "SandboxError", report.stderr
    elif report.status is ProgramStatus.TIME_LIMIT or report.return_code != 0 or report.cells_finished < asked:
        status = "Failed"
        if report.cells_finished < asked:
            message = f"the notebook ended in cell {report.cells_finished + 1} of {asked}"
    return {
        "status": status,
        "message": message,
        "driver": command_result(report),
        "cells": [vars(cell) for cell in report.cells or ()],
        "executor_pod_name": None,
        "files": report.files,
    }
