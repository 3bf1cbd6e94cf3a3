"""What one program can do to the next, to its neighbours and to the machine, at every isolation level."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox_server import IsolationPolicy, ServerConfig, call_filter
from sandbox_server.frames import Job, ProgramStatus
from sandbox_server.isolation import UNISOLATED, Isolation, IsolationSurvey, Protection, RefusedLevel, candidates
from sandbox_server.pool import PoolClosed, QueueFull, QueueTimeout, WorkerPool
from sandbox_server.private_files import mounts_below, outermost, visible_paths
from sandbox_server.processes import children
from sandbox_server.worker_factory import SandboxSetupError, probe_isolation

BEST_EFFORT = IsolationPolicy.BEST_EFFORT
CONFIG = ServerConfig(workers=1, preload=("numpy", "numpy.random"), shutdown_grace=0.2, isolation=BEST_EFFORT)
LEVELS = {
    "strongest": candidates(is_root=os.getuid() == 0),
    "user namespace": (Isolation(True, True, user_namespace=True, own_user=False, call_filter=True), UNISOLATED),
    "own user": (Isolation(False, False, user_namespace=False, own_user=os.getuid() == 0), UNISOLATED),
    "none": (UNISOLATED,),
}


@contextlib.asynccontextmanager
async def started(levels=LEVELS["strongest"], config=CONFIG):
    pool = WorkerPool(config, levels)
    try:
        await pool.start()
        yield pool
    finally:
        await pool.close()


def job(code, run_timeout=10.0, **options):
    return Job(code=code, run_timeout=run_timeout, memory_limit_mb=512, **options)


async def run(*programs, levels=LEVELS["strongest"], run_timeout=10.0):
    """The reports of `programs`, run one after the other by one worker."""
    async with started(levels) as pool:
        return [await pool.run(job(code, run_timeout)) for code in programs]


def commands():
    """The command lines of all processes on this machine."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as line:
            found.append(line.read())
    return found


@pytest.mark.parametrize("level", LEVELS)
async def test_every_level_runs_programs_and_ends_their_daemons(level):
    """At each level a program runs, and a daemon that it leaves behind, in a session of its own, does not survive."""
    marker = f"3{os.getpid()}.{list(LEVELS).index(level)}"
    daemon = f"import subprocess\nsubprocess.Popen(['sleep', '{marker}'], start_new_session=True)\n"
    double_fork = (
        f"import os\nif os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0: os.execlp('sleep', 'sleep', '{marker}')\n"
    )
    ended, forked, overran, after = await run(
        daemon + "print('hi')",
        double_fork + "  os._exit(0)\nos.wait()",
        daemon + "while True: pass",
        "print(1)",
        levels=LEVELS[level],
        run_timeout=1.0,
    )
    assert (ended.stdout, forked.return_code, overran.status, after.stdout) == (
        "hi\n",
        0,
        ProgramStatus.TIME_LIMIT,
        "1\n",
    )
    assert not [line for line in commands() if marker.encode() in line]


@pytest.mark.parametrize("level", ["strongest", "none"])
async def test_nothing_passes_from_program_to_program(level):
    """Modules, environment, working directory and random numbers are as new for every program."""
    spoil = (
        "import math, os, sys, builtins, numpy\n"
        "math.pi = 3; numpy.e = 2; builtins.print = None; os.environ['LEFT'] = '1'; sys.path.append('/left')\n"
        "sys.setrecursionlimit(50); open('left', 'w').write('x'); os.chmod('.', 0)"
    )
    look = (
        "import math, os, sys, numpy, random\n"
        "print(math.pi > 3, numpy.e > 2, 'LEFT' in os.environ, '/left' in sys.path, sys.getrecursionlimit())\n"
        "print(len(os.listdir('.')), os.getcwd())\n"
        "print(random.random()); print(numpy.random.random())"
    )
    reports = await run(spoil, look, look, levels=LEVELS[level])
    assert [report.return_code for report in reports] == [0, 0, 0], reports
    (clean, where, *draws), (clean_again, where_else, *other_draws) = (r.stdout.splitlines() for r in reports[1:])
    assert clean == clean_again == "True True False False 1000"
    assert where.split()[0] == where_else.split()[0] == "1"
    assert not set(draws) & set(other_draws)


