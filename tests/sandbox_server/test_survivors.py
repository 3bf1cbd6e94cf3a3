"""What a worker answers when processes of a program do not die, which only a kernel in trouble lets happen."""

import asyncio
import os
import socket
import sys
import time
from pathlib import Path

import pytest

from sandbox_server.frames import Job, ProgramReport, ProgramStatus
from sandbox_server.job_codec import ReplyBounds
from sandbox_server.worker_handle import WorkerHandle, WorkerLost

LATE = "print('began', flush=True)\nopen('left', 'w').close()\nimport time\ntime.sleep(60)"


WORKER = """
import socket, sys
from sandbox_server import linux, processes, worker
from sandbox_server.frames import WorkerSpec
from sandbox_server.isolation import UNISOLATED

kill_all = processes.kill_all

def kill_nothing(own_namespace, patience=5.0):
    raise TimeoutError(f"processes of a program survive SIGKILL for {patience} s")

processes.kill_all = kill_nothing
linux.set_child_subreaper()
spec = WorkerSpec(
    index=0, isolation=UNISOLATED, scratch_root=sys.argv[2], max_processes=64, max_open_files=64, max_file_mb=8,
    max_output_bytes=1000,
)
worker.serve(socket.socket(fileno=int(sys.argv[1])), spec)
kill_all(own_namespace=False)
"""


async def run_where_nothing_dies(tmp_path: Path, job: Job) -> ProgramReport:
    """The report on `job` of a worker that cannot end anything; the worker must then be gone."""
    mine, theirs = socket.socketpair()
    # Not a fork of this process: a program runs what is registered for its exit, here by whatever tests have imported.
    command = [sys.executable, "-c", WORKER, str(theirs.fileno()), str(tmp_path)]
    process = await asyncio.create_subprocess_exec(*command, pass_fds=[theirs.fileno()])
    theirs.close()
    reader, writer = await asyncio.open_connection(sock=mine)
    handle = WorkerHandle(0, reader, writer, ReplyBounds(1000, 8 << 20))
    await handle.hello()
    report = await handle.run(job)
    with pytest.raises(WorkerLost):
        await handle.run(job)
    handle.close()
    assert await process.wait() == 0
    return report


@pytest.mark.parametrize("cells", [None, ["print('began')", LATE]])
async def test_what_survives_its_deadline_is_late(tmp_path, cells):
    """The caller is told so at once, with what was printed; the worker runs nothing more, and removes nothing."""
    started = time.monotonic()
    job = Job("" if cells else LATE, run_timeout=0.6, memory_limit_mb=256, cells=cells, fetch_files=["left"])
    report = await run_where_nothing_dies(tmp_path, job)
    assert (report.status, report.files) == (ProgramStatus.TIME_LIMIT, {})
    assert "survive SIGKILL for 2.0 s" in report.residue
    assert cells or report.stdout == "began\n"
    assert time.monotonic() - started < 5.0
    assert os.listdir(tmp_path)


async def test_what_survives_its_program_does_not_change_how_that_ended(tmp_path):
    """A program that ended in time ended as it did."""
    job = Job("print(1)\nraise SystemExit(3)", run_timeout=5.0, memory_limit_mb=256)
    report = await run_where_nothing_dies(tmp_path, job)
    assert (report.status, report.return_code, report.stdout) == (ProgramStatus.FINISHED, 3, "1\n")
    assert "survive" in report.residue
