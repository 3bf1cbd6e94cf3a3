"""The kernel calls that programs are refused: those that only widen what a program can attack or leave behind.

Installed once per worker and inherited by every program: per program it would cost a tenth of a millisecond. Hence the
worker must do without these calls too.
"""

import ctypes
import platform
import struct
from dataclasses import dataclass
from enum import IntEnum

from sandbox_server import linux

_X86_64, _AARCH64 = "x86_64", "aarch64"

_REFUSED: dict[str, tuple[int | None, int | None]] = {
    # name: (number on x86_64, number on aarch64)
    # New namespaces give a program capabilities over code of the kernel that is otherwise out of its reach.
    **{"unshare": (272, 97), "setns": (308, 268), "chroot": (161, 51), "pivot_root": (155, 41)},
    **{"mount": (165, 40), "umount2": (166, 39), "open_tree": (428, 428), "move_mount": (429, 429)},
    **{"fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433)},
    **{"mount_setattr": (442, 442), "open_tree_attr": (467, 467)},
    # Other processes' memory and descriptors.
    **{"ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271)},
    **{"kcmp": (312, 272), "pidfd_getfd": (438, 438), "process_madvise": (440, 440)},
    # Large interfaces with a long record of vulnerabilities, of no use to a computation.
    **{"bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "modify_ldt": (154, None)},
    **{"io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427)},
    **{"open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264), "fanotify_init": (300, 262)},
    # The machine itself.
    **{"kexec_load": (246, 104), "kexec_file_load": (320, 294), "reboot": (169, 142), "syslog": (103, 116)},
    **{"init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "acct": (163, 89)},
    **{"swapon": (167, 224), "swapoff": (168, 225), "quotactl": (179, 60), "quotactl_fd": (443, 443)},
    **{"iopl": (172, None), "ioperm": (173, None), "vhangup": (153, 58)},
    # Objects that outlive the program that made them, for the next program of the same worker to find.
    **{"keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218), "mq_open": (240, 180)},
    **{"shmget": (29, 194), "shmat": (30, 196), "msgget": (68, 186), "semget": (64, 190)},
    # Memory that neither the address space limit nor the resident size of a process shows.
    **{"memfd_create": (319, 279), "memfd_secret": (447, 447), "vmsplice": (278, 75)},
}


class _Code(IntEnum):
    """The instructions of the kernel's packet filter that are used here."""

    LOAD = 0x20  # a word of the call's description
    AND = 0x54
    JUMP_EQUAL = 0x15
    JUMP_ANY_BIT = 0x45
    RETURN = 0x06


@dataclass(frozen=True)
class _Processor:
    """What differs from processor to processor."""

    column: int
    """Which number of `_REFUSED`."""

    audit: int
    """The kernel's name for it."""

    mmap: int
    clone: int
    clone3: int
    socket: int
    socketpair: int


_PROCESSORS = {
    _X86_64: _Processor(0, 0xC000003E, mmap=9, clone=56, clone3=435, socket=41, socketpair=53),
    _AARCH64: _Processor(1, 0xC00000B7, mmap=222, clone=220, clone3=435, socket=198, socketpair=199),
}

KNOWN_PROCESSOR = platform.machine() in _PROCESSORS
"""Whether there is a filter for this machine: calls have other numbers on every processor."""

_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data; an argument's low word comes first on both
_ALLOW, _REFUSE, _UNKNOWN_CALL = 0x7FFF0000, 0x00050000 | 1, 0x00050000 | 38  # EPERM, ENOSYS
_X32_BIT = 0x40000000  # a second numbering of the same calls on x86-64
_NEW_NAMESPACES = 0x7E020080  # every CLONE_NEW*
_FAMILIES = (1, 2, 10)  # AF_UNIX, AF_INET, AF_INET6; others reach the kernel's netlink, crypto, virtual machine host...
_PROTOCOLS = (0, 6, 17)  # the default, TCP, UDP; others load modules into the kernel
_SHARED_AND_NAMELESS = 0x21  # MAP_SHARED | MAP_ANONYMOUS


def install() -> None:
    """Put the filter on this process and all that come from it. Needs no_new_privs. Raises OSError."""
    program = b"".join(_instructions(_PROCESSORS[platform.machine()]))
    linux.set_call_filter(ctypes.create_string_buffer(program, len(program)), len(program) // 8)


def _instructions(processor: _Processor) -> list[bytes]:
    numbers = [pair[processor.column] for pair in _REFUSED.values()]
    argument = [_ARGUMENTS + 8 * index for index in range(6)]
    code = [
        _op(_Code.LOAD, _ARCH),
        _op(_Code.JUMP_EQUAL, processor.audit, 1, 0),
        _op(_Code.RETURN, _REFUSE),  # 32-bit calls
        _op(_Code.LOAD, _NUMBER),
        # No wrapper can look into clone3's flags; the C library falls back to clone.
        *_when(processor.clone3, [_op(_Code.RETURN, _UNKNOWN_CALL)]),
        *_when(
            processor.mmap,
            [
                # Such pages stay allocated when all but one of them are unmapped, and no limit counts them.
                _op(_Code.LOAD, argument[3]),
                _op(_Code.AND, _SHARED_AND_NAMELESS),
                _op(_Code.JUMP_EQUAL, _SHARED_AND_NAMELESS, 1, 0),
                _op(_Code.RETURN, _ALLOW),
                _op(_Code.RETURN, _REFUSE),
            ],
        ),
        *_when(
            processor.clone,
            [
                _op(_Code.LOAD, argument[0]),
                _op(_Code.JUMP_ANY_BIT, _NEW_NAMESPACES, 1, 0),
                _op(_Code.RETURN, _ALLOW),
                _op(_Code.RETURN, _REFUSE),
            ],
        ),
    ]
    for number in (processor.socket, processor.socketpair):
        code += _when(
            number,
            [
                *_only(argument[0], _FAMILIES),
                *_only(argument[2], _PROTOCOLS),
                _op(_Code.RETURN, _ALLOW),
            ],
        )
    code += [_op(_Code.JUMP_ANY_BIT, _X32_BIT, 0, 1), _op(_Code.RETURN, _REFUSE)]
    for number in numbers:
        if number is not None:
            code += _when(number, [_op(_Code.RETURN, _REFUSE)])
    return [*code, _op(_Code.RETURN, _ALLOW)]


def _when(number: int, block: list[bytes]) -> list[bytes]:
    """`block`, which must end in a return, for the call `number` only."""
    return [_op(_Code.JUMP_EQUAL, number, 0, len(block)), *block]


def _only(offset: int, allowed: tuple[int, ...]) -> list[bytes]:
    """Go on when the word at `offset` is one of `allowed`."""
    tests = [_op(_Code.JUMP_EQUAL, value, len(allowed) - index, 0) for index, value in enumerate(allowed)]
    return [_op(_Code.LOAD, offset), *tests, _op(_Code.RETURN, _REFUSE)]


def _op(code: _Code, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
