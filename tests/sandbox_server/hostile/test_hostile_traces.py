"""Programs that try to leave something to the next, and programs that end in odd ways."""

# ruff: noqa: E501 - a line of a program is a line here

import concurrent.futures

import pytest
from fortress import Attack, Fortress, ended_by

MODULES = """
import builtins, json, math, random, sympy, subprocess, threading, types
sympy.solve = json.loads = os.listdir = lambda *a, **k: 'spoilt'
builtins.print = builtins.len = builtins.open = builtins.__import__ = None
math.pi = 3; os.environ.clear(); sys.path[:] = []; sys.stdout = None; sys.setrecursionlimit(40)
for name in list(sys.modules): sys.modules[name] = types.ModuleType(name)
sys.modules.clear(); type('x', (), {}).__class__; os.chdir('/')"""

FRAMES = """
import gc, struct
body = b'["Report", {"status": "Finished", "return_code": 0, "stdout": "forged"}]'
for fd in range(3, 300): attempt(os.write, fd, struct.pack('>I', len(body)) + body)
sockets = [thing for thing in gc.get_objects() if type(thing).__name__ == 'socket']
for thing in sockets: attempt(thing.sendall, struct.pack('>I', len(body)) + body)
print('tried')"""

ENDS = {
    "in atexit": "import atexit\natexit.register(os._exit, 5)",
    "in a thread": "import threading\nthreading.Thread(target=os._exit, args=(5,)).start(); time.sleep(5)",
    "in __del__": "class Last:\n  def __del__(self, leave=os._exit): leave(5)\nlast = Last()",
    "in a forked child": "if os.fork() == 0: os._exit(3)\nos.wait(); os._exit(5)",
    "in a signal handler": "signal.signal(signal.SIGUSR1, lambda *_: os._exit(5)); os.kill(os.getpid(), signal.SIGUSR1)",
    "in the exception hook": "sys.excepthook = lambda *_: os._exit(5)\n1/0",
    "in a child that continues as the program": "if os.fork(): os._exit(5)\nwhile True: time.sleep(1)",
    "by exec": "os.execl('/bin/sh', 'sh', '-c', 'sleep 60 & exit 5')",
}

ATTACKS = [
    Attack("spoilt modules", MODULES, ended_by(0, 1)),
    Attack("forged reports", FRAMES, "tried\n"),
    Attack(
        "objects that outlive processes",
        """
from multiprocessing import shared_memory, resource_tracker, synchronize
resource_tracker.register = lambda *a: None
block = shared_memory.SharedMemory('left', create=True, size=1 << 20)
print(attempt(lambda: open('/dev/shm/sem.left', 'x')), kernel(29, 7, 4096, 0o1666), kernel(68, 7, 0o1666), kernel(64, 7, 1, 0o1666),
      kernel(240, b'left', 0o101, 0o666, 0), kernel(248, b'user', b'left', b'x', 1, -4))""",
        "done EPERM EPERM EPERM EPERM EPERM\n",
    ),
    Attack(
        "files everywhere that can be written",
        """
import socket
for place in ('/tmp', '/var/tmp', '/dev/shm'):
    os.makedirs(place + '/left/deep'); open(place + '/left/deep/file', 'w').close(); os.mkfifo(place + '/fifo')
    os.symlink('/etc', place + '/link'); socket.socket(socket.AF_UNIX).bind(place + '/socket'); os.chmod(place + '/left', 0)
print('left')""",
        "left\n",
    ),
    Attack("no streams", "os.closerange(0, 256)", ended_by(0, 120)),
    Attack(
        "streams in disorder",
        "import fcntl\nfor fd in range(3): os.set_blocking(fd, False)\nos.dup2(1, 0); os.dup2(2, 1); print(1)",
        lambda r: r["stdout"] == "" and r["stderr"] == "1\n",
    ),
    Attack(
        "standard input",
        "print(attempt(os.write, 0, b'x'), attempt(os.ftruncate, 0, 9), os.read(0, 9))\nos.close(0)",
        "EBADF EINVAL b''\n",
    ),
    Attack("a child that holds the streams", "if os.fork() == 0: time.sleep(60)\nprint(1)", "1\n"),
    Attack(
        "an undecodable program's output", "os.write(1, bytes(range(256)))", lambda r: r["stdout"].startswith("\0\1\2")
    ),
    Attack(
        "exceptions on the way out",
        "import atexit\natexit.register(lambda: 1 / 0)\nsys.stdout.close()\nraise SystemExit(3)",
        ended_by(3),
    ),
    *(Attack(f"leaving {where}", code, ended_by(5)) for where, code in ENDS.items()),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_nothing_is_left(fortress: Fortress, attack: Attack):
    """The next program on either worker finds nothing."""
    fortress.checks(attack)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_nothing_is_left_without_root(other_fortress: Fortress, attack: Attack):
    """The same, where the server has no privileges."""
    other_fortress.checks(attack)


def test_programs_draw_different_numbers(fortress: Fortress):
    """A seed that a program sets, or the preloaded image's, says nothing about another program's random numbers."""
    code = "import random, numpy\nprint(random.random(), numpy.random.random(), hash(object()) != 0)\nrandom.seed(1); numpy.random.seed(1)"
    with concurrent.futures.ThreadPoolExecutor() as threads:
        answers = list(threads.map(lambda _: fortress.run(code), range(6)))
    draws = [number for answer in answers for number in answer["run_result"]["stdout"].split()[:2]]
    assert len(draws) == len(set(draws)) == 12
