"""The filter on kernel calls, read as the kernel reads it: what it answers to each number and argument."""

import errno
import os
import re
import struct
from pathlib import Path

import pytest

from sandbox_server.call_filter import instructions
from sandbox_server.call_table import ABSENT, ALLOWED, IDLE, Processor

AUDIT = {Processor.X86_64: 0xC000003E, Processor.AARCH64: 0xC00000B7}
I386 = 0x40000003
WORKER = 4711
HEADERS = {
    Processor.X86_64: Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    Processor.AARCH64: Path("/usr/include/asm-generic/unistd.h"),
}


def answer(processor: Processor, number: int, *arguments: int, arch: int | None = None) -> str:
    """What the filter answers to one call: 'allowed', or the error's name."""
    code = [struct.unpack("=HBBI", op) for op in instructions(processor, WORKER)]
    words = [number & 0xFFFFFFFF, AUDIT[processor] if arch is None else arch, 0, 0]
    for argument in (*arguments, *[0] * (6 - len(arguments))):
        words += [argument & 0xFFFFFFFF, argument >> 32 & 0xFFFFFFFF]
    register, at = 0, 0
    while True:
        kind, if_true, if_false, value = code[at]
        at += 1
        match kind:
            case 0x20:
                register = words[value // 4]
            case 0x54:
                register &= value
            case 0x05:
                at += value
            case 0x06:
                told = {0x7FFF0000: "allowed", 0x00050000: "done"}
                return told.get(value) or errno.errorcode[value & 0xFFFF]
            case _:
                holds = {0x15: register == value, 0x35: register >= value, 0x45: register & value}[kind]
                at += if_true if holds else if_false


def numbers(processor: Processor) -> dict[str, int]:
    """The numbers that the filter allows on a processor."""
    return {name: pair[processor] for name, pair in ALLOWED.items() if pair[processor] is not None}


@pytest.mark.parametrize("processor", Processor)
def test_every_number_that_is_not_on_the_list_is_refused(processor: Processor):
    """Of all numbers, those that the kernel has not got yet included, only the listed ones are ever allowed."""
    allowed = {*numbers(processor).values()}
    absent = {pair[processor] for pair in ABSENT.values()}
    (idle,) = {pair[processor] for pair in IDLE.values()}
    limited = {number for number in allowed if answer(processor, number, *[0x7FFFFFF0] * 6) != "allowed"}
    for number in (*range(700), 9999, 0x3FFFFFFF, -1, *range(0x40000000, 0x40000000 + 600)):
        told = answer(processor, number, *[0x7FFFFFF0] * 6)
        if number == idle:
            assert told == "done"
        elif number in allowed - limited:
            assert told == "allowed", number
        elif number not in allowed:
            assert told == ("ENOSYS" if number in absent or not 0 <= number < 424 else "EPERM"), number
        assert answer(processor, number, arch=I386) == "EPERM"
    names = {name for name, number in numbers(processor).items() if number in limited}
    assert names == {
        *("mmap", "madvise", "fadvise64", "fcntl", "ioctl", "prctl", "clone", "socket", "socketpair", "setsockopt"),
        "prlimit64",
    }


CASES = [
    ("mmap", (0, 4096, 3, 0x22), "allowed"),  # private
    ("mmap", (0, 4096, 3, 0x01, 5), "allowed"),  # a file
    ("mmap", (0, 4096, 3, 0x21), "EPERM"),  # shared pages of no file
    ("mmap", (0, 4096, 3, 0x40022), "EPERM"),  # the machine's huge pages
    ("clone", (0x3D0F00,), "allowed"),  # a thread
    ("clone", (0x10000011,), "EPERM"),  # a user namespace
    ("clone", (0x81,), "EPERM"),  # a time namespace
    ("kill", (WORKER, 2), "EPERM"),
    ("kill", (WORKER | 7 << 32, 2), "EPERM"),  # the kernel drops the upper half
    ("kill", (WORKER + 1, 2), "allowed"),
    ("kill", (-1, 9), "allowed"),
    ("tkill", (WORKER, 2), "EPERM"),
    ("tgkill", (WORKER + 1, WORKER, 2), "EPERM"),
    ("tgkill", (WORKER, WORKER + 1, 2), "EPERM"),
    ("rt_sigqueueinfo", (WORKER, 2), "EPERM"),
    ("pidfd_open", (WORKER, 0), "EPERM"),
    ("prlimit64", (0, 7, 1), "allowed"),
    ("prlimit64", (WORKER, 7, 1), "EPERM"),
    ("prlimit64", (WORKER + 1, 7, 0), "EPERM"),
    ("socket", (1, 1, 0), "allowed"),
    ("socket", (16, 3, 0), "EPERM"),
    ("socket", (2, 1, 262), "EPERM"),
    ("socketpair", (1, 1, 0), "allowed"),
    ("setsockopt", (3, 1, 2), "allowed"),
    ("setsockopt", (3, 1, 7), "ENOPROTOOPT"),  # more buffers
    ("setsockopt", (3, 1, 26), "ENOPROTOOPT"),  # a packet filter
    ("setsockopt", (3, 41, 26), "allowed"),
    ("setsockopt", (3, 6, 31), "ENOPROTOOPT"),  # a protocol on top of TCP
    ("setsockopt", (3, 0, 64), "ENOPROTOOPT"),  # a firewall's table
    ("fcntl", (0, 6), "allowed"),
    *(("fcntl", (0, command), "EINVAL") for command in (8, 10, 15, 36, 37, 38, 1024, 1025, 1026, 1033)),
    ("ioctl", (0, 0x5401), "allowed"),
    *(("ioctl", (0, request), "ENOTTY") for request in (0x5412, 0x8901, 0x8902, 0x5452, 0x40086602, 0x40049409)),
    ("prctl", (15,), "allowed"),
    *(("prctl", (option,), "EINVAL") for option in (22, 35, 59, 62, 67)),
    ("madvise", (0, 0, 4), "allowed"),
    *(("madvise", (0, 0, advice), "EINVAL") for advice in (12, 20, 21, 25, 100)),
    ("fadvise64", (0, 0, 0, 2), "allowed"),
    ("fadvise64", (0, 0, 0, 4), "EINVAL"),
]


@pytest.mark.parametrize(("name", "arguments", "expected"), CASES, ids=str)
@pytest.mark.parametrize("processor", Processor)
def test_arguments_are_looked_at(processor: Processor, name: str, arguments: tuple[int, ...], expected: str):
    """A call that is allowed for some arguments only is refused for the others."""
    assert answer(processor, ALLOWED[name][processor], *arguments) == expected


@pytest.mark.parametrize("processor", Processor)
def test_the_numbers_are_the_kernels(processor: Processor):
    """Each number of the table stands beside the same name in the kernel's own headers, where these are installed."""
    if not HEADERS[processor].exists():
        pytest.skip("no kernel headers here")
    found = re.findall(r"#define __NR(3264)?_(\w+)\s+(\d+)", HEADERS[processor].read_text())
    theirs = {name: int(number) for _, name, number in found}
    # Where the generic table has one number for two names, the 64-bit name.
    theirs |= {"newfstatat": theirs.get("newfstatat", theirs.get("fstatat"))}
    ours = {**numbers(processor), **{name: pair[processor] for name, pair in (ABSENT | IDLE).items()}}
    assert {name: number for name, number in ours.items() if theirs.get(name, number) != number} == {}
    # Calls that are newer than the headers, at most.
    assert {name for name in ours if name not in theirs} <= {"fchmodat2", "futex_waitv", "epoll_pwait2", "openat2"}
    assert {name for name in theirs if (ALLOWED | IDLE).get(name, (0, 0))[processor] is None} == set()


def test_the_code_fits_and_is_short_to_run():
    """The kernel takes 4,096 instructions, and adds up those of all filters of a process."""
    assert all(len(instructions(processor, os.getpid())) < 700 for processor in Processor)
