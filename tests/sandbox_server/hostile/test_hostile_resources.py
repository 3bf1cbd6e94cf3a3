"""Programs that want more than their share: of processes, memory, disk, descriptors, time."""

# ruff: noqa: E501 - a line of a program is a line here

import pytest
from fortress import Attack, Fortress, ended_by

TIME_LIMIT = "TimeLimitExceeded"


def counted(low: int, high: int):
    """That the program ended by itself and the number that it printed last lies between."""
    return lambda result: low <= int(result["stdout"].split()[-1]) <= high


# None of these could take down a machine that does not stop them: every loop ends by itself.
ATTACKS = [
    Attack("fork bomb", "for _ in range(8): os.fork()\ntime.sleep(9)", ended_by(TIME_LIMIT, 1), 1.0),
    Attack(
        "children by the hundred",
        """
made = 0
try:
    for _ in range(200):
        if os.fork() == 0: time.sleep(3); os._exit(0)
        made += 1
except OSError: pass
print(made)""",
        counted(1, 63),
    ),
    # As important together as one: its neighbour gets its share, whatever sessions they make.
    Attack(
        "a crowd in sessions of its own",
        """
ours, (there, back) = os.getsid(0), os.pipe()
for _ in range(24):
    if os.fork() == 0:
        os.setsid(); until = time.monotonic() + 1
        while time.monotonic() < until: pass
        os.write(back, b'%d %d\\n' % (os.getpriority(os.PRIO_PROCESS, 0), os.getsid(0) == ours)); os._exit(0)
os.close(back)
told = [line.split() for line in open(there)]
print(len(told), {same for _, same in told}, sorted(int(nice) for nice, _ in told)[12] >= 10)""",
        "24 {'1'} True\n",
        4.0,
    ),
    Attack("100 GB at once", "print(attempt(bytearray, 100 << 30))", "MemoryError\n"),
    Attack(
        "memory in steps",
        "kept = []\ndef grow():\n  for _ in range(60): kept.append(b'x' * (50 << 20))\nprint(attempt(grow), len(kept) < 7)",
        "MemoryError True\n",
    ),
    Attack(
        "many children with memory each",
        """
for _ in range(30):
    if os.fork() == 0:
        block = b'x' * (100 << 20); time.sleep(5); os._exit(0)
time.sleep(6)""",
        ended_by(-9),
        5.0,
    ),
    Attack(
        "many undumpable children with memory each",
        """
for _ in range(30):
    if os.fork() == 0:
        libc.prctl(4, 0, 0, 0, 0); block = b'x' * (100 << 20); time.sleep(5); os._exit(0)
time.sleep(6)""",
        ended_by(-9),
        5.0,
    ),
    Attack(
        "shared pages that stay when unmapped",
        """
libc.mmap.restype = ctypes.c_void_p
size, gone = 50 << 20, ctypes.c_void_p(-1).value
for _ in range(20):
    page = libc.mmap(None, ctypes.c_size_t(size), 3, 0x21, -1, ctypes.c_long(0))
    if page == gone: print(errno.errorcode[ctypes.get_errno()]); break
    ctypes.memset(page, 1, size); libc.munmap(ctypes.c_void_p(page + 4096), ctypes.c_size_t(size - 4096))""",
        "EPERM\n",
    ),
    Attack(
        "files in memory", "print(attempt(os.memfd_create, 'x'), attempt(open, '/dev/zero', 'r+b'))", "EPERM ENOENT\n"
    ),
    Attack("endless output", "while True: sys.stdout.write('x\\n' * 1000)", lambda r: len(r["stdout"]) == 50_000, 1.0),
    Attack("endless line", "while True: os.write(2, b'x' * 65536)", lambda r: len(r["stderr"]) == 50_000, 1.0),
    Attack(
        "filling the disk",
        """
written = 0
try:
    for number in range(256):
        with open(f'{("/tmp", "/var/tmp", "/dev/shm", ".")[number % 4]}/{number}', 'wb', buffering=0) as file:
            written += file.write(bytes(8 << 20))
except OSError as error: print(errno.errorcode[error.errno])
print(written >> 20)""",
        counted(40, 64),
    ),
    Attack("one enormous file", "print(attempt(lambda: open('f', 'wb').truncate(1 << 40)))", "EFBIG\n"),
    Attack(
        "a million empty files",
        """
made = 0
try:
    for number in range(1_000_000): os.close(os.open(str(number), os.O_CREAT)); made += 1
except OSError as error: print(errno.errorcode[error.errno])
print(made)""",
        counted(1000, 20_000),
        5.0,
    ),
    Attack(
        "directories deeper than paths, names as long as can be",
        "for _ in range(2000): os.mkdir('d' * 255); os.chdir('d' * 255)\nos.chmod('..', 0); print('done')",
        "done\n",
        5.0,
    ),
    Attack(
        "threads by the thousand",
        """
import threading
made = 0
try:
    for _ in range(1000): threading.Thread(target=time.sleep, args=(0.3,), daemon=True).start(); made += 1
except RuntimeError: pass
print(made)""",
        counted(1, 63),
        memory_mb=2000,
    ),
    Attack("deep recursion", "def f(): f()\nprint(attempt(f))", "RecursionError\n"),
    Attack(
        "recursion without a limit",
        "sys.setrecursionlimit(10**9)\nx = []\nfor _ in range(10**6): x = [x]\nrepr(x)",
        ended_by(-11),
        5.0,
    ),
    Attack("a number that takes for ever", "10 ** 10 ** 8 % 7", ended_by(TIME_LIMIT), 1.0),
    Attack(
        "descriptors",
        "kept = []\ndef f():\n  for _ in range(5000): kept.append(os.dup(0))\nprint(attempt(f), len(kept))",
        "EMFILE 253\n",
    ),
    Attack(
        "raising limits",
        """
import resource
names = ('AS', 'NPROC', 'NOFILE', 'FSIZE', 'CPU', 'CORE')
def lift(name): resource.setrlimit(getattr(resource, 'RLIMIT_' + name), (resource.RLIM_INFINITY,) * 2)
print({attempt(lift, name) for name in names})""",
        "{'ValueError'}\n",
    ),
    Attack(
        "zip bomb",
        "import zlib\npack = zlib.compressobj()\nbomb = b''.join(pack.compress(bytes(1 << 20)) for _ in range(150)) + pack.flush()"
        "\nprint(attempt(zlib.decompress, bomb))",
        "MemoryError\n",
        5.0,
        memory_mb=100,
    ),
    Attack(
        "signals ignored and blocked",
        "for n in range(1, 32):\n  if n not in (9, 19): signal.signal(n, signal.SIG_IGN)\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nwhile True: pass",
        ended_by(TIME_LIMIT),
        0.7,
    ),
    Attack("stopping itself", "os.kill(os.getpid(), signal.SIGSTOP)", ended_by(TIME_LIMIT), 0.7),
    Attack(
        "going before others",
        "print(attempt(os.nice, -20), attempt(os.sched_setscheduler, 0, os.SCHED_FIFO, os.sched_param(1)), "
        "kernel(251, 1, 0, 1 << 13), libc.mlockall(3))",
        lambda r: r["stdout"] in ("EPERM EPERM EPERM -1\n", "EACCES EPERM EPERM -1\n"),
    ),
    Attack(
        "arguments and environment without end",
        "print(attempt(os.execve, sys.executable, ['x'] * 10, {'A': 'x' * (1 << 24)}), "
        "attempt(os.execv, sys.executable, ['x' * 1000] * 10_000))",
        lambda r: r["stdout"] == "E2BIG E2BIG\n",
    ),
    Attack(
        "kernel buffers",
        """
import fcntl, socket
kept, total = [], 0
try:
    for _ in range(500):
        read, write = os.pipe(); kept += [read, write]; os.set_blocking(write, False)
        fcntl.fcntl(write, 1031, 1 << 20)
        while True: total += os.write(write, bytes(1 << 20))
except OSError: pass
print(total >> 20)""",
        counted(0, 300),
    ),
    Attack(
        "kernel buffers of sockets, in many processes",
        """
import socket
for _ in range(11):
    if os.fork() == 0: break
kept = [pair for _ in range(120) for pair in [socket.socketpair()]]
for end in [end for pair in kept for end in pair]:
    end.setblocking(False); attempt(lambda: [end.send(bytes(4096)) for _ in range(99)])
time.sleep(9)""",
        ended_by(-9),
        5.0,
    ),
    Attack(
        "larger buffers of sockets",
        "import socket\na, b = socket.socketpair()\n"
        "print({attempt(a.setsockopt, 1, option, 1 << 22) for option in (7, 8, 32, 33)}, a.getsockopt(1, 7) < 1 << 20)",
        "{'ENOPROTOOPT'} True\n",
    ),
    Attack("an alarm", "signal.alarm(1); signal.setitimer(signal.ITIMER_REAL, 0.1); time.sleep(3)", ended_by(-14)),
    Attack("a core dump", "os.abort()", ended_by(-6)),
    Attack(
        "notification instances",
        "n = 0\nwhile n < 5000 and libc.inotify_init() >= 0: n += 1\nprint(n)",
        counted(0, 0),
    ),
]
# What contains the others is the same whoever runs the server.
BY_NAMESPACE = {
    "fork bomb",
    "children by the hundred",
    "many children with memory each",
    "many undumpable children with memory each",
    "shared pages that stay when unmapped",
    "files in memory",
    "filling the disk",
    "a million empty files",
    "threads by the thousand",
    "going before others",
    "kernel buffers",
    "kernel buffers of sockets, in many processes",
    "larger buffers of sockets",
}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_greed_is_contained(fortress: Fortress, attack: Attack):
    """The program ends at its limits, and nobody else notices."""
    fortress.checks(attack)


@pytest.mark.parametrize("attack", [a for a in ATTACKS if a.name in BY_NAMESPACE], ids=lambda attack: attack.name)
def test_greed_is_contained_without_root(other_fortress: Fortress, attack: Attack):
    """The same, where the server has no privileges."""
    other_fortress.checks(attack)
