"""A worker: runs one program at a time, each in a fresh fork of itself, and leaves nothing of it behind.

Not in its own memory either, which the next program inherits: see worker_channel.py. What stays there of a program is
the names of files that it was given, asked for or left behind, and numbers.
"""

import os
import select
import signal
import socket
import time
from dataclasses import dataclass, replace

from sandbox_server import child, confinement, private_files, processes
from sandbox_server.frames import Disconnected, Fetched, Hello, Order, OrderOutcome, ProgramStatus, WorkerSpec, pack
from sandbox_server.isolation import Protection
from sandbox_server.notebook_record import NotebookFiles
from sandbox_server.processes import GUARD_INTERVAL, MemoryGuard
from sandbox_server.scratch import fetchable, make_scratch, random_name, remove
from sandbox_server.shared_directories import SharedDirectories
from sandbox_server.worker_channel import OrderReader, OutcomeWriter, OutputCapture

# Seconds; only a process that is stuck in the kernel, or is never given the processor, takes more than milliseconds.
_KILLING, _LATE_KILLING = 3.0, 2.0
_DETAIL = 4000  # characters; an error of the system may quote two paths


@dataclass(frozen=True)
class _Kit:
    """What all programs of a worker are run with, one after the other."""

    spec: WorkerSpec
    """The limits."""

    sock: int
    """The server's socket, to be watched."""

    wake: int
    """Becomes readable when a child ends."""

    orders: OrderReader
    """Where orders come from."""

    outcomes: OutcomeWriter
    """Where outcomes go."""

    captures: tuple[OutputCapture, OutputCapture]
    """Standard output and error."""

    source: str
    """Path of the source file."""

    limits: tuple[tuple[int, int], ...]
    """The resource limits of the worker itself, which a program that is the same user may change."""

    shared: SharedDirectories | None
    """The temporary directories, where this worker has its own."""

    @property
    def scratch(self) -> str:
        """The working directory."""
        return os.path.dirname(self.source)


