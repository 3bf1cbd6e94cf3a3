"""Programs that turn on the worker they run on, or on the directories that they share with the next."""

import pytest
from fortress import Attack, Fortress

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
]


def check(server: Fortress, attack: Attack) -> None:
    """The attack's own outcome, and all else."""
    result = server.withstands(attack)["run_result"]
    as_expected = attack.expect(result) if callable(attack.expect) else result["stdout"] == attack.expect
    assert as_expected, result


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_the_worker_stays_as_it_is(fortress: Fortress, attack: Attack):
    """The program reaches nothing of its worker, and the next one notices nothing."""
    check(fortress, attack)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_the_worker_stays_as_it_is_without_root(other_fortress: Fortress, attack: Attack):
    """The same, where program and worker are one user."""
    check(other_fortress, attack)