@pytest.mark.parametrize("level", ["strongest", "none"])
async def test_a_tree_deeper_than_any_path_is_removed(level, tmp_path, monkeypatch):
    """Thousands of nested directories do not stop the cleaning."""
    # Other servers on this machine have scratch of theirs in /tmp.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dig = "import os\nfor _ in range(1200): os.mkdir('d' * 20); os.chdir('d' * 20)\nos.chmod('..', 0)"
    async with started(LEVELS[level]) as pool:
        reports = [await pool.run(job(dig)) for _ in range(2)]
        assert list(tmp_path.iterdir())
    assert [(report.return_code, report.residue) for report in reports] == [(0, "")] * 2
    assert not list(tmp_path.iterdir())


async def test_secrets_of_the_server_stay_with_it(monkeypatch):
    """The server's environment is nowhere to be found in the program's, not even in /proc."""
    monkeypatch.setenv("API_TOKEN", "s3cr3t")
    code = "import os\nprint(dict(os.environ), open('/proc/self/environ').read(), open('/proc/self/maps').read()[:1])"
    (report,) = await run(code)
    assert report.return_code == 0
    assert "s3cr3t" not in report.stdout


async def run_walled_off(*programs, run_timeout=10.0):
    """As `run`, with every protection in force; skips the test where the machine does not allow that."""
    async with started() as pool:
        if missing := pool.isolation.missing():
            pytest.skip("not allowed here: " + "; ".join(missing))
        return [await pool.run(job(code, run_timeout)) for code in programs]


async def test_files_outside_the_working_directory_do_not_pass_either():
    """What a program leaves in /tmp and /dev/shm is gone for the next, and it cannot see the machine's own."""
    leave = "import os\nfor d in ('/tmp', '/dev/shm'):\n  os.makedirs(d + '/left/deep'); os.chmod(d + '/left', 0)"
    with tempfile.NamedTemporaryFile(dir="/tmp") as machines_own:
        # Not the whole listing: where the interpreter itself lies in /tmp, its folder is shown there.
        look = (
            "import os\n"
            f"print(os.path.exists('/tmp/left'), os.path.exists({machines_own.name!r}), os.listdir('/dev/shm'))"
        )
        _, report = await run_walled_off(leave, look)
    assert report.stdout == "False False []\n"


async def test_programs_are_walled_off():
    """A program is nobody in particular, without a network and with only its own processes in sight."""
    code = (
        "import os, socket\n"
        "print(os.getuid() > 0, {*filter(str.isdigit, os.listdir('/proc'))} == {'1', str(os.getpid())})\n"
        "try: open('/etc/left', 'w')\nexcept OSError as e: print(e.errno)\n"
        "try: socket.create_connection(('192.0.2.1', 80), 2)\nexcept OSError as e: print(e.errno)\n"
        "try: os.setuid(0)\nexcept OSError as e: print(e.errno)\n"
    )
    (report,) = await run_walled_off(code)
    assert report.stdout == "True True\n30\n101\n1\n"


async def test_a_fork_bomb_is_contained():
    """A program that only forks ends at its limits, and the worker keeps working."""
    bomb, after = await run_walled_off("import os\nwhile True: os.fork()", "print(1)", run_timeout=1.0)
    assert bomb.status is ProgramStatus.TIME_LIMIT or bomb.return_code != 0
    assert after.stdout == "1\n"


def descendants(pid):
    with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{pid}/children") as listing:
        below = [int(child) for child in listing.read().split()]
        return below + [lower for child in below for lower in descendants(child)]
    return []


