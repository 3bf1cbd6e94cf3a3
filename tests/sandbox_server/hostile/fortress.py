"""A server under attack: a hostile program on one worker, harmless ones beside and after it, and a look for traces."""

import concurrent.futures
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from sandbox_server import ServerConfig
from sandbox_server.launcher import server_arguments

ROOT = Path(__file__).resolve().parents[3]
CONFIG = ServerConfig(
    port=0, workers=2, preload=("json", "numpy", "sympy"), shutdown_grace=0.2, max_output_bytes=50_000
)
OTHER_UID = 64321

# Runs the server as somebody who is not root, although the interpreter lies below a home that only root may enter.
_AS_OTHER_USER = """
import os, sys
from pathlib import Path
from sandbox_server import linux, private_files
linux.unshare(linux.CLONE_NEWNS)
linux.mount("none", "/", "none", linux.MS_REC | linux.MS_PRIVATE)
for path in private_files.interpreter_paths():
    barred = [parent for parent in Path(path).parents if not parent.stat().st_mode & 1]
    if barred:
        handle = os.open(path, os.O_PATH)
        linux.mount("tmpfs", str(barred[-1]), "tmpfs", 0, "mode=0755")
        os.makedirs(path)
        linux.mount(f"/proc/self/fd/{handle}", path, "none", linux.MS_BIND)
os.setgroups([])
os.setresgid(*[int(sys.argv[1])] * 3)
os.setresuid(*[int(sys.argv[1])] * 3)
os.environ["HOME"] = "/nonexistent"
os.execv(sys.executable, [sys.executable, "-m", "sandbox_server", *sys.argv[2:]])
"""

# What every program can use to try something and print how it went.
PREAMBLE = """\
import ctypes, errno, os, signal, sys, time
libc = ctypes.CDLL(None, use_errno=True)
def attempt(call, *arguments):
    try:
        call(*arguments)
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))
    except BaseException as error:
        return type(error).__name__
    return 'done'
def kernel(number, *arguments):
    return 'done' if libc.syscall(number, *arguments) >= 0 else errno.errorcode[ctypes.get_errno()]
"""

# It has something to keep to itself while it runs.
NEIGHBOUR = "import time\nopen('mine', 'w').write('s3cr3t')\ntime.sleep(0.1)\nprint(sum(range(300_000)))"
# Long enough that two of them need both workers. It looks where an earlier program may have left something.
SOLVE, SOLVED = "import sympy; roots = sympy.solve(sympy.Symbol('x') ** 2 - 4)", "roots = [-2, 2]"
NORMAL = (
    f"{SOLVE}\n"
    + """\
import builtins, json, math, os, random, sys, time
time.sleep(0.05)
print(roots, json.loads('[1]'), builtins.print is print, math.pi > 3.14, len('four'))
print(len(os.listdir('.')), sorted(set(os.listdir('/tmp')) - {os.path.basename(os.getcwd())} - {KEPT}))
pids = {*filter(str.isdigit, os.listdir('/proc'))}
print(os.listdir('/dev/shm'), os.listdir('/var/tmp'), pids == {'1', str(os.getpid())})
print(repr(sys.stdin.read()))
shared = ['/tmp', '/var/tmp', '/dev/shm']
print({(oct(s.st_mode), abs(time.time() - s.st_mtime) < 9) for s in map(os.stat, shared)}, [*map(os.listxattr, shared)])
"""
)
NORMAL_OUTPUT = "[-2, 2] [1] True True 4\n1 []\n[] [] True\n''\n{('0o41777', True)} [[], [], []]\n"


@dataclass(frozen=True)
class Attack:
    """One hostile program and how it must end."""

    name: str
    """What it tries; the test's id."""

    code: str
    """The program, after PREAMBLE."""

    expect: str | Callable[[dict], bool]
    """Its standard output, or a function of the answer's `run_result`."""

    run_timeout: float = 2.0
    """Seconds."""

    memory_mb: int = 300
    """MiB."""

    fetch: tuple[str, ...] = ()
    """Files to ask for; none of them may come back."""

    replacements: dict[str, str] = field(default_factory=dict)
    """What stands for names in the program that are known only when it runs."""


