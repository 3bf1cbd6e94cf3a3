"""How far a program is walled off: what is possible depends on who runs the server and what the kernel allows.

The levels are tried from the strongest down, by running a real program under each; the first that works is used. There
is no other way to know: containers refuse these calls in too many places (capabilities, seccomp, AppArmor, sysctls).
"""

import os
from dataclasses import dataclass
from enum import StrEnum

from verl_tir.sandbox_server import linux


class Protection(StrEnum):
    """What may stand between a program and the rest of the machine. The resource limits always do."""

    OWN_PROCESSES = "own process tree (pid namespace)"
    NO_NETWORK = "no network (network namespace)"
    PRIVATE_FILES = "private /tmp and /dev/shm, hidden home (mount namespace)"
    OWN_USER = "unprivileged user of its own"
    PROCESS_COUNT = "process count limit"


@dataclass(frozen=True)
class Isolation:
    """One level of isolation of a worker and its programs."""

    namespaces: bool
    """New pid, network and IPC namespaces."""

    private_files: bool
    """A mount namespace with private temporary directories; needs `namespaces`."""

    user_namespace: bool
    """Reach the above through a user namespace, for a server that is not root."""

    own_user: bool
    """Run each program as `first_uid` + worker index; needs root."""

    def in_force(self) -> tuple[Protection, ...]:
        """The protections that this level gives."""
        flags = {
            Protection.OWN_PROCESSES: self.namespaces,
            Protection.NO_NETWORK: self.namespaces,
            Protection.PRIVATE_FILES: self.private_files,
            Protection.OWN_USER: self.own_user,
            # The kernel counts processes by user: shared with the server's own user, the count means nothing.
            Protection.PROCESS_COUNT: self.own_user or (self.user_namespace and _counts_by_user_namespace()),
        }
        return tuple(protection for protection, on in flags.items() if on)

    def missing(self) -> tuple[Protection, ...]:
        """The protections that this level lacks."""
        return tuple(protection for protection in Protection if protection not in self.in_force())

    def namespace_flags(self) -> int:
        """The flags for unshare(2)."""
        flags = 0
        if self.namespaces:
            flags |= linux.CLONE_NEWPID | linux.CLONE_NEWNET | linux.CLONE_NEWIPC
        if self.private_files:
            flags |= linux.CLONE_NEWNS
        if self.user_namespace:
            flags |= linux.CLONE_NEWUSER
        return flags


UNISOLATED = Isolation(namespaces=False, private_files=False, user_namespace=False, own_user=False)

# The range that systemd keeps for services without a user of their own, hence free on ordinary machines. One user per
# worker, so that programs that run side by side can neither signal each other nor use up each other's process count.
FIRST_UID = 65000
UNPRIVILEGED_GID = 65534


def candidates(is_root: bool) -> tuple[Isolation, ...]:
    """The levels to try, strongest first; the last one needs nothing from the kernel."""
    levels = []
    for namespaces, private_files in ((True, True), (True, False), (False, False)):
        userns = namespaces and not is_root
        levels.append(Isolation(namespaces, private_files, user_namespace=userns, own_user=is_root))
    if is_root:
        levels.append(UNISOLATED)
    return tuple(levels)


def _counts_by_user_namespace() -> bool:
    major, minor = os.uname().release.split(".")[:2]
    return (int(major), int("".join(filter(str.isdigit, minor)) or 0)) >= (5, 14)
