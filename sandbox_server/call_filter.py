"""The filter on kernel calls: those of `call_table` with harmless arguments are allowed, all others are refused.

Installed once per worker and inherited by every program: per program it would cost a tenth of a millisecond. Hence the
worker must do with these calls too.
"""

import ctypes
import os
import platform
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from errno import EINVAL, ENOPROTOOPT, ENOSYS, ENOTTY, EPERM

from sandbox_server import linux
from sandbox_server.call_table import ABSENT, ALLOWED, IDLE, Processor

_PROCESSORS = {"x86_64": Processor.X86_64, "aarch64": Processor.AARCH64}
_AUDIT = {Processor.X86_64: 0xC000003E, Processor.AARCH64: 0xC00000B7}  # the kernel's names for them

KNOWN_PROCESSOR = platform.machine() in _PROCESSORS
"""Whether there is a filter for this machine: calls have other numbers on every processor."""

_FIRST_RECENT = 424
"""Calls from this number on came after Linux 5.0: a library that meets ENOSYS takes the older way. clone3 is one, whose
flags no filter can look into. Older calls are refused with EPERM, unless they are `ABSENT`. x32 lies above too."""

_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data; an argument's low word comes first on both
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000  # the latter with an error number

# All of the following are 32 bits to the kernel, whatever the upper half of the register holds, or tested as bits.
_NEW_NAMESPACES = 0x7E020080  # every CLONE_NEW*
_FAMILIES = (1, 2, 10)  # AF_UNIX, AF_INET, AF_INET6; others reach the kernel's netlink, crypto, virtual machine host...
_PROTOCOLS = (0, 6, 17)  # the default, TCP, UDP; others load modules into the kernel
_SHARED_AND_NAMELESS = 0x21  # MAP_SHARED | MAP_ANONYMOUS: stays when all but a page is unmapped, and no limit counts it
_HUGE_TABLE = 0x40000  # MAP_HUGETLB: of a pool of the machine's, and in no process's resident size
_ADVICE = (*range(5), *range(8, 12), *range(14, 20), 22, 23, 102, 103)
"""Of madvise: not MADV_PAGEOUT and MADV_COLD, which push out files that all programs map; not the merging of equal
pages, which tells one program what another has."""

_FILE_ADVICE = (0, 1, 2, 3, 5)  # not POSIX_FADV_DONTNEED: everybody would read the interpreter from disk again
_FILE_CONTROLS = (*range(8), 1030, 1031, 1032)
"""Of fcntl: descriptors and their flags, record locks (sqlite3 needs them), the size of a pipe. Not leases, notices and
signals to a process, which reach files that all programs see, or the worker; not the locks of an open file."""

_DEVICE_CONTROLS = (0x5401, 0x802C542A, 0x5413, 0x540F, 0x541B, 0x5421, 0x5450, 0x5451)
"""Of ioctl: is this a terminal, and how large; how much is there to read; block, close on exec."""

_PROCESS_CONTROLS = (*range(1, 5), 15, 16, 21, 23, 27, 29, 30, *range(36, 43), 47)
"""Of prctl: what ends or names this process, may be seen of it, and what privileges it has."""

_SOCKET_OPTIONS = {
    1: (2, 5, 6, 9, 10, 13, 15, 16, 18, 20, 21, 66, 67),  # not the sizes of buffers, not filters for packets
    6: (1, 3, 4, 5, 6, 9, 12, 18),  # TCP: not the protocols on top of it, which are in the kernel
    41: (26,),  # IPV6_V6ONLY
}


class _Code(IntEnum):
    """The instructions of the kernel's packet filter that are used here."""

    LOAD = 0x20  # a word of the call's description
    AND = 0x54
    JUMP = 0x05
    JUMP_EQUAL = 0x15
    JUMP_AT_LEAST = 0x35
    JUMP_ANY_BIT = 0x45
    RETURN = 0x06


