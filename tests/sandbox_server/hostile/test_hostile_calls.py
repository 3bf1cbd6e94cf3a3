"""Kernel calls that no computation needs, made by number; and ordinary programs, which must not notice the filter."""

# ruff: noqa: E501 - a line of a program is a line here

import platform

import pytest
from fortress import Attack, Fortress
from real_programs import PROGRAMS, RealProgram

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the programs name calls by x86-64's numbers")

UNLISTED = """
old = {'sync': 162, 'syncfs': 306, 'mbind': 237, 'seccomp': 317, 'uffd': 323, 'keyctl': 250, 'bpf': 321, 'perf': 298,
       'set_mempolicy': 238, 'migrate_pages': 256, 'move_pages': 279, 'get_mempolicy': 239, 'mincore': 27, 'membarrier': 324,
       'readahead': 187, 'sync_file_range': 277, 'io_setup': 206, 'inotify_init': 253, 'inotify_init1': 294, 'adjtimex': 159,
       'personality': 135, 'mlock': 149, 'mlockall': 151, 'remap_file_pages': 216, 'tee': 276, 'ustat': 136, 'lookup_dcookie': 212}
new = {'uring': 425, 'landlock': 444, 'cachestat': 451, 'statmount': 457, 'listmount': 458, 'futex_wake': 454, 'mseal': 462,
       'clone3': 435, 'pidfd_send_signal': 424, 'pidfd_getfd': 438, 'process_mrelease': 448, 'setxattrat': 463, 'next': 700, '9999': 9999,
       'x32 getpid': 0x40000027, 'x32 execve': 0x40000000 + 520, 'none': -1}
print({kernel(number, 0, 0, 0, 0, 0) for number in old.values()}, {kernel(number, 0, 0, 0, 0, 0) for number in new.values()})"""

# The code runs getpid as a 32-bit program would: int 0x80.
NARROW = """
import mmap
page = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE, prot=7)
page.write(b'\\x53\\xb8\\x14\\x00\\x00\\x00\\xcd\\x80\\x5b\\xc3')
call = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
print(call() < 0)"""

LIMITS = """
import resource
kinds = [getattr(resource, 'RLIMIT_' + name) for name in ('FSIZE', 'CPU', 'AS', 'NPROC', 'NOFILE', 'STACK', 'NICE', 'SIGPENDING')]
child = os.fork() or time.sleep(5) or os._exit(0)
print({attempt(resource.prlimit, pid, kind, *new) for pid in (1, os.getppid(), child) for kind in kinds for new in ((), ((0, 0),))})
print(attempt(resource.setrlimit, resource.RLIMIT_NOFILE, (9, 256)), resource.getrlimit(resource.RLIMIT_NOFILE))"""

SIGNALS = """
import fcntl, socket
numbers = (signal.SIGINT, signal.SIGCHLD, signal.SIGTERM, signal.SIGSTOP, signal.SIGKILL, signal.SIGHUP)
print({attempt(os.kill, 1, n) for n in numbers}, {kernel(call, 1, n, 0) for call in (129, 200) for n in numbers}, kernel(234, 1, 1, 2), kernel(297, 1, 1, 2, 0))
print(attempt(os.pidfd_open, 1), attempt(lambda: signal.pidfd_send_signal(os.open('/proc/1', os.O_RDONLY), signal.SIGINT)))
a, b = socket.socketpair(); owner = b'\\1\\0\\0\\0'
print(attempt(fcntl.fcntl, a, fcntl.F_SETOWN, 1), attempt(fcntl.fcntl, a, fcntl.F_SETSIG, 2), attempt(fcntl.fcntl, a, 15, b'\\1\\0\\0\\0\\1\\0\\0\\0'),
      {attempt(fcntl.ioctl, a, request, owner) for request in (0x8901, 0x8902, 0x5452)})
print(attempt(os.kill, os.getpid(), 0), attempt(os.kill, os.getppid(), 0))"""

PRIORITIES = """
one = os.sched_param(0)
print({attempt(os.sched_setscheduler, 0, policy, one) for policy in (os.SCHED_IDLE, os.SCHED_BATCH, os.SCHED_OTHER)}, attempt(os.sched_setparam, 0, one),
      attempt(os.sched_setaffinity, 0, {0}), attempt(os.setpriority, os.PRIO_USER, 0, 19), attempt(os.nice, 1), kernel(251, 1, 0, 3 << 13), kernel(314, 0, 0, 0), libc.prctl(62, 1, 0, 0, 0))"""

SHARED_FILES = """
import fcntl
file = os.open('/usr/bin/env', os.O_RDONLY)
print({attempt(fcntl.flock, file, mode) for mode in (fcntl.LOCK_SH, fcntl.LOCK_EX | fcntl.LOCK_NB, fcntl.LOCK_UN)}, libc.inotify_init(), libc.inotify_init1(0), kernel(300, 0, 0))
print({attempt(fcntl.fcntl, file, command, 0) for command in (1024, 1025, 1026)}, {attempt(fcntl.fcntl, file, command, bytes(32)) for command in (36, 37, 38)})
print({attempt(os.posix_fadvise, file, 0, 0, 4)}, attempt(os.preadv, file, [bytearray(9)], 0), attempt(os.preadv, file, [bytearray(9)], 0, os.RWF_NOWAIT))
print({attempt(os.setxattr, place, 'user.left', b'x') for place in ('/tmp', '/dev/shm', '.', file)}, attempt(fcntl.ioctl, os.open('.', 0), 0x40086602, bytes(8)))"""

ATTACKS = [
    Attack("calls that are not on the list", UNLISTED, "{'EPERM'} {'ENOSYS'}\n"),
    Attack("calls of 32 bits", NARROW, "True\n"),
    Attack("the limits of others", LIMITS, "{'PermissionError'}\ndone (9, 256)\n".replace("PermissionError", "EPERM")),
    Attack(
        "signals to the worker",
        SIGNALS,
        "{'EPERM'} {'EPERM'} EPERM EPERM\nEPERM ENOSYS\nEINVAL EINVAL EINVAL {'ENOTTY'}\ndone EPERM\n",
    ),
    Attack("a lower priority", PRIORITIES, "{'EPERM'} EPERM EPERM EPERM EPERM EPERM EPERM -1\n"),
    Attack(
        "files that all programs see",
        SHARED_FILES,
        "{'ENOSYS'} -1 -1 EPERM\n{'EINVAL'} {'EINVAL'}\n{'EINVAL'} done ENOTSUP\n{'EPERM'} ENOTTY\n",
    ),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_calls_are_refused(fortress: Fortress, attack: Attack):
    """The program is told so, and nobody else notices."""
    fortress.checks(attack)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_calls_are_refused_without_root(other_fortress: Fortress, attack: Attack):
    """The same, where the server has no privileges."""
    other_fortress.checks(attack)


def run_real(server: Fortress, program: RealProgram) -> None:
    """The program prints what it prints elsewhere, and nothing on standard error."""
    result = server.run(program.code, run_timeout=60.0, memory_mb=8000)["run_result"]
    if f"No module named {program.needs!r}" in result["stderr"]:
        pytest.skip(f"{program.needs} is not installed where programs look")
    assert (result["stdout"].rstrip("\n"), result["stderr"]) == (program.prints, ""), result


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_ordinary_programs_do_not_notice(fortress: Fortress, program: RealProgram):
    """Libraries, processes, threads, databases and tools work as outside."""
    run_real(fortress, program)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_ordinary_programs_do_not_notice_without_root(other_fortress: Fortress, program: RealProgram):
    """The same, where the server has no privileges."""
    run_real(other_fortress, program)