async def test_the_loss_of_every_process_costs_no_call():
    """Killing all that is below the server, its zygote too, has the program run again, and later ones succeed."""
    # Servers of other tests are children of this process too.
    others = set(children())
    async with started() as pool:
        call = asyncio.create_task(pool.run(job("import time; time.sleep(1.5); print(1)")))
        await asyncio.sleep(0.5)
        zygotes = set(children()) - others
        for pid in [lower for zygote in zygotes for lower in (*descendants(zygote), zygote)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        reports = [await call, await pool.run(job("print(1)"))]
    assert [(report.status, report.stdout) for report in reports] == [(ProgramStatus.FINISHED, "1\n")] * 2


async def test_a_caller_who_leaves_frees_the_worker():
    """When a call is cancelled its program is killed, so that the next one need not wait for it."""
    async with started() as pool:
        call = asyncio.create_task(pool.run(job("import time; time.sleep(30)", 40.0)))
        await asyncio.sleep(0.3)
        call.cancel()
        async with asyncio.timeout(5.0):
            assert (await pool.run(job("print(1)"))).stdout == "1\n"


async def test_the_queue_is_bounded_in_length_and_time():
    """A call beyond the queue is refused at once, one that waits too long then, and closing ends the rest."""
    config = replace(CONFIG, queue_size=1, queue_timeout=0.4, preload=(), shutdown_grace=0.1)
    async with started(config=config) as pool:
        running = asyncio.create_task(pool.run(job("import time; time.sleep(30)", 40.0)))
        waiting = asyncio.create_task(pool.run(job("print(1)")))
        await asyncio.sleep(0.1)
        with pytest.raises(QueueFull):
            await pool.run(job("print(2)"))
        with pytest.raises(QueueTimeout):
            await waiting
    with pytest.raises(PoolClosed):
        await pool.run(job("print(3)"))
    assert (await running).status is ProgramStatus.ERROR


def test_levels_are_ordered_and_say_what_they_lack():
    """The strongest level comes first and lacks nothing that its user can have; the last one needs nothing."""
    for is_root in (True, False):
        strengths = [len(level.in_force()) for level in candidates(is_root)]
        assert strengths == sorted(strengths, reverse=True)
        for level in candidates(is_root):
            assert {*level.in_force(), *level.missing()} == set(Protection)
    assert candidates(True)[0].missing() == ()
    assert candidates(True)[-1] == candidates(False)[-1] == UNISOLATED


def test_outermost_directories():
    """A directory inside another needs no mention of its own."""
    assert outermost({"/a/b", "/a", "/ab", "/c/d/e"}) == ("/a", "/ab", "/c/d/e")


# Bits of an impossible level: a user namespace for root leaves it no power over the users of its own.
IMPOSSIBLE = Isolation(True, True, user_namespace=True, own_user=True, call_filter=True)


async def test_a_machine_that_does_not_allow_everything_is_refused():
    """By default the server does not start without every protection, and says what is missing, why, and what to do."""
    config = replace(CONFIG, isolation=IsolationPolicy.REQUIRED, preload=())
    before = children()
    with pytest.raises(SandboxSetupError) as refused:
        async with started((IMPOSSIBLE, UNISOLATED), config):
            pass
    words = str(refused.value)
    assert all(protection in words for protection in Protection)
    for way_out in (
        "--cap-add SYS_ADMIN",
        "apparmor_restrict_unprivileged_userns",
        "--isolation best-effort",
        "Errno 22",
    ):
        assert way_out in words
    assert children() == before


@pytest.mark.skipif(not call_filter.KNOWN_PROCESSOR, reason="no filter to stand in for a container's")
def test_a_container_that_forbids_namespaces_is_refused_in_its_own_words():
    """The kernel's answer at each level stands in the error, and best effort still runs programs there."""
    code = """
import asyncio, logging
from sandbox_server import ServerConfig, call_filter, linux
from sandbox_server.worker_factory import probe_isolation
logging.basicConfig(level=logging.CRITICAL)
linux.set_no_new_privileges()
call_filter.install()
print(asyncio.run(probe_isolation(ServerConfig())).complaint())
"""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, timeout=60)
    assert ended.stdout.count("unshare: Operation not permitted") == 4, ended
    assert Protection.NO_NETWORK in ended.stdout
    assert "--security-opt seccomp=unconfined" in ended.stdout


def test_a_survey_tells_what_is_missing_only():
    """A level that has everything is nothing to complain about; one that lacks something names that alone."""
    strongest, *weaker = candidates(is_root=True)
    assert IsolationSurvey(strongest).missing == ()
    survey = IsolationSurvey(weaker[0], (RefusedLevel(strongest, "seccomp: no"),))
    assert survey.missing == ((Protection.CALL_FILTER,) if call_filter.KNOWN_PROCESSOR else ())
    assert "seccomp: no" in survey.complaint()
    assert Protection.NO_NETWORK not in survey.complaint()


