"""The few kernel calls that Python 3.11 has no binding for. Each raises OSError with the call's name."""

import ctypes
import os
import platform
import struct
from collections.abc import Iterator

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_NOSYMFOLLOW = 0x100
MS_NOATIME = 0x400
MS_NODIRATIME = 0x800
MS_BIND = 0x1000
MS_MOVE = 0x2000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_RELATIME = 0x200000

MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_CAPBSET_READ = 23  # fails for numbers that the kernel has no capability for
_PR_CAPBSET_DROP = 24
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_CAPABILITY_VERSION_3 = 0x20080522
_MNT_DETACH = 2
_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
_SYS_MOUNT_SETATTR = 442  # on every processor
_SYS_SECCOMP = {"x86_64": 317, "aarch64": 277}
_SECCOMP_SET_MODE_FILTER = 1
_MADV_COLLAPSE = 25
_HUGE_PAGE = 2 << 20  # bytes; x86-64's, and the usual one on aarch64
# Before Linux 5.16 a filtered process otherwise runs with slow speculation; a program has nobody's secrets in it.
_SECCOMP_FILTER_FLAG_SPEC_ALLOW = 4

_libc = ctypes.CDLL(None, use_errno=True)
# Declared once and not converted with every call: a program's process makes some of these, and what that touches of
# memory it shares with its parent must be copied.
_libc.prctl.argtypes = (ctypes.c_int, *(4 * (ctypes.c_ulong,)))


def _check(result: int, call: str) -> None:
    if result != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, f"{call}: {os.strerror(errno)}")


def _prctl(option: int, argument: int, call: str) -> None:
    _check(_libc.prctl(option, argument, 0, 0, 0), call)


def set_parent_death_signal(signal: int) -> None:
    """Have the kernel send `signal` to this process when its parent ends. Lost when credentials change."""
    _prctl(_PR_SET_PDEATHSIG, signal, "prctl(PR_SET_PDEATHSIG)")


def set_dumpable(dumpable: bool = True) -> None:
    """Let this process's user own its entries in /proc, also after a change of user; or let nobody."""
    _prctl(_PR_SET_DUMPABLE, int(dumpable), "prctl(PR_SET_DUMPABLE)")


def set_child_subreaper() -> None:
    """Adopt orphaned descendants, so that they can be found and reaped."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1, "prctl(PR_SET_CHILD_SUBREAPER)")


def set_no_new_privileges() -> None:
    """Make setuid programs and file capabilities powerless for this process and its descendants."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1, "prctl(PR_SET_NO_NEW_PRIVS)")


def drop_capabilities(kept: int = 0) -> None:
    """Give up every capability of this process, ambient ones too, but for the bits in `kept`, which it must have."""
    low, high = kept & 0xFFFFFFFF, kept >> 32
    # Effective, permitted, inheritable; first the low words, then the high ones.
    _check(
        _libc.capset(struct.pack("=2I", _CAPABILITY_VERSION_3, 0), struct.pack("=6I", low, low, 0, high, high, 0)),
        "capset",
    )


def drop_bounding_capabilities(kept: int) -> None:
    """Put all capabilities but the bits in `kept` out of reach of this process and what it executes."""
    for number in range(64):
        held = _libc.prctl(_PR_CAPBSET_READ, number, 0, 0, 0)
        if held == 1 and not kept >> number & 1:
            _prctl(_PR_CAPBSET_DROP, number, "prctl(PR_CAPBSET_DROP)")


class _FilterProgram(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


def set_call_filter(instructions: ctypes.Array, length: int) -> None:
    """Have the kernel ask this filter of `length` instructions about every later call of this process."""
    program = _FilterProgram(length, ctypes.addressof(instructions))
    number = ctypes.c_long(_SYS_SECCOMP[platform.machine()])
    operation, flags = ctypes.c_ulong(_SECCOMP_SET_MODE_FILTER), ctypes.c_ulong(_SECCOMP_FILTER_FLAG_SPEC_ALLOW)
    _check(_libc.syscall(number, operation, flags, ctypes.byref(program)), "seccomp")


def unshare(flags: int) -> None:
    """Leave the namespaces named by `flags` for new ones."""
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare")


def mount(source: str, target: str, fstype: str, flags: int = 0, data: str = "") -> None:
    """mount(2)."""
    result = _libc.mount(source.encode(), target.encode(), fstype.encode(), ctypes.c_ulong(flags), data.encode())
    _check(result, f"mount {target}")


def unmount(target: str) -> None:
    """Take a mount, and all below it, out of sight at once."""
    _check(_libc.umount2(target.encode(), ctypes.c_int(_MNT_DETACH)), f"umount {target}")


def pivot_root(new_root: str, put_old: str) -> None:
    """pivot_root(2)."""
    _check(_libc.pivot_root(new_root.encode(), put_old.encode()), "pivot_root")


def set_mount_attributes(target: str, attributes: int) -> None:
    """Add `attributes` to the mount at `target` and all below it: mount_setattr(2), Linux 5.12."""
    # What to set, what to clear, propagation, user namespace.
    wanted = (ctypes.c_uint64 * 4)(attributes, 0, 0, 0)
    number, directory, flags = (
        ctypes.c_long(_SYS_MOUNT_SETATTR),
        ctypes.c_long(_AT_FDCWD),
        ctypes.c_ulong(_AT_RECURSIVE),
    )
    size = ctypes.c_size_t(ctypes.sizeof(wanted))
    _check(_libc.syscall(number, directory, target.encode(), flags, wanted, size), f"mount_setattr {target}")


def collapse_into_huge_pages() -> int:
    """Put this process's private memory on huge pages: a fork then has a few entries to copy and not thousands.

    Collapses what can be of this process's private memory; returns the bytes now on huge pages.

    Zero on kernels that do not know the call (before 6.1): forks then cost what they cost.
    """
    collapsed = 0
    for start, end in list(_private_ranges()):
        first = -(-start // _HUGE_PAGE) * _HUGE_PAGE
        for address in range(first, end - _HUGE_PAGE + 1, _HUGE_PAGE):
            # A range that the process has hardly touched is refused; there is nothing to gain in it.
            if _libc.madvise(ctypes.c_void_p(address), ctypes.c_size_t(_HUGE_PAGE), _MADV_COLLAPSE) == 0:
                collapsed += _HUGE_PAGE
    return collapsed


def overwrite_start(command: str) -> None:
    """Show `command`, and an empty environment, as what this process and its forks were started with.

    Where the kernel keeps both is the process's own memory, which /proc reads. Nothing in it may be in use any more.
    """
    with open("/proc/self/stat", "rb") as stat:
        fields = stat.read().rpartition(b")")[2].split()
    arguments, arguments_end, environment, environment_end = map(int, fields[45:49])
    ctypes.memset(environment, 0, environment_end - environment)
    line = command.encode()[: arguments_end - arguments - 1]
    ctypes.memset(arguments, 0, arguments_end - arguments)
    ctypes.memmove(arguments, line, len(line))


def _private_ranges() -> Iterator[tuple[int, int]]:
    """Start and end addresses of the anonymous, writable mappings."""
    with open("/proc/self/maps") as maps:
        for line in maps:
            addresses, permissions, _, _, inode, *name = line.split()
            if permissions == "rw-p" and inode == "0" and name in ([], ["[heap]"]):
                start, end = addresses.split("-")
                yield int(start, 16), int(end, 16)
