"""The wire format of Sandbox Fusion's /run_code, for Python programs: requests in, responses out, nothing done.

Where Sandbox Fusion would go along with a request that this server cannot honour as asked (another language, a longer
time or more memory than the server gives, a file outside the working directory), it is refused with 422 and told why:
the same status that Sandbox Fusion answers to a malformed request.
"""

import base64
import binascii
from pathlib import PurePosixPath

from verl_tir.sandbox_server.config import ServerConfig
from verl_tir.sandbox_server.frames import Job, Report, RunStatus

DEFAULT_RUN_TIMEOUT = 10.0  # seconds; Sandbox Fusion's


class BadRequest(ValueError):
    """A request that cannot be honoured; the message names the field, the value and the fix."""


def parse_run_code(body: object, config: ServerConfig) -> Job:
    """The job that a request body asks for. Unknown fields are ignored. Raises BadRequest."""
    if not isinstance(body, dict):
        raise BadRequest("body: must be a JSON object")
    language = body.get("language")
    if language != "python":
        raise BadRequest(f"language: {language!r} is not supported; this server runs 'python' only")
    code = body.get("code")
    if not isinstance(code, str):
        raise BadRequest("code: must be a string")
    stdin = body.get("stdin")
    if not isinstance(stdin, str | None):
        raise BadRequest("stdin: must be a string or null")
    fetch_files = body.get("fetch_files") or []
    if not (isinstance(fetch_files, list) and all(isinstance(name, str) for name in fetch_files)):
        raise BadRequest("fetch_files: must be a list of strings")
    return Job(
        code=code,
        run_timeout=_run_timeout(body, config),
        memory_limit_mb=_memory_limit(body, config),
        stdin=stdin or "",
        files=_files(body),
        fetch_files=fetch_files,
    )


def response(report: Report) -> dict[str, object]:
    """The response body for a report."""
    failed = report.status is RunStatus.TIME_LIMIT or report.return_code != 0
    status = "SandboxError" if report.status is RunStatus.ERROR else "Failed" if failed else "Success"
    return {
        "status": status,
        "message": report.stderr if report.status is RunStatus.ERROR else "",
        "compile_result": None,
        "run_result": {
            "status": report.status.value,
            "execution_time": report.execution_time,
            "return_code": report.return_code,
            "stdout": report.stdout,
            "stderr": report.stderr,
        },
        "executor_pod_name": None,
        "files": report.files,
    }


def _number(body: dict[str, object], name: str, default: float) -> float:
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadRequest(f"{name}: {value!r} must be a number")
    return value


def _run_timeout(body: dict[str, object], config: ServerConfig) -> float:
    seconds = _number(body, "run_timeout", min(DEFAULT_RUN_TIMEOUT, config.max_run_timeout))
    # Written so that NaN, which compares false with everything, is refused too.
    if not 0 < seconds <= config.max_run_timeout:
        raise BadRequest(
            f"run_timeout: {seconds} s is not within 0 and the server's {config.max_run_timeout} s; "
            "ask for less, or start the server with a larger --max-run-timeout"
        )
    return float(seconds)


def _memory_limit(body: dict[str, object], config: ServerConfig) -> int:
    # Sandbox Fusion's -1 means "no limit of mine".
    mib = _number(body, "memory_limit_MB", -1)
    if mib > config.max_memory_limit_mb:
        raise BadRequest(
            f"memory_limit_MB: {mib} is above the server's {config.max_memory_limit_mb}; "
            "ask for less, or start the server with a larger --max-memory-limit-mb"
        )
    return int(mib) if mib > 0 else config.memory_limit_mb


def _files(body: dict[str, object]) -> dict[str, str]:
    files = body.get("files") or {}
    if not isinstance(files, dict):
        raise BadRequest("files: must be an object of path to base64 content")
    kept = {}
    for name, content in files.items():
        if content is None:  # Sandbox Fusion skips these
            continue
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name:
            raise BadRequest(f"files: {name!r} must be a path inside the working directory")
        try:
            base64.b64decode(content, validate=True)
        except (TypeError, ValueError, binascii.Error) as error:
            raise BadRequest(f"files: the content of {name!r} is not base64: {error}") from error
        kept[name] = content
    return kept
