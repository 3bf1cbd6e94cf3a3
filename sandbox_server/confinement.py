"""What a worker gives up for good before its first program, and what each program gives up on top."""

import os
import signal

from sandbox_server import call_filter, linux
from sandbox_server.isolation import UNPRIVILEGED_GID, Isolation

# What it takes to own a program's files, become its user, count its memory, kill it and remove what it left.
_CHOWN, _DAC_OVERRIDE, _FOWNER, _KILL, _SETGID, _SETUID, _SYS_PTRACE = 0, 1, 3, 5, 6, 7, 19
_KEPT = sum(1 << number for number in (_CHOWN, _DAC_OVERRIDE, _FOWNER, _KILL, _SETGID, _SETUID, _SYS_PTRACE))


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
