"""What a worker answers when processes of a program do not die, which only a kernel in trouble lets happen."""

import asyncio
import os
import socket
import time

import pytest

from sandbox_server import linux, processes, worker
from sandbox_server.frames import Job, ProgramReport, ProgramStatus, WorkerSpec
from sandbox_server.isolation import UNISOLATED
from sandbox_server.job_codec import ReplyBounds
from sandbox_server.worker_handle import WorkerHandle, WorkerLost

LATE = "print('began', flush=True)\nopen('left', 'w').close()\nimport time\ntime.sleep(60)"


async def run_where_nothing_dies(tmp_path, monkeypatch, job: Job) -> ProgramReport:
    """The report on `job` of a worker that cannot end anything; the worker must then be gone."""
    kept_alive = processes.kill_all
    mine, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        mine.close()
        linux.set_child_subreaper()

        def kill_nothing(own_namespace: bool, patience: float = 5.0) -> None:
            raise TimeoutError(f"processes of a program survive SIGKILL for {patience} s")

        monkeypatch.setattr(processes, "kill_all", kill_nothing)
        spec = WorkerSpec(
            index=0,
            isolation=UNISOLATED,
            scratch_root=str(tmp_path),
            max_processes=64,
            max_open_files=64,
            max_file_mb=8,
            max_output_bytes=1000,
        )
        try:
            worker.serve(theirs, spec)
            kept_alive(own_namespace=False)
        finally:  # whatever happens, this process must not go on as the tests
            os._exit(0)
    theirs.close()
    reader, writer = await asyncio.open_connection(sock=mine)
    handle = WorkerHandle(0, reader, writer, ReplyBounds(1000, 8 << 20))
    await handle.hello()
    report = await handle.run(job)
    with pytest.raises(WorkerLost):
        await handle.run(job)
    handle.close()
    await asyncio.to_thread(os.waitpid, pid, 0)
    return report


@pytest.mark.parametrize("cells", [None, ["print('began')", LATE]])
async def test_what_survives_its_deadline_is_late(tmp_path, monkeypatch, cells):
    """The caller is told so at once, with what was printed; the worker runs nothing more, and removes nothing."""
    started = time.monotonic()
    job = Job("" if cells else LATE, run_timeout=0.6, memory_limit_mb=256, cells=cells, fetch_files=["left"])
    report = await run_where_nothing_dies(tmp_path, monkeypatch, job)
    assert (report.status, report.files) == (ProgramStatus.TIME_LIMIT, {})
    assert "survive SIGKILL for 2.0 s" in report.residue
    assert cells or report.stdout == "began\n"
    assert time.monotonic() - started < 5.0
    assert os.listdir(tmp_path)


async def test_what_survives_its_program_does_not_change_how_that_ended(tmp_path, monkeypatch):
    """A program that ended in time ended as it did."""
    job = Job("print(1)\nraise SystemExit(3)", run_timeout=5.0, memory_limit_mb=256)
    report = await run_where_nothing_dies(tmp_path, monkeypatch, job)
    assert (report.status, report.return_code, report.stdout) == (ProgramStatus.FINISHED, 3, "1\n")
    assert "survive" in report.residue
