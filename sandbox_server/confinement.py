"""What a worker gives up for good before its first program, and each program on top: privileges and resources."""

import functools
import math
import os
import resource
import signal
from dataclasses import dataclass

from sandbox_server import call_filter, linux
from sandbox_server.isolation import UNPRIVILEGED_GID, Isolation

# What it takes to own a program's files, become its user, count its memory, kill it and remove what it left.
_CHOWN, _DAC_OVERRIDE, _FOWNER, _KILL, _SETGID, _SETUID, _SYS_PTRACE = 0, 1, 3, 5, 6, 7, 19
_KEPT = sum(1 << number for number in (_CHOWN, _DAC_OVERRIDE, _FOWNER, _KILL, _SETGID, _SETUID, _SYS_PTRACE))

_LIMITS = tuple({number for name, number in vars(resource).items() if name.startswith("RLIMIT_")})


def settle(isolation: Isolation) -> None:
    """Leave this worker, once it has its namespaces and files, the power to run programs only. Raises OSError."""
    # Should memory run out on the machine, the kernel takes a program (or its worker) and not the trainer. Set here,
    # because programs inherit it, and may then not write to /proc.
    with open("/proc/self/oom_score_adj", "wb", buffering=0) as oom:
        oom.write(b"1000")
    if isolation.private_files:
        flags = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
        linux.mount("none", "/proc", "none", linux.MS_REMOUNT | linux.MS_BIND | linux.MS_RDONLY | flags)
    if isolation.own_user or isolation.user_namespace:
        linux.drop_bounding_capabilities(_KEPT)
        linux.drop_capabilities(_KEPT & _held_capabilities())
    # In a user namespace programs are the same user. They stay out of the worker's memory because it has capabilities
    # that they lack, and because of this; without namespaces, because of this alone.
    linux.set_dumpable(False)
    linux.set_no_new_privileges()
    if isolation.call_filter:
        call_filter.install()


def give_up(uid: int | None) -> None:
    """Turn this process, forked from a worker, into `uid` (None: the same user) without any privilege.

    It can get none by way of set-user-ID programs either: that it has from its worker, and keeps.
    """
    if uid is not None:
        os.setgroups([])
        os.setresgid(UNPRIVILEGED_GID, UNPRIVILEGED_GID, UNPRIVILEGED_GID)
        os.setresuid(uid, uid, uid)
    linux.drop_capabilities()
    # The change of user took /proc/self, and with it /dev/stdout, away.
    linux.set_dumpable()
    # After the change of user, which would clear it.
    linux.set_parent_death_signal(signal.SIGKILL)


def _held_capabilities() -> int:
    with open("/proc/self/status", "rb") as status:
        line = next(line for line in status if line.startswith(b"CapPrm:"))
    return int(line.split()[1], 16)


@dataclass(frozen=True)
class ProgramLimits:
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


def apply_limits(limits: tuple[tuple[int, int], ...]) -> None:
    """Put the limits on this process and its descendants. Call before privileges are dropped."""
    for which, value in limits:
        resource.setrlimit(which, (value, value))


def own_limits() -> tuple[tuple[int, int], ...]:
    """Every resource limit of this process."""
    return tuple(map(resource.getrlimit, _LIMITS))


@functools.cache
def address_space_bytes() -> int:
    """Bytes of address space that this process had when first asked: the preloaded interpreter."""
    with open("/proc/self/statm", "rb") as statm:
        return int(statm.read().split()[0]) * resource.getpagesize()


@functools.cache
def _hard_limit(which: int) -> int:
    hard = resource.getrlimit(which)[1]
    return (1 << 63) - 1 if hard == resource.RLIM_INFINITY else hard
