"""A worker: runs one program at a time, each in a fresh fork of itself, and leaves nothing of it behind."""

import logging
import os
import select
import signal
import socket
import time
from dataclasses import replace
from pathlib import Path

from verl_tir.sandbox_server import child, private_files, processes
from verl_tir.sandbox_server.cell_record import CellRecord
from verl_tir.sandbox_server.cells import Notebook
from verl_tir.sandbox_server.frames import Hello, Hire, Job, Report, RunStatus, pack, receive
from verl_tir.sandbox_server.isolation import Protection
from verl_tir.sandbox_server.limits import Limits
from verl_tir.sandbox_server.memory_guard import GUARD_INTERVAL, MemoryGuard
from verl_tir.sandbox_server.nameless import nameless_file
from verl_tir.sandbox_server.scratch import fetch, make_scratch, random_name, remove

logger = logging.getLogger(__name__)

_PIPE_READ = 1 << 16


class _Capture:
    """The kept part of one output stream."""

    def __init__(self, fd: int, cap: int) -> None:
        os.set_blocking(fd, False)
        self.fd = fd
        self.open = True
        self._cap = cap
        self._kept = bytearray()

    def read(self) -> None:
        """Take what is there. Beyond the cap it is read all the same, or the program would block on a full pipe."""
        try:
            data = os.read(self.fd, _PIPE_READ)
        except BlockingIOError:
            return
        self.open = bool(data)
        self._kept += data[: self._cap - len(self._kept)]

    def drain(self) -> None:
        """Take what dead processes left in the pipe; bounded, for a pipe holds little and nobody writes."""
        before = -1
        while self.open and len(self._kept) != before and len(self._kept) < self._cap:
            before = len(self._kept)
            self.read()

    def text(self) -> str:
        """What was kept, as text."""
        return self._kept.decode("utf-8", errors="replace")


def serve(sock: socket.socket, hire: Hire) -> None:
    """Run jobs from `sock` until it closes, or until a program left something that could not be removed."""
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_read, False)
    os.set_blocking(wake_write, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    # One name for all programs of this worker: the directory itself is made and removed with each of them.
    scratch = os.path.join("/tmp" if hire.isolation.private_files else hire.scratch_root, random_name())
    source = os.path.join(scratch, random_name() + ".py")
    child.set_environment(scratch)
    sock.sendall(pack(Hello(ready=True)))
    while (frame := receive(sock)) is not None:
        if not isinstance(frame, Job):
            continue
        try:
            make_scratch(scratch, frame, source, hire.uid)
            report = _run_any(frame, hire, sock, source, wake_read)
        except (OSError, ValueError) as error:
            report = Report(RunStatus.ERROR, stderr=f"{type(error).__name__}: {error}")
            processes.kill_all(hire.isolation.namespaces)
        clean = _remove_traces(scratch, hire)
        try:
            sock.sendall(pack(replace(report, retiring=not clean)))
        except BrokenPipeError:  # the server is gone, and with it whoever wanted the report
            return
        if not clean:
            return


def _run_any(job: Job, hire: Hire, sock: socket.socket, source: str, wake: int) -> Report:
    if job.cells is None:
        return _run(job, hire, sock, source, wake, None)
    record = CellRecord(job.cells, job.cell_timeout, hire.max_output_bytes)
    try:
        return record.added_to(_run(job, hire, sock, source, wake, record.notebook))
    finally:
        record.close()


def _run(job: Job, hire: Hire, sock: socket.socket, source: str, wake: int, notebook: Notebook | None) -> Report:
    counted = Protection.PROCESS_COUNT in hire.isolation.in_force()
    out_read, out_write = os.pipe()
    err_read, err_write = os.pipe()
    setup_read, setup_write = os.pipe()
    stdin = _standard_input(job.stdin, os.path.dirname(source))
    mine, theirs = (out_read, err_read, setup_read), (out_write, err_write, setup_write, stdin)
    try:
        program = child.Program(
            path=source,
            stdin_fd=stdin,
            stdout_fd=out_write,
            stderr_fd=err_write,
            setup_fd=setup_write,
            uid=hire.uid,
            limits=Limits(
                run_timeout=job.run_timeout,
                memory_mb=job.memory_limit_mb,
                max_processes=hire.max_processes if counted else None,
                max_open_files=hire.max_open_files,
                max_file_mb=hire.max_file_mb,
            ).resolved(),
            notebook=notebook,
        )
        started = time.monotonic()
        pid = os.fork()
        if pid == 0:
            child.run(program)
    finally:
        for fd in theirs:
            os.close(fd)
    try:
        out, err = _Capture(out_read, hire.max_output_bytes), _Capture(err_read, hire.max_output_bytes)
        guard = MemoryGuard(job.memory_limit_mb << 20, hire.isolation.namespaces)
        wait_status = _attend(pid, (out, err), started + job.run_timeout, sock.fileno(), wake, guard)
        elapsed = time.monotonic() - started
        processes.kill_all(hire.isolation.namespaces)
        out.drain()
        err.drain()
        failure = os.read(setup_read, 4096).decode()
    finally:
        for fd in mine:
            os.close(fd)
    if failure:
        return Report(RunStatus.ERROR, stderr=f"the program's process could not be prepared: {failure}")
    files = fetch(job.fetch_files, os.path.dirname(source), hire.max_file_mb << 20)
    if wait_status is None:
        return Report(RunStatus.TIME_LIMIT, None, elapsed, out.text(), err.text(), files)
    code = os.waitstatus_to_exitcode(wait_status)
    return Report(RunStatus.FINISHED, code, elapsed, out.text(), err.text(), files)


def _standard_input(text: str, directory: str) -> int:
    """A descriptor that gives `text`."""
    if not text:
        return os.open(os.devnull, os.O_RDONLY)
    stdin = nameless_file(directory)
    with os.fdopen(stdin, "wb", closefd=False) as file:
        file.write(text.encode("utf-8", errors="surrogatepass"))
    os.lseek(stdin, 0, os.SEEK_SET)
    return stdin


def _attend(
    pid: int, captures: tuple[_Capture, _Capture], deadline: float, sock: int, wake: int, guard: MemoryGuard
) -> int | None:
    """The wait status of `pid`, or None when it is still running at the deadline or no longer wanted.

    A program whose processes have too much memory together ends as if the kernel had killed it.
    """
    poll = select.poll()
    by_fd = {capture.fd: capture for capture in captures}
    for fd in (*by_fd, sock, wake):
        poll.register(fd, select.POLLIN)
    look = time.monotonic() + GUARD_INTERVAL
    while (now := time.monotonic()) < deadline:
        if now >= look:
            if guard.exceeded():
                return signal.SIGKILL
            look = time.monotonic() + GUARD_INTERVAL
        for fd, _ in poll.poll(max(0.0, min(deadline, look) - now) * 1000):
            if fd in by_fd:
                by_fd[fd].read()
                if not by_fd[fd].open:
                    poll.unregister(fd)
            elif fd == wake:
                os.read(wake, 4096)
            else:
                # Either a Cancel, which serve() will read and skip, or the server is gone.
                return None
        ended, wait_status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return wait_status
    return None


def _remove_traces(scratch: str, hire: Hire) -> bool:
    """Whether everything that the program wrote is gone."""
    traces = [Path(scratch)]
    if hire.isolation.private_files:
        traces += private_files.leftovers()
    for trace in dict.fromkeys(traces):
        try:
            remove(trace)
        except OSError as error:
            logger.warning("worker %d retires: cannot remove what a program left: %s", hire.index, error)
            return False
    return True
