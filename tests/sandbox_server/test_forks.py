"""What a program's process, a fork of its worker, carries and touches, and that it is an interpreter all the same."""

import json
import logging
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from sandbox_server import ServerConfig, child, worker
from sandbox_server.confinement import own_limits
from sandbox_server.frames import Job, ProgramReport, ProgramStatus, WorkerSpec
from sandbox_server.isolation import UNISOLATED
from sandbox_server.pool import WorkerPool
from sandbox_server.worker_pairs import _PLAIN

# Large, or with handlers that every fork of a process that has them loaded must run.
UNWANTED = {"asyncio", "logging", "pydantic", "ssl", "subprocess", "tempfile", "threading", "typer", "urllib.request"}

STREAMS = """\
import sys
shown = ("encoding", "errors", "line_buffering", "write_through", "mode", "closed")
for stream in (sys.stdin, sys.stdout, sys.stderr):
    assert stream in (sys.__stdin__, sys.__stdout__, sys.__stderr__)
    print([getattr(stream, name) for name in shown], stream.fileno(), stream.seekable(), stream.isatty())
    print(type(stream).__name__, type(stream.buffer).__name__, type(stream.buffer.raw).__name__)
print(repr(sys.stdin.readline()), repr(sys.stdin.read()), repr(sys.stdin.read()))
print("error", file=sys.stderr)
"""

# Above what one takes (about 320), and below what one took that opened its own streams (about 570).
PAGES = 480


async def run(*jobs: Job, preload: tuple[str, ...] = ("sympy",)) -> list[ProgramReport]:
    """The jobs' reports, one after the other on one pair of workers."""
    pool = WorkerPool(ServerConfig(port=0, workers=1, preload=preload))
    await pool.start()
    try:
        return [await pool.run(job) for job in jobs]
    finally:
        await pool.close(0.0)


def job(code: str, stdin: str = "") -> Job:
    """A job with room for everything."""
    return Job(code=code, run_timeout=20.0, memory_limit_mb=512, stdin=stdin)


def test_the_plain_interpreter_loads_nothing_that_every_fork_would_pay_for():
    """Neither the server's half of the package nor modules that act when a process forks."""
    code = (
        "import importlib, json, sys\nbefore = set(sys.modules)\n"
        "for name in ('sandbox_server.zygote', *sys.argv[1:]): importlib.import_module(name)\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    told = subprocess.run([sys.executable, "-c", code, *_PLAIN], capture_output=True, text=True, check=True)
    loaded = set(json.loads(told.stdout))
    assert "sandbox_server.worker" in loaded
    assert not loaded & UNWANTED


async def test_a_short_program_touches_few_pages():
    """Each page that is touched after a fork is copied or mapped: most of what a short program takes."""
    reports = await run(*[job("import resource\nprint(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)")] * 3)
    assert max(int(report.stdout) for report in reports) < PAGES


@pytest.mark.parametrize("text", ["", "first\nsecond \u00e4\n"])
async def test_streams_are_those_of_an_interpreter(text, tmp_path):
    """Opened before the fork, they are what CPython itself opens on a file or the null device and on pipes."""
    (tmp_path / "program.py").write_text(STREAMS)
    (tmp_path / "input").write_text(text, encoding="utf-8")
    with open(tmp_path / "input" if text else os.devnull, "rb") as stdin:
        expected = subprocess.run(
            [sys.executable, tmp_path / "program.py"],
            stdin=stdin,
            capture_output=True,
            encoding="utf-8",
            check=True,
            env={"LC_ALL": "C.UTF-8"},
        )
    # The second one finds nothing of the first one's in the streams.
    for report in await run(job(STREAMS, text), job(STREAMS, text)):
        assert (report.stdout, report.stderr) == (expected.stdout, expected.stderr)


async def test_signals_are_those_of_an_interpreter():
    """The worker's own handler and wake-up descriptor are gone; interrupts raise."""
    code = (
        "import signal\n"
        "print(signal.getsignal(signal.SIGCHLD), signal.getsignal(signal.SIGTERM), signal.set_wakeup_fd(-1))\n"
        "print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    )
    (report,) = await run(job(code))
    assert report.stdout == "0 0 -1\nTrue\n"


async def test_threads_of_a_program_are_waited_for():
    """Also where the interpreter that it is forked from knows nothing of threads yet."""
    code = (
        "import sys\nprint('threading' in sys.modules)\nimport threading, time\n"
        "threading.Thread(target=lambda: (time.sleep(0.2), print('late'))).start()\n"
        "print(threading.current_thread() is threading.main_thread())"
    )
    (report,) = await run(job(code))
    assert (report.return_code, report.stdout) == (0, "False\nTrue\nlate\n")


def test_what_cannot_be_removed_is_told_to_the_server(tmp_path, monkeypatch):
    """The worker has no log of its own."""

    def remove(path: str) -> None:
        raise OSError(5, "Input/output error", path)

    monkeypatch.setattr(worker, "remove", remove)
    spec = WorkerSpec(
        index=0,
        isolation=UNISOLATED,
        scratch_root=str(tmp_path),
        max_processes=1,
        max_open_files=1,
        max_file_mb=1,
        max_output_bytes=1,
    )
    kit = SimpleNamespace(spec=spec, scratch=str(tmp_path), shared=None, limits=own_limits())
    assert worker._remove_traces(kit) == f"[Errno 5] Input/output error: {str(tmp_path)!r}"
    monkeypatch.undo()
    kit.scratch = str(tmp_path / "gone")
    assert worker._remove_traces(kit) == ""
    kit.limits = ()
    assert "limits" in worker._remove_traces(kit)


def test_a_source_that_cannot_be_read_is_not_the_program_s_failure(tmp_path):
    """It is reported as a preparation that failed."""
    read, write = os.pipe()
    stdin = os.open(os.devnull, os.O_RDWR)
    program = child.ChildProgram(str(tmp_path / "gone.py"), stdin, stdin, stdin, write, None, ())
    if os.fork() == 0:
        child.run(program)
    _, status = os.wait()
    os.close(stdin)
    assert os.read(read, 4096).startswith(b"FileNotFoundError")
    assert os.waitstatus_to_exitcode(status) == child.SETUP_FAILED
    os.close(read)
    os.close(write)


class _IdleWorker:
    """A worker that runs nothing."""

    index = 7
    alive = True

    def __init__(self, residue: str) -> None:
        self.residue = residue
        self.closed = False

    async def run(self, job: Job) -> ProgramReport:
        return ProgramReport(ProgramStatus.FINISHED, return_code=0, residue=self.residue)

    def close(self) -> None:
        self.closed = True


async def test_a_worker_that_could_not_clean_up_is_replaced_and_the_log_says_why(caplog):
    """Its last report counts all the same."""
    pool = WorkerPool(ServerConfig(port=0, workers=1))
    made = [_IdleWorker("it is stuck"), _IdleWorker("")]

    async def make_worker(index: int) -> _IdleWorker:
        return made.pop(0)

    pool._workers = SimpleNamespace(make_worker=make_worker)
    first = await make_worker(0)
    pool._release(first)
    with caplog.at_level(logging.WARNING):
        reports = [await pool.run(job("")), await pool.run(job(""))]
    assert first.closed
    assert [report.return_code for report in reports] == [0, 0]
    assert pool.replaced == 1
    assert "worker 7 is lost and will be replaced: it could not clean up after a program: it is stuck" in caplog.text
