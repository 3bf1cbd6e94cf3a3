"""What one program may use of the machine, and how the kernel is told."""

import math
import os
import resource
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """The resource limits of one program."""

    run_timeout: float
    """Wall seconds."""

    memory_mb: int
    """MiB of address space beyond what the preloaded interpreter takes already."""

    max_processes: int | None
    """Processes and threads of the program's user; None where they cannot be counted."""

    max_open_files: int
    """File descriptors of one process."""

    max_file_mb: int
    """MiB of one written file."""

    def apply(self) -> None:
        """Put the limits on this process and its descendants. Call before privileges are dropped."""
        mib = 1 << 20
        _set(resource.RLIMIT_AS, address_space_bytes() + self.memory_mb * mib)
        # The wall clock is the limit that counts. This one ends a runaway program should the worker itself be lost.
        _set(resource.RLIMIT_CPU, math.ceil(self.run_timeout) * (os.cpu_count() or 1) + 1)
        _set(resource.RLIMIT_FSIZE, self.max_file_mb * mib)
        _set(resource.RLIMIT_NOFILE, self.max_open_files)
        _set(resource.RLIMIT_CORE, 0)
        if self.max_processes is not None:
            _set(resource.RLIMIT_NPROC, self.max_processes)


def address_space_bytes() -> int:
    """Bytes of address space that this process has now."""
    with open("/proc/self/statm", "rb") as statm:
        return int(statm.read().split()[0]) * resource.getpagesize()


def _set(which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(which, (value, value))
