"""The preloaded interpreter's memory on huge pages: a fork then has a few entries to copy and not thousands."""

import ctypes
from collections.abc import Iterator

_MADV_COLLAPSE = 25
_HUGE_PAGE = 2 << 20  # bytes; x86-64's, and the usual one on aarch64

_libc = ctypes.CDLL(None, use_errno=True)


def collapse() -> int:
    """Collapse what can be of this process's private memory; returns the bytes now on huge pages.

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


def _private_ranges() -> Iterator[tuple[int, int]]:
    """Start and end addresses of the anonymous, writable mappings."""
    with open("/proc/self/maps") as maps:
        for line in maps:
            addresses, permissions, _, _, inode, *name = line.split()
            if permissions == "rw-p" and inode == "0" and name in ([], ["[heap]"]):
                start, end = addresses.split("-")
                yield int(start, 16), int(end, 16)
