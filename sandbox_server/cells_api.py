"""The wire format of Sandbox Fusion's /run_jupyter: requests in, responses out, nothing done.

As there: a cell that raises is a Success of the request, and the cells after it run; so is one that is interrupted.
A notebook that runs out of time, or whose process ends before its last cell does, is Failed. More than there: the cells
that did end are in a Failed answer too, `cell_timeout` and `memory_limit_MB` are kept to, and `total_timeout` is exact.
"""

import math

from sandbox_server.api import command_result, memory_limit, time_limit
from sandbox_server.config import ServerConfig
from sandbox_server.fields import BadRequest, as_object, show, take_number, take_texts
from sandbox_server.files import take_fetch_files, take_files
from sandbox_server.frames import Job, Report, RunStatus

DEFAULT_TOTAL_TIMEOUT = 45.0  # seconds; Sandbox Fusion's
MAX_CELLS = 10_000
"""Each leaves something in the answer, and the answer must stay bounded."""


def parse_run_jupyter(body: object, config: ServerConfig) -> Job:
    """The job that a request body asks for. Unknown fields are ignored. Raises BadRequest."""
    body = as_object(body)
    cells = take_texts(body, "cells")
    if len(cells) > MAX_CELLS:
        raise BadRequest("cells", f"{len(cells)} are more than the {MAX_CELLS} that one request may have; send several")
    if body.get("kernel", "python3") != "python3":
        raise BadRequest("kernel", f"{show(body['kernel'])} is not supported; this server runs 'python3' only")
    seconds = take_number(body, "cell_timeout", 0.0)
    if math.isnan(seconds):
        raise BadRequest("cell_timeout", "nan is no number of seconds; leave it out for no limit")
    total = time_limit(body, "total_timeout", DEFAULT_TOTAL_TIMEOUT, config)
    return Job(
        code="",
        cells=cells,
        # One that the total comes before is none.
        cell_timeout=seconds if 0 < seconds < total else 0.0,
        run_timeout=total,
        memory_limit_mb=memory_limit(body, config),
        files=take_files(body, config, null_content=False),
        fetch_files=take_fetch_files(body),
    )


def jupyter_response(report: Report, job: Job) -> dict[str, object]:
    """The response body for a report on `job`."""
    asked = len(job.cells or ())
    status, message = "Success", ""
    if report.status is RunStatus.ERROR:
        status, message = "SandboxError", report.stderr
    elif report.status is RunStatus.TIME_LIMIT or report.return_code != 0 or report.cells_finished < asked:
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
