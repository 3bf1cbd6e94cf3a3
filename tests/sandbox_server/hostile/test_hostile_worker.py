"""Programs that turn on the worker they run on, or on the directories that they share with the next."""

# ruff: noqa: E501 - a line of a program is a line here

import pytest
from fortress import Attack, Fortress, ended_by

SHARED = """
import fcntl
for d in ('/tmp', '/var/tmp', '/dev/shm'): print(attempt(lambda: CALL))"""
# The access list lets everybody in, by default too.
ATTRIBUTES = """[print(attempt(os.setxattr, d, name, value)) for name, value in (('user.left', b'x'),
    *((f'system.posix_acl_{kind}', bytes.fromhex('0200000001000700ffffffff04000700ffffffff20000700ffffffff')) for kind in ('access', 'default')))]"""
FLAGS = "[print(attempt(fcntl.ioctl, os.open(d, 0), 0x40086602, (f).to_bytes(8, 'little'))) for f in (0x40, 0x80, 0x10, 0x20)]"
MOVES = """[print(attempt(*call)) for call in ((os.rename, d, d + '2'), (os.rmdir, d), (os.chown, d, -1, 0), (os.symlink, '/etc', d),
    (os.rename, os.getcwd(), d + '/moved'))]"""

ATTACKS = [
    Attack(
        "every signal to the worker",
        """
for number in range(1, 65):
    for pid in (1, os.getppid()):
        attempt(os.kill, pid, number); attempt(libc.sigqueue, pid, number, 0)
    if number not in (9, 19): signal.signal(number, signal.SIG_IGN) if number not in (32, 33) else None
    if number not in (9, 19): attempt(os.kill, -1, number)
time.sleep(0.2); print('alive')""",
        "alive\n",
    ),
    Attack(
        "a storm of signals to the worker",
        """
for _ in range(3):
    if os.fork() == 0: break
until = time.monotonic() + 0.7
while time.monotonic() < until:
    for number in (signal.SIGINT, signal.SIGCHLD, signal.SIGCHLD, signal.SIGCHLD): attempt(os.kill, 1, number)
print('alive')""",
        lambda r: "alive" in r["stdout"],
    ),
    Attack(
        "signals of descriptors and timers to the worker",
        """
import fcntl, socket
for number in (signal.SIGINT, signal.SIGKILL, signal.SIGCHLD, 40):
    mine, other = socket.socketpair()
    attempt(fcntl.fcntl, mine, fcntl.F_SETOWN, 1); attempt(fcntl.fcntl, mine, 10, number)
    attempt(fcntl.fcntl, mine, fcntl.F_SETFL, os.O_ASYNC)
    for _ in range(2000): other.send(b'x'); mine.recv(1)
print('alive')""",
        "alive\n",
    ),
    *(
        Attack(f"mode {mode:o} of the shared directories", SHARED.replace("CALL", f"os.chmod(d, {mode})"), ended_by(0))
        for mode in (0, 0o700, 0o777, 0o2777, 0o7777)
    ),
    Attack("times of the shared directories", SHARED.replace("CALL", "os.utime(d, (12345, 67890))"), ended_by(0)),
    Attack("attributes of the shared directories", SHARED.replace("CALL", ATTRIBUTES), ended_by(0)),
    Attack("inode flags of the shared directories", SHARED.replace("CALL", FLAGS), ended_by(0)),
    Attack(
        "devices",
        "for d in ('null', 'full', 'random', 'urandom'): print(attempt(os.utime, '/dev/' + d), attempt(os.chmod, '/dev/' + d, 0o666))\n"
        "print(attempt(lambda: open('/dev/null', 'r+b').write(b'x')), len(open('/dev/urandom', 'rb').read(9)))",
        "EROFS EROFS\n" * 4 + "done 9\n",
    ),
    Attack(
        "hard to end",
        """
attempt(os.setpriority, 0, 0, 19); attempt(os.sched_setscheduler, 0, os.SCHED_IDLE, os.sched_param(0))
block = bytearray(200 << 20)
for at in range(0, len(block), 4096): block[at] = 1
while True: pass""",
        ended_by("TimeLimitExceeded"),
    ),
    Attack("the shared directories moved", SHARED.replace("CALL", MOVES), ended_by(0)),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_the_worker_stays_as_it_is(fortress: Fortress, attack: Attack):
    """The program reaches nothing of its worker, and the next one notices nothing."""
    fortress.checks(attack)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_the_worker_stays_as_it_is_without_root(other_fortress: Fortress, attack: Attack):
    """The same, where program and worker are one user."""
    other_fortress.checks(attack)