def _op(code: _Code, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


_ALLOWED, _REFUSED, _UNKNOWN, _NOTHING = (
    (_op(_Code.RETURN, answer),) for answer in (_ALLOW, _ERROR | EPERM, _ERROR | ENOSYS, _ERROR | 0)
)  # blocks of code of one instruction


@dataclass(frozen=True)
class _Step:
    """From which number on, up to the next step's, which block of code decides."""

    first: int
    """The number."""

    block: tuple[bytes, ...]
    """It ends in a return, whatever happens."""


def instructions(processor: Processor, worker_pid: int) -> tuple[bytes, ...]:
    """The filter's code. Nobody may signal `worker_pid`, also where worker and program are the same user."""
    checks = _argument_checks(worker_pid)
    blocks = {number: _UNKNOWN for numbers in ABSENT.values() if (number := numbers[processor]) is not None}
    blocks |= {number: _NOTHING for numbers in IDLE.values() if (number := numbers[processor]) is not None}
    for name, numbers in ALLOWED.items():
        if (number := numbers[processor]) is not None:
            blocks[number] = (*checks[name], *_ALLOWED) if name in checks else _ALLOWED
    return (
        _op(_Code.LOAD, _ARCH),
        _op(_Code.JUMP_EQUAL, _AUDIT[processor], 1, 0),
        *_REFUSED,  # 32-bit calls
        _op(_Code.LOAD, _NUMBER),
        *_search(_staircase(blocks)),
    )


def _argument_checks(worker_pid: int) -> dict[str, tuple[bytes, ...]]:
    """For calls that are allowed with some arguments only: code that falls through when these are harmless."""
    socket = (*_one_of(0, _FAMILIES, EPERM), *_one_of(2, _PROTOCOLS, EPERM))
    not_the_worker = _other_than(0, worker_pid)
    return {
        "mmap": (*_not_all_bits(3, _SHARED_AND_NAMELESS), *_no_bit(3, _HUGE_TABLE)),
        "madvise": _one_of(2, _ADVICE, EINVAL),
        "fadvise64": _one_of(3, _FILE_ADVICE, EINVAL),
        "fcntl": _one_of(1, _FILE_CONTROLS, EINVAL),
        "ioctl": _one_of(1, _DEVICE_CONTROLS, ENOTTY),
        "prctl": _one_of(0, _PROCESS_CONTROLS, EINVAL),
        "clone": _no_bit(0, _NEW_NAMESPACES),
        "socket": socket,
        "socketpair": socket,
        "setsockopt": _option_of(_SOCKET_OPTIONS, ENOPROTOOPT),
        "prlimit64": _one_of(0, (0,), EPERM),  # one's own limits
        **dict.fromkeys(("kill", "tkill", "rt_sigqueueinfo", "pidfd_open"), not_the_worker),
        **dict.fromkeys(("tgkill", "rt_tgsigqueueinfo"), (*not_the_worker, *_other_than(1, worker_pid))),
    }


def _staircase(blocks: dict[int, tuple[bytes, ...]]) -> list[_Step]:
    """Steps with `blocks` at their numbers and refusals between them, as few as there can be."""
    wanted = {0: _REFUSED, _FIRST_RECENT: _UNKNOWN}
    for number in blocks:
        wanted.setdefault(number + 1, _UNKNOWN if number + 1 >= _FIRST_RECENT else _REFUSED)
    steps: list[_Step] = []
    for first, block in sorted((wanted | blocks).items()):
        if not steps or steps[-1].block != block:
            steps.append(_Step(first, block))
    return steps


def _search(steps: list[_Step]) -> tuple[bytes, ...]:
    """Code that finds the number's step by halves.

    No kernel runs it for most calls: from Linux 5.11 on it remembers those that are allowed whatever their arguments.
    """
    if len(steps) == 1:
        return steps[0].block
    middle = len(steps) // 2
    below = _search(steps[:middle])
    # Conditional jumps are too short for a half.
    found = (_op(_Code.JUMP_AT_LEAST, steps[middle].first, 0, 1), _op(_Code.JUMP, len(below)))
    return (*found, *below, *_search(steps[middle:]))


def _load(argument: int) -> bytes:
    return _op(_Code.LOAD, _ARGUMENTS + 8 * argument)


def _one_of(argument: int, allowed: Iterable[int], error: int) -> tuple[bytes, ...]:
    values = tuple(allowed)
    tests = (_op(_Code.JUMP_EQUAL, value, len(values) - index, 0) for index, value in enumerate(values))
    return (_load(argument), *tests, _op(_Code.RETURN, _ERROR | error))


def _other_than(argument: int, value: int) -> tuple[bytes, ...]:
    return (_load(argument), _op(_Code.JUMP_EQUAL, value, 0, 1), *_REFUSED)


def _no_bit(argument: int, mask: int) -> tuple[bytes, ...]:
    return (_load(argument), _op(_Code.JUMP_ANY_BIT, mask, 0, 1), *_REFUSED)


def _not_all_bits(argument: int, mask: int) -> tuple[bytes, ...]:
    return (_load(argument), _op(_Code.AND, mask), _op(_Code.JUMP_EQUAL, mask, 0, 1), *_REFUSED)


def _option_of(options: dict[int, tuple[int, ...]], error: int) -> tuple[bytes, ...]:
    """Code for an option, the third argument, of a level, the second: it returns in each case."""
    code = (_load(1),)
    for level, allowed in options.items():
        block = (*_one_of(2, allowed, error), *_ALLOWED)
        code = (*code, _op(_Code.JUMP_EQUAL, level, 0, len(block)), *block)
    return (*code, _op(_Code.RETURN, _ERROR | error))


_WORKER = 0x7FFFFFFF  # no process has this number, which stands for the worker's
# Made once, in the process that workers are forked from: what a worker's memory is touched for, each program pays for.
_PROGRAM = b"".join(instructions(_PROCESSORS[platform.machine()], _WORKER)) if KNOWN_PROCESSOR else b""


def install() -> None:
    """Put the filter on this process, a worker, and all that come from it. Needs no_new_privs. Raises OSError."""
    program = _PROGRAM.replace(struct.pack("=I", _WORKER), struct.pack("=I", os.getpid()))
    linux.set_call_filter(ctypes.create_string_buffer(program, len(program)), len(program) // 8)
