"""What happens inside a program's process, from the fork to its last breath. Nothing here returns to the worker."""

import atexit
import gc
import os
import random
import resource
import signal
import sys
import threading
import types
from dataclasses import dataclass
from typing import NoReturn

from verl_tir.sandbox_server import linux
from verl_tir.sandbox_server.isolation import UNPRIVILEGED_GID
from verl_tir.sandbox_server.limits import Limits

SETUP_FAILED = 127
"""Exit status when the process could not be prepared; the worker knows it from the report on `setup_fd`."""

_FLUSH_FAILED = 120  # what CPython exits with when the last flush of its streams fails


@dataclass(frozen=True)
class Program:
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
    """Where a failure of the preparation is written; closed before the program starts."""

    uid: int | None
    """The user to become; None to stay who the worker is."""

    limits: Limits
    """The resource limits."""


def run(program: Program) -> NoReturn:
    """Turn this freshly forked process into the program, run it, and exit as CPython would."""
    try:
        _confine(program)
        _forget_the_server(program)
    except BaseException as error:  # noqa: BLE001 - whatever went wrong, the process must not fall into the worker's loop
        os.write(program.setup_fd, f"{type(error).__name__}: {error}".encode())
        os._exit(SETUP_FAILED)
    os.close(program.setup_fd)
    os._exit(_main(program.path))


def _confine(program: Program) -> None:
    os.setsid()
    for number, fd in enumerate((program.stdin_fd, program.stdout_fd, program.stderr_fd)):
        os.dup2(fd, number)
    highest = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    os.closerange(3, program.setup_fd)
    os.closerange(program.setup_fd + 1, highest)
    os.chdir(os.path.dirname(program.path))
    os.umask(0o077)
    # Should memory run out on the machine, the kernel takes the program and not the trainer.
    with open("/proc/self/oom_score_adj", "wb") as oom:
        oom.write(b"1000")
    program.limits.apply()
    if program.uid is not None:
        os.setgroups([])
        os.setresgid(UNPRIVILEGED_GID, UNPRIVILEGED_GID, UNPRIVILEGED_GID)
        os.setresuid(program.uid, program.uid, program.uid)
    linux.set_no_new_privileges()
    linux.drop_capabilities()
    # The change of user took /proc/self, and with it /dev/stdout, away.
    linux.set_dumpable()
    # After the change of user, which would clear it.
    linux.set_parent_death_signal(signal.SIGKILL)


def _forget_the_server(program: Program) -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    directory = os.path.dirname(program.path)
    os.environ.clear()
    os.environ.update(
        PATH=os.pathsep.join((os.path.dirname(sys.executable), "/usr/local/bin", "/usr/bin", "/bin")),
        HOME=directory,
        TMPDIR=directory,
        LANG="C.UTF-8",
        PYTHONDONTWRITEBYTECODE="1",
        OPENBLAS_NUM_THREADS="1",
        OMP_NUM_THREADS="1",
        MKL_NUM_THREADS="1",
    )
    sys.argv[:] = [program.path]
    sys.path.insert(0, directory)
    for name in [name for name in sys.modules if name.partition(".")[0] == "verl_tir"]:
        del sys.modules[name]
    sys.stdin = sys.__stdin__ = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.__stderr__ = os.fdopen(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)
    # A fork inherits the generators' state, and every program would draw the same numbers.
    random.seed()
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()
    if "sympy.core.random" in sys.modules:
        sys.modules["sympy.core.random"].seed()
    gc.enable()


def _main(path: str) -> int:
    main = types.ModuleType("__main__")
    main.__file__ = path
    main.__builtins__ = sys.modules["builtins"]
    sys.modules["__main__"] = main
    code = _execute(path, main)
    threading._shutdown()
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


def _execute(path: str, main: types.ModuleType) -> int:
    try:
        with open(path, "rb") as source:
            text = source.read()
        exec(compile(text, path, "exec", dont_inherit=True), vars(main))
    except SystemExit as leaving:
        return _exit_status(leaving)
    except BaseException as error:  # noqa: BLE001 - whatever the program raises, CPython would report it
        # The first frame is this function's; the program's author must not see it.
        error = error.with_traceback(error.__traceback__.tb_next)
        sys.excepthook(type(error), error, error.__traceback__)
        return 1
    return 0


def _exit_status(leaving: SystemExit) -> int:
    if leaving.code is None:
        return 0
    if isinstance(leaving.code, int):
        return leaving.code & 0xFF
    sys.stderr.write(f"{leaving.code}\n")
    return 1
