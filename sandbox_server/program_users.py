"""The users that programs run as, one for each worker, in a range that no other server of the machine has.

Programs of one user can signal each other and share one count of processes, so two servers must not meet. A server
locks its range in a file, and the kernel unlocks it when the server is gone, however it ended. Containers of one
machine may share users and not files: ranges begin at random, so that those seldom meet either.
"""

import errno
import fcntl
import os
import random
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

FIRST, LAST = 61_184, 65_519
"""What systemd keeps for services without a user of their own, hence free on ordinary machines."""

_LOCK_NAME = "verl-tir-sandbox-users.lock"


class NoFreeUsersError(Exception):
    """There are not as many users left as a server has workers."""


@dataclass
class _LockFile:
    """A file whose bytes are users. It stays open: the first descriptor of it that a process closes takes its locks."""

    descriptor: int
    taken: set[int] = field(default_factory=set)
    """By servers of this process, which its locks do not keep apart."""

    def lock(self, ids: range) -> bool:
        """Lock these users' bytes, unless another server has one of them."""
        if not self.taken.isdisjoint(ids):
            return False
        try:
            fcntl.lockf(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, len(ids), ids.start)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise
        self.taken.update(ids)
        return True

    def unlock(self, ids: range) -> None:
        """Let others have them."""
        fcntl.lockf(self.descriptor, fcntl.LOCK_UN, len(ids), ids.start)
        self.taken.difference_update(ids)


_open_files: dict[str, _LockFile] = {}
"""By path."""


class ProgramUsers:
    """A range of users, from `claim` to `release`."""

    def __init__(self, ids: range, file: _LockFile | None = None) -> None:
        """`file`: which locks the range; None where nobody is to be kept out."""
        self.ids = ids
        self._file = file

    @classmethod
    def claim(cls, count: int, folders: Sequence[str] | None = None) -> "ProgramUsers":
        """Lock `count` users in a row that have no processes; for root.

        Args:
            count: how many.
            folders: where the lock's file may be, the first that takes it; by default /run and the temporary one.

        Raises:
            NoFreeUsersError: there are not so many.
            OSError: no folder takes the file.
        """
        file = _lock_file(folders or ("/run", tempfile.gettempdir()))
        used = _used()
        last = LAST + 1 - count
        begin = random.randint(FIRST, max(FIRST, last))
        for first in (*range(begin, last + 1), *range(FIRST, min(begin, last + 1))):
            ids = range(first, first + count)
            if used.isdisjoint(ids) and file.lock(ids):
                return cls(ids, file)
        raise NoFreeUsersError(
            f"workers={count}: of the users {FIRST} to {LAST}, which programs run as, {count} in a row are not free: "
            f"{len(used)} have processes, and other servers hold others; start fewer workers, or stop a server"
        )

    def release(self) -> None:
        """Let others have the range; its programs must have ended. Harmless when repeated."""
        if self._file is not None:
            self._file.unlock(self.ids)
            self._file = None


def _lock_file(folders: Sequence[str]) -> _LockFile:
    """A file that only root can write."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    refusals = []
    for folder in folders:
        path = os.path.join(folder, _LOCK_NAME)
        if path in _open_files:
            return _open_files[path]
        try:
            descriptor = os.open(path, flags, 0o600)
        except OSError as error:
            refusals.append(f"{path}: {error.strerror}")
            continue
        # In a folder that all can write, somebody may have been there first, and would keep every range.
        state = os.fstat(descriptor)
        if state.st_uid == os.getuid() and state.st_mode & 0o077 == 0:
            return _open_files.setdefault(path, _LockFile(descriptor))
        os.close(descriptor)
        refusals.append(f"{path}: user {state.st_uid} made it, with mode {state.st_mode & 0o777:o}")
    raise OSError(errno.EACCES, f"no file to claim users of programs in: {'; '.join(refusals)}")


def _used() -> set[int]:
    """The users that have processes, of somebody who asks for no lock or of a server that was killed."""
    found = set()
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with suppress(OSError):  # it has ended
                found.add(os.stat(f"/proc/{name}").st_uid)
    return found & set(range(FIRST, LAST + 1))
