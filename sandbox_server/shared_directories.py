"""The temporary directories of a worker, which stay while programs come and go: each finds them as the first one did.

What lies in them is `private_files.leftovers`. This is about the directories themselves: where the programs are the
worker's own user, they own them.
"""

import fcntl
import os
import struct

from sandbox_server.private_files import SHARED_WRITABLE

_MODE = 0o41777
_GET_FLAGS = 0x80086601  # FS_IOC_GETFLAGS
_SET_FLAGS = 0x40086602  # FS_IOC_SETFLAGS
_NO_FLAGS = struct.pack("=q", 0)


class SharedDirectories:
    """The directories of this process's own root, held open."""

    def __init__(self, owned_by_programs: bool) -> None:
        """Raises OSError."""
        self._owned_by_programs = owned_by_programs
        self._fds = tuple(os.open(directory, os.O_RDONLY | os.O_DIRECTORY) for directory in SHARED_WRITABLE)
        self._owner = os.fstat(self._fds[0]).st_uid, os.fstat(self._fds[0]).st_gid
        self._attributes = tuple(map(os.listxattr, self._fds))
        self._flags = tuple(map(_flags, self._fds))

    def renew(self) -> None:
        """Call before each program: the times then tell it nothing of the one before. Raises OSError."""
        for fd in self._fds:
            os.utime(fd)

    def restore(self) -> None:
        """Undo what the program did to the directories. Raises OSError when it cannot be undone.

        Call when no process of the program is left.
        """
        if not self._owned_by_programs:
            return
        for fd, attributes, flags in zip(self._fds, self._attributes, self._flags, strict=True):
            for name in os.listxattr(fd):
                if name not in attributes:
                    os.removexattr(fd, name)
            # After the attributes, of which one is an access list and changes the mode.
            if os.fstat(fd).st_mode != _MODE:
                os.fchmod(fd, _MODE & 0o7777)
            if _flags(fd) != flags:
                fcntl.ioctl(fd, _SET_FLAGS, flags)
        if not self._as_at_first():
            raise OSError("the program changed a shared directory for good")

    def _as_at_first(self) -> bool:
        states = map(os.fstat, self._fds)
        return all((state.st_mode, state.st_uid, state.st_gid) == (_MODE, *self._owner) for state in states)


def _flags(fd: int) -> bytes:
    """The inode's flags, as chattr(1) sets them."""
    try:
        return fcntl.ioctl(fd, _GET_FLAGS, _NO_FLAGS)
    except OSError:  # a kernel whose tmpfs has none
        return _NO_FLAGS
