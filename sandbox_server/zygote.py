"""The template process: imports what programs will want once, and forks workers that have it in memory already.

Run as `python -m sandbox_server.zygote CONTROL_FD SCRATCH_ROOT LOG_FORMAT MODULE...`, by the server only. The
control socket carries one WorkerSpec per worker to make, with the worker's own socket attached; when it closes, all is
over.
"""

import contextlib
import gc
import importlib
import os
import signal
import site
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from sandbox_server import child, confinement, cpu_share, linux, private_files, processes, worker
from sandbox_server.config import LogFormat
from sandbox_server.frames import Hello, WorkerSpec, decode, pack
from sandbox_server.isolation import Isolation
from sandbox_server.scratch import remove

_MESSAGE_BYTES = 1 << 16
_FAREWELL = 8.0  # seconds that keepers get to end; killing a program's processes may take a worker five


def program_import_path() -> tuple[str, ...]:
    """What programs may import: the interpreter's own directories, nothing that the launching job added."""
    roots = {*private_files.interpreter_paths(), os.path.realpath(site.getuserbase())}
    return tuple(p for p in sys.path if any(Path(os.path.realpath(p)).is_relative_to(root) for root in roots))


def preload(modules: tuple[str, ...], log_format: LogFormat) -> None:
    """Import `modules`, use them once, and make the heap ready to share. Exits with a message when one is missing."""
    for name in modules:
        try:
            importlib.import_module(name)
        except ImportError as error:
            sys.exit(f"cannot preload {name!r}: {error}; install it, or leave it out of --preload")
    if complaints := _warm_up(modules):
        _warn(complaints, log_format)
    sys.path[:] = program_import_path()
    child.forget_the_server()
    # Objects that the collector never visits are pages that forks never copy.
    gc.collect()
    gc.disable()
    gc.freeze()
    linux.collapse_into_huge_pages()


def _warn(complaints: tuple[str, ...], log_format: LogFormat) -> None:
    # Imported where it is needed only: `logging`, and `threading` with it, have every fork run code of theirs.
    import logging

    from sandbox_server.log_format import configure

    configure(log_format)
    for complaint in complaints:
        logging.getLogger(__name__).warning("%s", complaint)


def _warm_up(modules: tuple[str, ...]) -> tuple[str, ...]:
    """Use what `modules`, already imported, put off. One that fails is left as it is, with a line for the log."""
    complaints = []
    for name in modules:
        use = _USES.get(name)
        if use is None:
            continue
        try:
            use()
        except (ImportError, AttributeError, TypeError, ValueError, NotImplementedError) as error:
            complaints.append(f"warm-up of {name} stopped early; its programs start slower: {error!r}")
    return tuple(complaints)


def _use_numpy() -> None:
    import numpy as np

    for name in ("numpy.random", "numpy.linalg", "numpy.polynomial", "numpy.fft"):
        importlib.import_module(name)
    matrix = np.array([[2.0, 1.0], [1.0, 3.0]])
    np.linalg.solve(matrix, [1.0, 2.0])
    np.roots([1.0, -3.0, 2.0])
    np.random.default_rng(0).normal(size=3)
    repr(matrix)


def _use_sympy() -> None:
    import sympy as sp
    from sympy.core.cache import clear_cache

    x, y, n = sp.symbols("x y n")
    sp.solve(x**2 - 3 * x - 10, x)
    sp.solve([x + y - 7, x - y - 1], [x, y])
    sp.factor(x**4 - 16)
    sp.expand((x + 2) ** 3)
    sp.simplify((x**2 - 4) / (x - 2))
    sp.integrate(x * sp.cos(x), x)
    sp.integrate(x**2, (x, 0, 3))
    sp.diff(sp.sin(x) ** 2, x)
    sp.limit(sp.sin(2 * x) / x, x, 0)
    sp.series(sp.exp(x), x, 0, 3)
    sp.summation(n**2, (n, 1, 6))
    sp.Matrix([[2, 1], [1, 3]]).eigenvals()
    sp.sympify("3*x + 1").subs(x, 2)
    sp.Rational(3, 4).evalf()
    sp.nsimplify(0.75)
    sp.factorint(5040)
    list(sp.primerange(2, 30))
    sp.trigsimp(sp.sin(x) ** 2 + sp.cos(x) ** 2)
    sp.solveset(x**2 - 5, x, sp.S.Reals)
    sp.latex(sp.sqrt(x) / 2)
    sp.pretty(x / 2)
    str(sp.sqrt(12))
    clear_cache()