def serve(sock: socket.socket, spec: WorkerSpec) -> None:
    """Run jobs from `sock` until it closes, or until a program left something that could not be removed."""
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_read, False)
    os.set_blocking(wake_write, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    # One name for all programs of this worker: the directory itself is made and removed with each of them.
    scratch = os.path.join("/tmp" if spec.isolation.private_files else spec.scratch_root, random_name())
    child.set_environment(scratch)
    child.set_interpreter()
    # Before there is memory that programs do not get, which would count as theirs.
    confinement.address_space_bytes()
    kit = _Kit(
        spec=spec,
        sock=sock.fileno(),
        wake=wake_read,
        orders=OrderReader(sock),
        outcomes=OutcomeWriter(sock),
        captures=(OutputCapture(spec.max_output_bytes), OutputCapture(spec.max_output_bytes)),
        source=os.path.join(scratch, random_name() + ".py"),
        limits=confinement.own_limits(),
        shared=SharedDirectories(owned_by_programs=spec.uid is None) if spec.isolation.private_files else None,
    )
    sock.sendall(pack(Hello(ready=True)))
    try:
        while _carry_out(kit.orders.order(), kit):
            pass
    except Disconnected:  # the server is gone, and with it whoever wanted the outcome
        return


def _carry_out(order: Order, kit: _Kit) -> bool:
    """Run one job and send its outcome; whether nothing of it is left. Raises Disconnected."""
    # Not an ExitStack: the pages that it touches are copied for every program.
    inputs: list[int] = []
    notebook = None
    outputs: tuple[memoryview, ...] = ()
    record: tuple[int, ...] = ()
    began = False
    residue = ""
    try:
        try:
            if kit.shared is not None:
                kit.shared.renew()
            stdin, cells = make_scratch(kit.scratch, order, kit.orders, kit.source, kit.spec.uid, inputs)
            if order.cells is not None:
                notebook = NotebookFiles(order.cells, cells, order.cell_timeout, kit.spec.max_output_bytes)
            run = _start(order, kit, stdin, notebook, inputs)
            began = True
            outcome = _finish(run, order, kit, notebook)
            residue = outcome.residue
            if outcome.status is not ProgramStatus.ERROR:
                outputs = (kit.captures[0].kept, kit.captures[1].kept)
                record = notebook.fds if notebook else ()
                if not residue:
                    _send_files(order, kit)
        except (OSError, ValueError) as error:
            detail = f"{type(error).__name__}: {error}"[:_DETAIL]
            outcome = OrderOutcome(ProgramStatus.ERROR, detail=detail, began=began)
            residue = _end_all(kit, _KILLING)
        finally:
            _close(inputs)
            # Nothing is removed beside a process that could put a link in the way: what it is part of goes as a whole.
            residue = residue or _remove_traces(kit)
        kit.outcomes.send_outcome(replace(outcome, residue=residue) if residue else outcome, outputs, record)
    finally:
        if notebook is not None:
            notebook.close()
        for capture in kit.captures:
            capture.empty()
    return not residue


def _close(fds: list[int]) -> None:
    while fds:
        os.close(fds.pop())


def _send_files(order: Order, kit: _Kit) -> None:
    if not order.fetch_files:
        return
    paths, files = fetchable(order.fetch_files, kit.scratch, kit.spec.max_file_mb << 20)
    if files:
        kit.outcomes.send_fetched(Fetched(files), paths)


@dataclass(frozen=True)
class _ForkedProgram:
    """A program that has been forked. Its descriptors are to be closed."""

    pid: int
    """Its process."""

    forked: float
    """When, on the monotonic clock."""

    stdout: int
    """The reading end of its standard output."""

    stderr: int
    """The reading end of its standard error."""

    setup: int
    """The reading end of its `setup_fd`."""


def _start(order: Order, kit: _Kit, stdin: int, notebook: NotebookFiles | None, inputs: list[int]) -> _ForkedProgram:
    """Fork the program. `inputs`: descriptors that it alone has open from then on."""
    spec = kit.spec
    counted = Protection.PROCESS_COUNT in spec.isolation.in_force()
    out_read, out_write = os.pipe()
    err_read, err_write = os.pipe()
    setup_read, setup_write = os.pipe()
    theirs = (out_write, err_write, setup_write)
    try:
        program = child.ChildProgram(
            path=kit.source,
            stdin_fd=stdin,
            stdout_fd=out_write,
            stderr_fd=err_write,
            setup_fd=setup_write,
            uid=spec.uid,
            limits=confinement.ProgramLimits(
                run_timeout=order.run_timeout,
                memory_mb=order.memory_limit_mb,
                max_processes=spec.max_processes if counted else None,
                max_open_files=spec.max_open_files,
                max_file_mb=spec.max_file_mb,
            ).resolved(),
            notebook=notebook and notebook.notebook,
        )
        forked = time.monotonic()
        pid = os.fork()
        if pid == 0:
            child.run(program)
    except (OSError, ValueError):
        _close([out_read, err_read, setup_read])
        raise
    finally:
        for fd in theirs:
            os.close(fd)
        _close(inputs)
    return _ForkedProgram(pid, forked, out_read, err_read, setup_read)


def _finish(run: _ForkedProgram, order: Order, kit: _Kit, notebook: NotebookFiles | None) -> OrderOutcome:
    spec = kit.spec
    try:
        out, err = kit.captures
        out.attach(run.stdout)
        err.attach(run.stderr)
        guard = MemoryGuard(order.memory_limit_mb << 20, spec.isolation.namespaces)
        wait_status = _attend(run.pid, kit.captures, run.forked + order.run_timeout, kit.sock, kit.wake, guard)
        elapsed = time.monotonic() - run.forked
        # Who waits has waited for long enough when the time limit is over, and the outcome is known then.
        residue = _end_all(kit, _KILLING if wait_status is not None else _LATE_KILLING)
        out.drain()
        err.drain()
        preparation = child.PREPARED if residue else os.read(run.setup, 4096)
    finally:
        _close([run.stdout, run.stderr, run.setup])
    # One that its time limit ended on the way is late, and not ours.
    if preparation != child.PREPARED and (preparation or wait_status is not None):
        why = preparation.decode() or f"it ended with wait status {wait_status}"
        detail = f"the program's process could not be prepared: {why}"[:_DETAIL]
        return OrderOutcome(ProgramStatus.ERROR, detail=detail, began=False)
    return OrderOutcome(
        status=ProgramStatus.TIME_LIMIT if wait_status is None else ProgramStatus.FINISHED,
        return_code=None if wait_status is None else os.waitstatus_to_exitcode(wait_status),
        execution_time=elapsed,
        stdout_bytes=len(out.kept),
        stderr_bytes=len(err.kept),
        # Of what can still be written to, nothing is sure.
        notebook_bytes=notebook.sizes() if notebook and not residue else (0, 0, 0),
        residue=residue,
    )


def _end_all(kit: _Kit, patience: float) -> str:
    """End every process of the program; what is in the way of that, empty when there is none left."""
    try:
        processes.kill_all(kit.spec.isolation.namespaces, patience)
    except TimeoutError as error:
        return str(error)
    return ""


def _attend(
    pid: int, captures: tuple[OutputCapture, OutputCapture], deadline: float, sock: int, wake: int, guard: MemoryGuard
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
                # Either a Cancel, which the orders will read and skip, or the server is gone.
                return None
        ended, wait_status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return wait_status
    return None


def _remove_traces(kit: _Kit) -> str:
    """Remove everything that the program wrote; why this worker must not run another one, empty when it may."""
    try:
        remove(kit.scratch)
        if kit.shared is not None:
            for trace in private_files.leftovers():
                remove(trace)
            kit.shared.restore()
    except OSError as error:
        return str(error)[:_DETAIL] or type(error).__name__
    if kit.spec.uid is None and confinement.own_limits() != kit.limits:
        return "the program changed its worker's resource limits"
    return ""