def test_an_unknown_processor_lacks_no_filter(monkeypatch):
    """Where the numbers of the kernel's calls are not known, the filter is neither had nor missed."""
    monkeypatch.setattr(call_filter, "KNOWN_PROCESSOR", False)
    strongest = candidates(is_root=True)[0]
    assert not strongest.call_filter
    assert strongest.missing() == ()


async def test_the_machine_can_be_asked_without_a_server():
    """The probe ends with what a server would have started with, and leaves nothing."""
    before = children()
    async with started() as pool:
        survey = await probe_isolation(CONFIG)
        assert survey.isolation == pool.isolation
    assert children() == before


def test_only_the_systems_own_files_are_shown(tmp_path):
    """The visible paths are the system, the interpreter and the loader's libraries; homes and data are not."""
    shown = visible_paths(f"{tmp_path}:relative:{tmp_path}/missing")
    assert str(tmp_path) in shown
    assert "/usr" in shown
    assert not {"/", "/etc", "/var", "/home", "/root", "/sys", "/run", "/tmp", os.path.expanduser("~")} & {*shown}
    assert all(Path(path).is_relative_to("/etc") is False or path.count("/") > 1 for path in shown)
    assert any(Path(sys.executable).is_relative_to(path) for path in shown)


def test_mounts_are_read_with_the_flags_that_must_stay():
    """Only mounts at or below the place count; names with blanks are undone, flags are kept."""
    mountinfo = (
        "22 1 8:1 / / rw,relatime - ext4 /dev/sda rw\n"
        "23 22 0:5 / /new rw,nosuid,noexec - tmpfs t rw\n"
        "24 23 0:5 / /new/a\\040b ro,nodev,noatime shared:1 - tmpfs t rw\n"
        "25 22 0:5 / /newer rw - tmpfs t rw\n"
    )
    assert mounts_below("/new", mountinfo) == (("/new", 0x2 | 0x8), ("/new/a b", 0x4 | 0x400))


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to make a mount namespace without more")
def test_old_kernels_and_strict_containers_get_the_same_view():
    """Without mount_setattr(2) and pivot_root(2) the new root is as read-only and as empty."""
    code = """
import errno, os
from sandbox_server import linux, private_files
def refuse(*arguments): raise OSError(errno.EPERM, "refused")
linux.set_mount_attributes = linux.pivot_root = refuse
linux.unshare(linux.CLONE_NEWNS | linux.CLONE_NEWPID | linux.CLONE_NEWUTS)
if os.fork() == 0:
    private_files.enter(8, 65534)
    lines = open("/proc/self/mountinfo").read().splitlines()
    writable = {line.split()[4] for line in lines if line.split()[5].startswith("rw")}
    print(sorted(path for path in writable if not path.startswith("/dev/")), "sys" in os.listdir("/"), os.getcwd())
    os._exit(os.system("true; echo $?"))
os.wait()
"""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    ended = subprocess.run([sys.executable, "-uc", code], capture_output=True, text=True, env=env, timeout=20)
    assert ended.stdout == "['/proc', '/tmp', '/var/tmp'] False /\n0\n", ended


@pytest.mark.parametrize(
    ("processes", "own", "exceeded"), [(4, False, False), (4, True, True), (1, True, False)], ids=str
)
def test_memory_is_counted_over_the_tree_and_shared_pages_once(processes, own, exceeded):
    """Forks that share a large block do not exceed what each writing its own does; one process is not looked at."""
    code = f"""
import os, signal, time
from sandbox_server.processes import MemoryGuard
block, pids = bytearray(60 << 20), []
read, write = os.pipe()
for _ in range({processes}):
    pids.append(os.fork())
    if pids[-1] == 0:
        block = bytearray(block) if {own} else block
        os.write(write, b"!")
        time.sleep(10)
        os._exit(0)
for _ in pids: os.read(read, 1)
print(MemoryGuard(160 << 20, own_namespace=False).exceeded())
for pid in pids: os.kill(pid, signal.SIGKILL)
"""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, timeout=40)
    assert ended.stdout == f"{exceeded}\n", ended
