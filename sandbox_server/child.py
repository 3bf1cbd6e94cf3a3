"""What happens inside a program's process, from the fork to its last breath. Nothing here returns to the worker."""

import _signal
import atexit
import gc
import os
import resource
import signal
import sys
import types
from dataclasses import dataclass
from typing import NoReturn

from sandbox_server import confinement, linux
from sandbox_server.cells import run_cells
from sandbox_server.notebook_record import Notebook

SETUP_FAILED = 127
"""Exit status when the process could not be prepared; the worker knows it from the report on `setup_fd`."""

PREPARED = b"\n"
"""The report of a process that could; one that ended on the way to here leaves none."""

_INTERRUPTED = -signal.SIGINT  # an uncaught KeyboardInterrupt ends CPython by the signal itself
_FLUSH_FAILED = 120  # what CPython exits with when the last flush of its streams fails


@dataclass(frozen=True)
class ChildProgram:
    """One program, ready to run."""

    path: str
    """The source file, in the program's working directory."""

    stdin_fd: int
    """Becomes standard input."""

    stdout_fd: int
    """Becomes standard output."""

    stderr_fd: int
    """Becomes standard error."""

    setup_fd: int
    """Where the report on the preparation is written; closed before the program starts."""

    uid: int | None
    """The user to become; None to stay who the worker is."""

    limits: tuple[tuple[int, int], ...]
    """The resource limits, as `ProgramLimits.resolved` gives them."""

    notebook: Notebook | None = None
    """Cells to run in place of the source file."""


def forget_the_server() -> None:
    """Hide the server's modules from programs, in the process that they will be forked from.

    The code that is loaded keeps working. Done here once, because taking modules apart in every program's process
    would touch hundreds of pages that it shares with its parent until then.
    """
    for name in [name for name in sys.modules if name.partition(".")[0] == __package__]:
        del sys.modules[name]


def set_environment(scratch: str) -> None:
    """Give this process the environment that its programs will have; `scratch` is their working directory."""
    os.environ.clear()
    os.environ.update(
        PATH=os.pathsep.join((os.path.dirname(sys.executable), "/usr/local/bin", "/usr/bin", "/bin")),
        HOME=scratch,
        TMPDIR=scratch,
        LANG="C.UTF-8",
        PYTHONDONTWRITEBYTECODE="1",
        OPENBLAS_NUM_THREADS="1",
        OMP_NUM_THREADS="1",
        MKL_NUM_THREADS="1",
    )
    # Only now, when the C library's environment no longer lies there.
    linux.overwrite_start(os.path.basename(sys.executable))


def set_interpreter() -> None:
    """Give this process the signal handlers and standard streams that its programs will have.

    Once for all of them, because each step would cost every program some dozens of pages, copied to be written to. Only
    an interrupt is the program's own affair: this process may be a legal target of one, and must not end by it. The
    streams are objects around the descriptors 0 to 2, whatever these are when something is read or written.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    saved = [os.dup(number) for number in range(3)]
    # How a stream buffers depends on what it is opened on. Input is the null device or a file, and alike in that.
    null, ends = os.open(os.devnull, os.O_RDONLY), os.pipe()
    for number, fd in enumerate((null, ends[1], ends[1])):
        os.dup2(fd, number)
    try:
        # As CPython opens them in the locale C.UTF-8.
        text = {"encoding": "utf-8", "newline": "\n", "closefd": False}
        sys.stdin = sys.__stdin__ = os.fdopen(0, errors="surrogateescape", **text)
        sys.stdout = sys.__stdout__ = os.fdopen(1, "w", errors="surrogateescape", **text)
        sys.stderr = sys.__stderr__ = os.fdopen(2, "w", 1, errors="backslashreplace", **text)
    finally:
        for number, fd in enumerate(saved):
            os.dup2(fd, number)
        for fd in (*saved, null, *ends):
            os.close(fd)


def run(program: ChildProgram) -> NoReturn:
    """Turn this freshly forked process into the program, run it, and exit as CPython would."""
    try:
        _confine(program)
        # Opened here, for a source that its own program may not read is the sandbox's failure.
        source = os.open(program.path, os.O_RDONLY)
        _become_an_interpreter(program)
        os.write(program.setup_fd, PREPARED)
    except BaseException as error:  # noqa: BLE001 - whatever went wrong, the process must not fall into the worker's loop
        os.write(program.setup_fd, f"{type(error).__name__}: {error}".encode())
        os._exit(SETUP_FAILED)
    os.close(program.setup_fd)
    code = _main(program, source)
    if code == _INTERRUPTED:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(code)


def _confine(program: ChildProgram) -> None:
    os.setpgid(0, 0)
    for number, fd in enumerate((program.stdin_fd, program.stdout_fd, program.stderr_fd)):
        os.dup2(fd, number)
    highest = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    lowest = 3
    for fd in sorted((program.setup_fd, *(program.notebook.fds if program.notebook else ()))):
        os.closerange(lowest, fd)
        lowest = fd + 1
    os.closerange(lowest, highest)
    os.chdir(os.path.dirname(program.path))
    os.umask(0o077)
    confinement.apply_limits(program.limits)
    confinement.give_up(program.uid)


def _become_an_interpreter(program: ChildProgram) -> None:
    signal.set_wakeup_fd(-1)
    # Not signal.signal: to name the handler that was there before, it makes and drops an exception.
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
    _signal.signal(_signal.SIGINT, _signal.default_int_handler)
    sys.argv[:] = [program.path]
    sys.path.insert(0, os.path.dirname(program.path))
    # A fork inherits the generators' state, and every program would draw the same numbers. `random` does so by itself.
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()
    if "sympy.core.random" in sys.modules:
        sys.modules["sympy.core.random"].seed()
    # The collector starts with nothing to look at, as in a new interpreter: what the worker made is not for it.
    gc.freeze()
    gc.enable()


def _main(program: ChildProgram, source: int) -> int:
    main = types.ModuleType("__main__")
    if program.notebook is None:
        main.__file__ = program.path
    main.__builtins__ = sys.modules["builtins"]
    sys.modules["__main__"] = main
    code = _execute(program, source, main)
    if "threading" in sys.modules:  # not there unless a library or the program has imported it
        sys.modules["threading"]._shutdown()
    atexit._run_exitfuncs()
    # What CPython does to the main module when it ends: open files are flushed, __del__ methods run.
    for name in list(vars(main)):
        if name != "__builtins__":
            vars(main)[name] = None
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None and not stream.closed:
                stream.flush()
        except OSError:
            code = _FLUSH_FAILED
    return code


def _execute(program: ChildProgram, source: int, main: types.ModuleType) -> int:
    try:
        with open(source, "rb", buffering=0) as file:
            text = file.read()
        if program.notebook is not None:
            return run_cells(program.notebook, main)
        exec(compile(text, program.path, "exec", dont_inherit=True), vars(main))
    except SystemExit as leaving:
        return _exit_status(leaving)
    except BaseException as error:  # noqa: BLE001 - whatever the program raises, CPython would report it
        # The first frame is this function's; the program's author must not see it.
        error = error.with_traceback(error.__traceback__.tb_next)
        sys.excepthook(type(error), error, error.__traceback__)
        return _INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1
    return 0


def _exit_status(leaving: SystemExit) -> int:
    if leaving.code is None:
        return 0
    if isinstance(leaving.code, int):
        return leaving.code & 0xFF
    sys.stderr.write(f"{leaving.code}\n")
    return 1
