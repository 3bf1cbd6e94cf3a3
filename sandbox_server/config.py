"""Settings of the embedded server."""

import functools
import importlib.util
import os
from dataclasses import dataclass, field
from enum import StrEnum

MAX_WORKERS = 500  # each has a user of its own, and several servers are to find some on one machine

DEFAULT_PRELOAD = ("numpy", "sympy", "scipy")
"""What programs import most, and what takes longest to import."""


class IsolationPolicy(StrEnum):
    """What the server does where the machine does not allow every protection."""

    REQUIRED = "required"
    """Refuse to start."""

    BEST_EFFORT = "best-effort"
    """Start at the strongest level that works, and log what is missing."""


class LogFormat(StrEnum):
    """How a line of the log looks."""

    TEXT = "text"
    JSON = "json"


def _cores() -> int:
    return min(MAX_WORKERS, len(os.sched_getaffinity(0)))


@functools.cache
def missing_preload() -> tuple[str, ...]:
    """The modules of DEFAULT_PRELOAD that are not installed."""
    return tuple(name for name in DEFAULT_PRELOAD if importlib.util.find_spec(name) is None)


def default_preload() -> tuple[str, ...]:
    """The modules of DEFAULT_PRELOAD that are installed."""
    return tuple(name for name in DEFAULT_PRELOAD if name not in missing_preload())


@dataclass(frozen=True)
class ServerConfig:
    """Everything that can be set; each field is a flag of `verl-tir sandbox`, with its docstring as the flag's help.

    Raises ValueError, naming the field and the fix, when a value makes no sense.
    """

    host: str = "127.0.0.1"
    """Address to listen on. Whoever reaches it can run code: beyond this machine, use a private network and a token."""

    port: int = 8080
    """TCP port; 0 lets the system pick a free one."""

    token_file: str = ""
    """File with the bearer token that callers must show. Everybody else is answered 401, except to /v1/ping."""

    token_env: str = ""
    """Environment variable with the bearer token, in place of --token-file."""

    max_request_mb: int = 64
    """MiB of one request body; a larger one is answered 413."""

    workers: int = field(default_factory=_cores)
    """Programs that run at the same time. More than the cores makes time limits unfair to the programs."""

    queue_size: int = 1024
    """Calls that may wait for a worker; the next one is answered 429."""

    queue_timeout: float = 120.0
    """Seconds that a call may wait for a worker before it is answered 503."""

    drain_seconds: float = 30.0
    """Seconds that queued and running programs get to finish after SIGTERM, while new ones are answered 503."""

    shutdown_grace: float = 2.0
    """Seconds that running programs get to finish when whoever started an embedded server closes it or ends."""

    preload: tuple[str, ...] = field(default_factory=default_preload)
    """Modules imported and used once before any program runs, so that a program's own import of them costs nothing."""

    max_run_timeout: float = 60.0
    """Seconds; a request that asks for a longer run_timeout or total_timeout is refused with 422."""

    memory_limit_mb: int = 1024
    """MiB of address space beyond the preloaded interpreter, when the request does not say."""

    max_memory_limit_mb: int = 8192
    """MiB; a request that asks for more is refused with 422."""

    max_processes: int = 64
    """Processes and threads of one program, where the kernel can count them (see Protection)."""

    max_open_files: int = 256
    """File descriptors of one process of a program."""

    max_file_mb: int = 64
    """MiB of one file that a program writes, or that a request brings."""

    scratch_mb: int = 64
    """MiB of each of the private /tmp, /var/tmp and /dev/shm; the working directory is in the first of them."""

    max_output_bytes: int = 1 << 20
    """Bytes kept of each of stdout and stderr; what is beyond is read and dropped."""

    isolation: IsolationPolicy = IsolationPolicy.REQUIRED
    """Whether the server refuses to start where the machine does not allow every protection, or takes what it gets."""

    log_format: LogFormat = LogFormat.TEXT
    """Lines of text, or one JSON object per line."""

    log_requests: bool = False
    """Log each request with its outcome and times; never what was sent or printed."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "isolation", IsolationPolicy(self.isolation))
        object.__setattr__(self, "log_format", LogFormat(self.log_format))
        positive = ("workers", "queue_timeout", "max_run_timeout", "memory_limit_mb", "max_processes", "max_open_files")
        for name in (*positive, "max_file_mb", "scratch_mb", "max_output_bytes", "max_request_mb"):
            value = getattr(self, name)
            if not value > 0:  # NaN is not
                raise ValueError(f"sandbox server: {name}={value} must be positive")
        if self.workers > MAX_WORKERS:
            raise ValueError(f"sandbox server: workers={self.workers} must be at most {MAX_WORKERS}")
        for name in ("queue_size", "shutdown_grace", "drain_seconds", "port"):
            value = getattr(self, name)
            if not value >= 0:
                raise ValueError(f"sandbox server: {name}={value} must not be negative")
        if self.max_memory_limit_mb < self.memory_limit_mb:
            raise ValueError(
                f"sandbox server: max_memory_limit_mb={self.max_memory_limit_mb} is below "
                f"memory_limit_mb={self.memory_limit_mb}; raise the first or lower the second"
            )
        if self.token_file and self.token_env:
            raise ValueError("sandbox server: token_file and token_env are both set; leave one of them out")
