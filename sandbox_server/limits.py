"""What one program may use of the machine, and how the kernel is told."""

import functools
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

    def resolved(self) -> tuple[tuple[int, int], ...]:
        """Which RLIMIT gets which value, none above the hard limit of this process. Call it where the fork happens."""
        mib = 1 << 20
        wanted = [
            (resource.RLIMIT_AS, address_space_bytes() + self.memory_mb * mib),
            # The wall clock is the limit that counts. This one ends a runaway program should the worker itself be lost.
            (resource.RLIMIT_CPU, math.ceil(self.run_timeout) * (os.cpu_count() or 1) + 1),
            (resource.RLIMIT_FSIZE, self.max_file_mb * mib),
            (resource.RLIMIT_NOFILE, self.max_open_files),
            # Not 0, which a core dump into a pipe (systemd-coredump, apport) ignores; 1 stops that one too.
            (resource.RLIMIT_CORE, 1),
        ]
        if self.max_processes is not None:
            wanted.append((resource.RLIMIT_NPROC, self.max_processes))
        return tuple((which, min(value, _hard_limit(which))) for which, value in wanted)


def apply(limits: tuple[tuple[int, int], ...]) -> None:
    """Put the limits on this process and its descendants. Call before privileges are dropped."""
    for which, value in limits:
        resource.setrlimit(which, (value, value))


@functools.cache
def address_space_bytes() -> int:
    """Bytes of address space that this process had when first asked: the preloaded interpreter."""
    with open("/proc/self/statm", "rb") as statm:
        return int(statm.read().split()[0]) * resource.getpagesize()


@functools.cache
def _hard_limit(which: int) -> int:
    hard = resource.getrlimit(which)[1]
    return (1 << 63) - 1 if hard == resource.RLIM_INFINITY else hard
