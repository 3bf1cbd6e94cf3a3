"""How far a program is walled off: what is possible depends on who runs the server and what the kernel allows.

The levels are tried from the strongest down, by running a real program under each; the first that works is the best
there is. There is no other way to know: containers refuse these calls in too many places (capabilities, seccomp,
AppArmor, sysctls).
"""

import os
from dataclasses import dataclass, replace
from enum import StrEnum

from sandbox_server import call_filter, linux
from sandbox_server.config import IsolationPolicy

_WAYS_OUT = """\
Ways out:
  as root in Docker: docker run --cap-add SYS_ADMIN --security-opt apparmor=unconfined --security-opt seccomp=unconfined
  as root in Kubernetes: securityContext with capabilities.add: [SYS_ADMIN], and both profiles of type Unconfined
  not root, on the machine: sysctl -w user.max_user_namespaces=10000; on Debian also kernel.unprivileged_userns_clone=1;
    on Ubuntu also kernel.apparmor_restrict_unprivileged_userns=0
  not root, in Docker: --security-opt seccomp=unconfined --security-opt apparmor=unconfined
    --security-opt systempaths=unconfined, on such a machine; the server needs Linux 5.14 or newer
  or accept what is missing, where the programs are trusted: --isolation {accept}, in a launch
    tir.sandbox.isolation={accept}"""


class Protection(StrEnum):
    """What may stand between a program and the rest of the machine. ProgramLimits and dropped privileges always do."""

    OWN_PROCESSES = "own process tree (pid namespace)"
    NO_NETWORK = "no network (network namespace)"
    OWN_NAMES = "own IPC objects, host name and control groups (ipc, uts and cgroup namespaces)"
    PRIVATE_FILES = (
        "one bounded private /tmp, /var/tmp and /dev/shm; of other files only the system's (mount namespace)"
    )
    READ_ONLY_SYSTEM = "everything else read-only, minimal /dev, no /sys, no settings in /proc"
    OWN_USER = "unprivileged user, or user namespace, of its own"
    CALL_FILTER = "kernel calls that programs do not need are refused (seccomp)"
    PROCESS_COUNT = "process count limit"


@dataclass(frozen=True)
class Isolation:
    """One level of isolation of a worker and its programs."""

    namespaces: bool
    """New pid, network, IPC, uts and cgroup namespaces."""

    private_files: bool
    """A mount namespace with a root of its own, read-only but for a bounded scratch; needs `namespaces`."""

    user_namespace: bool
    """Reach the above through a user namespace, for a server that is not root."""

    own_user: bool
    """Run each worker's programs as a user of their own; needs root.

    No user namespace on top: the worker would keep its power over the programs' users only through a second process
    that maps them, and what the namespace would take from the worker, `confinement.settle` takes away as well.
    """

    call_filter: bool = False
    """Refuse kernel calls that programs do not need."""

    def in_force(self) -> tuple[Protection, ...]:
        """The protections that this level gives."""
        flags = {
            Protection.OWN_PROCESSES: self.namespaces,
            Protection.NO_NETWORK: self.namespaces,
            Protection.OWN_NAMES: self.namespaces,
            Protection.PRIVATE_FILES: self.private_files,
            Protection.READ_ONLY_SYSTEM: self.private_files,
            Protection.OWN_USER: self.own_user or self.user_namespace,
            Protection.CALL_FILTER: self.call_filter,
            # The kernel counts processes by user: shared with the server's own user, the count means nothing.
            Protection.PROCESS_COUNT: self.own_user or (self.user_namespace and _counts_by_user_namespace()),
        }
        return tuple(protection for protection, on in flags.items() if on)

    def missing(self) -> tuple[Protection, ...]:
        """The protections that this level lacks, of those that exist for this processor."""
        absent = {*self.in_force(), *(() if call_filter.KNOWN_PROCESSOR else (Protection.CALL_FILTER,))}
        return tuple(protection for protection in Protection if protection not in absent)

    def namespace_flags(self) -> int:
        """The flags for unshare(2)."""
        flags = 0
        if self.namespaces:
            flags |= linux.CLONE_NEWPID | linux.CLONE_NEWNET | linux.CLONE_NEWIPC
            flags |= linux.CLONE_NEWUTS | linux.CLONE_NEWCGROUP
        if self.private_files:
            flags |= linux.CLONE_NEWNS
        if self.user_namespace:
            flags |= linux.CLONE_NEWUSER
        return flags


@dataclass(frozen=True)
class RefusedLevel:
    """A level of isolation that does not work here."""

    isolation: Isolation
    """The level."""

    reason: str
    """What the kernel, or a program that was tried, answered."""


@dataclass(frozen=True)
class IsolationSurvey:
    """What a machine allows."""

    isolation: Isolation
    """The strongest level that works."""

    refusals: tuple[RefusedLevel, ...] = ()
    """The stronger ones, strongest first."""

    users: range = range(0)
    """What programs run as, a worker each; empty where they run as the server's user."""

    @property
    def missing(self) -> tuple[Protection, ...]:
        """The protections that this machine does not allow."""
        return self.isolation.missing()

    def complaint(self) -> str:
        """What is missing, why, and the ways out, in a few lines."""
        lines = ["this machine does not allow to wall programs off. Missing:"]
        lines += [f"  {protection}" for protection in self.missing]
        lines += ["What it answered, from the strongest isolation down:"] if self.refusals else []
        for refusal in self.refusals:
            names = ", ".join(protection.name.lower() for protection in refusal.isolation.in_force())
            lines.append(f"  {names or 'none'}: {refusal.reason}")
        return "\n".join([*lines, _WAYS_OUT.format(accept=IsolationPolicy.BEST_EFFORT)])


UNISOLATED = Isolation(namespaces=False, private_files=False, user_namespace=False, own_user=False)

UNPRIVILEGED_GID = 65534


def candidates(is_root: bool) -> tuple[Isolation, ...]:
    """The levels to try, strongest first; the last one needs nothing from the kernel."""
    levels = []
    filters = (True, False) if call_filter.KNOWN_PROCESSOR else (False,)
    for namespaces, private_files in ((True, True), (True, False), (False, False)):
        userns = namespaces and not is_root
        levels += [Isolation(namespaces, private_files, userns, is_root, filtered) for filtered in filters]
    if is_root:
        # Where the interpreter cannot be read by the users of the programs.
        levels += [replace(UNISOLATED, call_filter=filtered) for filtered in filters]
    return tuple(levels)


def _counts_by_user_namespace() -> bool:
    major, minor = os.uname().release.split(".")[:2]
    return (int(major), int("".join(filter(str.isdigit, minor)) or 0)) >= (5, 14)
