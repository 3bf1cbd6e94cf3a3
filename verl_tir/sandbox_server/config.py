"""Settings of the embedded server."""

import os
from dataclasses import dataclass, field

MAX_WORKERS = 500  # each has a user of its own, and the range that is free for them ends soon after


def _cores() -> int:
    return min(MAX_WORKERS, len(os.sched_getaffinity(0)))


@dataclass(frozen=True)
class ServerConfig:
    """Everything that can be set; each field is a flag of `python -m verl_tir.sandbox_server`.

    Raises ValueError, naming the field and the fix, when a value makes no sense.
    """

    host: str = "127.0.0.1"
    """Address to listen on. Anything that reaches it can run code, so widen it only on a private network."""

    port: int = 8080
    """TCP port; 0 lets the system pick a free one."""

    workers: int = field(default_factory=_cores)
    """Programs that run at the same time. More than the cores makes time limits unfair to the programs."""

    queue_size: int = 1024
    """Calls that may wait for a worker; the next one is answered 429."""

    queue_timeout: float = 120.0
    """Seconds that a call may wait for a worker before it is answered 503."""

    max_run_timeout: float = 60.0
    """Seconds; a request that asks for a longer run_timeout is refused with 422."""

    memory_limit_mb: int = 1024
    """MiB of address space beyond the preloaded interpreter, when the request does not say."""

    max_memory_limit_mb: int = 8192
    """MiB; a request that asks for more is refused with 422."""

    max_processes: int = 64
    """Processes and threads of one program, where the kernel can count them (see Protection)."""

    max_open_files: int = 256
    """File descriptors of one process of a program."""

    max_file_mb: int = 64
    """MiB of one file that a program writes, and, in a private view of files, of /tmp and of /dev/shm each."""

    max_output_bytes: int = 1 << 20
    """Bytes kept of each of stdout and stderr; what is beyond is read and dropped."""

    max_request_mb: int = 64
    """MiB of one request body."""

    shutdown_grace: float = 2.0
    """Seconds that running programs get to finish after SIGTERM."""

    preload: tuple[str, ...] = ("numpy", "sympy")
    """Modules imported once, before any program runs, so that a program's own import of them costs nothing."""

    def __post_init__(self) -> None:
        for name in (
            "workers",
            "queue_timeout",
            "max_run_timeout",
            "memory_limit_mb",
            "max_processes",
            "max_open_files",
            "max_file_mb",
            "max_output_bytes",
            "max_request_mb",
        ):
            value = getattr(self, name)
            if value <= 0:
                raise ValueError(f"sandbox server: {name}={value} must be positive")
        if self.workers > MAX_WORKERS:
            raise ValueError(f"sandbox server: workers={self.workers} must be at most {MAX_WORKERS}")
        for name in ("queue_size", "shutdown_grace", "port"):
            value = getattr(self, name)
            if value < 0:
                raise ValueError(f"sandbox server: {name}={value} must not be negative")
        if self.max_memory_limit_mb < self.memory_limit_mb:
            raise ValueError(
                f"sandbox server: max_memory_limit_mb={self.max_memory_limit_mb} is below "
                f"memory_limit_mb={self.memory_limit_mb}; raise the first or lower the second"
            )