def _use_scipy() -> None:
    # scipy's parts import each other, and are what takes the time; those that mathematics problems call for most.
    for name in ("scipy.optimize", "scipy.special", "scipy.integrate", "scipy.linalg"):
        importlib.import_module(name)


_USES: dict[str, Callable[[], None]] = {"numpy": _use_numpy, "sympy": _use_sympy, "scipy": _use_scipy}


def serve(control: socket.socket, scratch_root: str) -> None:
    """Make workers until the server closes the control socket; then wait for them and remove the scratch root."""
    # The kernel reaps keepers as they end: nobody asks for their status.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    control.send(b"!")  # any byte says that preloading is done
    while True:
        message, handles, _, _ = socket.recv_fds(control, _MESSAGE_BYTES, 1)
        if not message:
            break
        sock = socket.socket(fileno=handles[0])
        if os.fork() == 0:
            control.close()
            _keep(sock, decode(message))
        sock.close()
    deadline = time.monotonic() + _FAREWELL
    while _has_children() and time.monotonic() < deadline:
        time.sleep(0.005)
    if os.path.isdir(scratch_root):  # the server removes it too, when it still can
        remove(scratch_root)


def _has_children() -> bool:
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return False
    return True


def _keep(sock: socket.socket, spec: WorkerSpec) -> NoReturn:
    """The keeper: make the namespaces, fork the worker into them, outlive it, and end what it could not."""
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.chdir("/")
        linux.set_child_subreaper()
        _enter_namespaces(spec.isolation)
        proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
        pid = os.fork()
        if pid == 0:
            os.close(proc)
            _work(sock, spec)
        sock.close()
        cpu_share.keep(pid, spec.uid, proc)
        # An emptied pid namespace ends its processes by itself; otherwise they have come to this process.
        processes.kill_all(own_namespace=False)
    except OSError as error:
        _refuse(sock, error)
    os._exit(0)


def _work(sock: socket.socket, spec: WorkerSpec) -> NoReturn:
    try:
        if spec.isolation.namespaces:
            linux.set_parent_death_signal(signal.SIGKILL)
        else:
            linux.set_child_subreaper()
        # Of its own, for the kernel may share processors out among sessions.
        os.setsid()
        if spec.isolation.private_files:
            private_files.enter(spec.scratch_mb, os.getuid() if spec.uid is None else spec.uid)
        confinement.settle(spec.isolation)
        worker.serve(sock, spec)
    except OSError as error:
        _refuse(sock, error)
    os._exit(0)


def _refuse(sock: socket.socket, error: OSError) -> None:
    with contextlib.suppress(OSError):  # the server may be gone, or the socket closed by this process already
        sock.sendall(pack(Hello(ready=False, detail=str(error))))


def _enter_namespaces(isolation: Isolation) -> None:
    uid, gid = os.getuid(), os.getgid()
    if flags := isolation.namespace_flags():
        linux.unshare(flags)
    if isolation.user_namespace:
        for name, line in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            Path(f"/proc/self/{name}").write_text(line)


def main(arguments: list[str]) -> None:
    """Entry point; see the module's docstring for the arguments."""
    control = socket.socket(fileno=int(arguments[0]))
    control.set_inheritable(False)
    preload(tuple(arguments[3:]), LogFormat(arguments[2]))
    serve(control, arguments[1])


if __name__ == "__main__":
    main(sys.argv[1:])