class Fortress:
    """A server in a process of its own; a context manager."""

    def __init__(self, uid: int | None = None, config: ServerConfig = CONFIG) -> None:
        """`uid`: whom to run the server as; None for the user of the tests."""
        self._uid, self._config = uid, config
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the object

    def __enter__(self) -> "Fortress":
        read, write = os.pipe()
        command = ["-m", "sandbox_server"] if self._uid is None else ["-c", _AS_OTHER_USER, str(self._uid)]
        self.process = subprocess.Popen(
            [
                sys.executable,
                *command,
                *server_arguments(self._config),
                "--announce-fd",
                str(write),
                "--exit-on-stdin-eof",
            ],
            stdin=subprocess.PIPE,
            stderr=self.log,
            pass_fds=(write,),
            cwd="/",
            env={**os.environ, "PYTHONPATH": str(ROOT), "SERVER_SECRET": "s3cr3t-of-the-server"},
        )
        os.close(write)
        with open(read) as announced:
            self.endpoint = announced.readline().strip()
        if not self.endpoint:
            self.__exit__()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        self.process.wait(30)

    def words(self) -> str:
        """The server's log."""
        self.log.seek(0)
        return self.log.read()

    def run(self, code: str, run_timeout: float = 10.0, memory_mb: int = 512, fetch: tuple[str, ...] = ()) -> dict:
        """The answer to one call, with `took`, the seconds that it took."""
        body = {"code": code, "language": "python", "run_timeout": run_timeout}
        return self.post("/run_code", {**body, "memory_limit_MB": memory_mb, "fetch_files": list(fetch)})

    def post(self, path: str, body: dict) -> dict:
        """The answer to a request, with `took`, the seconds that it took."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        started = time.monotonic()
        with opener.open(
            urllib.request.Request(f"{self.endpoint}{path}", json.dumps(body).encode()), timeout=40
        ) as answer:
            return {**json.load(answer), "took": time.monotonic() - started}

    def withstands(self, attack: Attack) -> dict:
        """Run `attack` and check everything but its own outcome; returns its answer."""
        code = PREAMBLE + attack.code
        for name, value in attack.replacements.items():
            code = code.replace(name, value)
        before = self.traces()
        with concurrent.futures.ThreadPoolExecutor() as threads:
            call = threads.submit(self.run, code, attack.run_timeout, attack.memory_mb, attack.fetch)
            time.sleep(0.02)
            neighbour = threads.submit(self.run, NEIGHBOUR).result()
            answer = call.result()
            # Of each pair of workers, first those with the libraries, then the plain ones, on which most attacks run.
            for program in (normal_program(), normal_program().replace(SOLVE, SOLVED)):
                after = [threads.submit(self.run, program) for _ in range(2)]
                for normal in [call.result() for call in after]:
                    assert normal["run_result"]["stdout"] == NORMAL_OUTPUT, (normal, answer, self.words())
        assert neighbour["run_result"]["stdout"] == "44999850000\n", neighbour
        assert neighbour["took"] < 5.0, neighbour
        assert answer["status"] in ("Success", "Failed"), (answer, self.words())
        assert answer["took"] < attack.run_timeout + 3.0, answer
        assert answer["files"] == {}
        for kind, found in self.traces().items():
            assert found == before[kind], (kind, answer, self.words())
        return answer

    def checks(self, attack: Attack) -> None:
        """Run `attack` and check everything, its own outcome too."""
        result = self.withstands(attack)["run_result"]
        as_expected = attack.expect(result) if callable(attack.expect) else result["stdout"] == attack.expect
        assert as_expected, result

    def traces(self) -> dict[str, object]:
        """What a program could leave on the machine: processes, descriptors, mounts, files."""
        pids = [self.process.pid, *descendants(self.process.pid)]
        roots = [Path(word) for pid in pids for word in command_line(pid) if "verl-tir-sandbox-" in word]
        # The server itself has one descriptor more or less for every call that just ended.
        descriptors = {pid: len(os.listdir(f"/proc/{pid}/fd")) for pid in pids[1:]}
        files = sorted(str(path) for root in {*roots} for path in root.rglob("*"))
        # The machine's own mounts are not this test's to judge.
        here = os.readlink("/proc/self/ns/mnt")
        walled_off = [pid for pid in pids if os.readlink(f"/proc/{pid}/ns/mnt") != here]
        mounts = {pid: Path(f"/proc/{pid}/mountinfo").read_text() for pid in walled_off}
        return {"descriptors": descriptors, "files": files, "mounts": mounts}


def normal_program() -> str:
    """NORMAL, told which names in /tmp lead to the interpreter."""
    paths = {sys.prefix, sys.base_prefix, os.path.realpath(sys.prefix), os.path.realpath(sys.base_prefix)}
    kept = {Path(path).parts[2] for path in paths if Path(path).is_relative_to("/tmp")}
    return NORMAL.replace("{KEPT}", f"set({sorted(kept)!r})")


def descendants(pid: int) -> list[int]:
    """The processes below `pid`, sorted."""
    parents = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            parents[int(entry)] = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
    found, layer = [], {pid}
    while layer := {child for child, parent in parents.items() if parent in layer}:
        found += layer
    return sorted(found)


def command_line(pid: int) -> list[str]:
    """The words of a process's command line."""
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


def ended_by(*outcomes: object) -> Callable[[dict], bool]:
    """That the run ended with one of these return codes, or status."""
    return lambda result: result["return_code"] in outcomes or result["status"] in outcomes
