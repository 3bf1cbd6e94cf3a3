"""The wire format of Sandbox Fusion's /run_code, for Python programs: requests in, responses out, nothing done.

Where Sandbox Fusion would go along with a request that this server cannot honour as asked (another language, a longer
time or more memory than the server gives, a file outside the working directory), it is refused with 422 and told why:
the same status that Sandbox Fusion answers to a malformed request.
"""

from sandbox_server.config import ServerConfig
from sandbox_server.fields import BadRequest, as_object, show, take_integer, take_number, take_text
from sandbox_server.files import take_fetch_files, take_files
from sandbox_server.frames import Job, Report, RunStatus

DEFAULT_RUN_TIMEOUT = 10.0  # seconds; Sandbox Fusion's


def parse_run_code(body: object, config: ServerConfig) -> Job:
    """The job that a request body asks for. Unknown fields are ignored. Raises BadRequest."""
    body = as_object(body)
    language = body.get("language")
    if language != "python":
        raise BadRequest("language", f"{show(language)} is not supported; this server runs 'python' only")
    stdin = body.get("stdin")
    if not isinstance(stdin, str | None):
        raise BadRequest("stdin", "must be a string or null")
    take_number(body, "compile_timeout", 10.0)  # any will do: there is nothing to compile
    return Job(
        code=take_text(body, "code"),
        run_timeout=time_limit(body, "run_timeout", DEFAULT_RUN_TIMEOUT, config),
        memory_limit_mb=memory_limit(body, config),
        stdin=stdin or "",
        files=take_files(body, config, null_content=True),
        fetch_files=take_fetch_files(body),
    )


def response(report: Report) -> dict[str, object]:
    """The response body for a report."""
    failed = report.status is RunStatus.TIME_LIMIT or report.return_code != 0
    status = "SandboxError" if report.status is RunStatus.ERROR else "Failed" if failed else "Success"
    return {
        "status": status,
        "message": report.stderr if report.status is RunStatus.ERROR else "",
        "compile_result": None,
        "run_result": command_result(report),
        "executor_pod_name": None,
        "files": report.files,
    }


def command_result(report: Report) -> dict[str, object]:
    """Sandbox Fusion's CommandRunResult for a report."""
    return {
        "status": report.status.value,
        "execution_time": report.execution_time,
        "return_code": report.return_code,
        "stdout": report.stdout,
        "stderr": report.stderr,
    }


def time_limit(body: dict[str, object], name: str, default: float, config: ServerConfig) -> float:
    """Seconds of the time limit `name`. Raises BadRequest when the server does not give that much."""
    seconds = take_number(body, name, min(default, config.max_run_timeout))
    # Written so that NaN, which compares false with everything, is refused too.
    if not 0 < seconds <= config.max_run_timeout:
        raise BadRequest(
            name,
            f"{seconds:g} s is not within 0 and the server's {config.max_run_timeout:g} s; "
            "ask for less, or start the server with a larger --max-run-timeout",
        )
    return seconds


def memory_limit(body: dict[str, object], config: ServerConfig) -> int:
    """MiB of memory; the server's own limit where the request sets none. Raises BadRequest when that is too much."""
    # Sandbox Fusion's -1 means "no limit of mine".
    mib = take_integer(body, "memory_limit_MB", -1)
    if mib > config.max_memory_limit_mb:
        raise BadRequest(
            "memory_limit_MB",
            f"{show(mib)} is above the server's {config.max_memory_limit_mb}; "
            "ask for less, or start the server with a larger --max-memory-limit-mb",
        )
    return mib if mib > 0 else config.memory_limit_mb
