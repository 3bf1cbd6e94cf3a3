"""Python processes of verl that begin with their imports done.

A launch of verl has nine Python processes that import torch, vLLM and verl, 4 to 15 s of a core each: most of what two
steps on a toy model cost. A server imports them once; a program that stands in for `sys.executable` asks it for a fork,
which gets the program's arguments, environment, folder and open files, and loads verl's external modules and plugins
itself, as verl does at its import. So all of this project's code is imported by each process as ever. What is not
verl's driver, a Ray worker or a child of multiprocessing runs in Python as it is: Ray's daemons, the sandbox, the pool
of answers.

There are two kinds: one for training, with verl on its CPU platform; and one that has imported what verl imports and
nothing of verl, for launches that are refused or only print their configuration.

The program stays until its fork has ended, passes signals on and ends as it did. Where it is killed, so is the fork.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import multiprocessing
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

_TRAINING = (
    "ray._private.workers.default_worker",
    "ray.util.state",
    "transfer_queue",
    "verl.single_controller.ray",
    "verl.trainer.ppo.core_algos",
    "verl.utils.dataset.rl_dataset",
    "torchdata.stateful_dataloader",
    "verl.experimental.agent_loop",
    "verl.experimental.reward_loop",
    "verl.checkpoint_engine",
    "verl.workers.engine_workers",
    "verl.workers.rollout.vllm_rollout.vllm_async_server",
    "vllm.v1.engine.core",
    "vllm.v1.worker.cpu_worker",
    "vllm.v1.executor.uniproc_executor",
    "vllm.model_executor.models.qwen2",
    "transformers.models.qwen2.modeling_qwen2",
    "torch.distributed.fsdp",
    "math_verify",
    "aiohttp",
)
"""What the processes of a run on the CPU platform import, of others only.

Not `verl.trainer.ppo.v1`: Ray copies a base class's methods into its actors when they are defined, and what records the
tests' runs replaces some before that.
"""
_LAUNCHING = (
    "ray._private.workers.default_worker",
    "ray.util.state",
    "torch.distributed.fsdp",
    "torch._dynamo",
    "tensordict",
    "transfer_queue",
    "transformers.modeling_utils",
    "transformers.models.auto",
    "torchdata.stateful_dataloader",
    "accelerate",
    "datasets",
    "fastapi",
    "hydra",
    "peft",
    "scipy.optimize",
    "sympy",
    "aiohttp",
)
"""What verl's launch command imports of others."""
_SPAWNED = "from multiprocessing.spawn import spawn_main"
_RAY_WORKER = "ray/_private/workers/setup_worker.py"
_DRIVER = "verl.trainer.main_ppo"
# Neither this nor the raylet that `_serve` names is read by Ray again. Each run has a cluster of its own, with one job.
_CLUSTER = {"RAY_JOB_ID": "01000000"}
_PLATFORM = {
    "VERL_PLATFORM": "cpu",
    "VERL_USE_EXTERNAL_PLUGINS": "none",
    "TORCHDYNAMO_DISABLE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    # Ray gives each worker one thread, by a variable that torch reads when it is imported.
    "OMP_NUM_THREADS": "1",
    **_CLUSTER,
}
"""What the platform `cpu` gives to every process and what an import reads."""
_MESSAGE_BYTES = 1 << 20
_MOST_FILES = 200
_POLL_SECONDS = 0.05


@contextmanager
def warm_python(folder: Path, *, training: bool) -> Iterator[str]:
    """A program that stands in for `sys.executable`, while its server runs; `folder` is for both.

    Its processes have verl on the CPU platform when they are for training; otherwise only what verl imports of others.
    """
    program, address = folder / "python", folder / "server"
    program.write_text(
        f"#!{sys.executable} -IS\n"
        f"import sys\nsys.path.append({str(Path(__file__).parent)!r})\n"
        f"from warm_python import stand_in\n"
        f"stand_in({str(address)!r}, {sys.executable!r}, sys.argv[1:])\n"
    )
    program.chmod(0o755)
    command = [sys.executable, __file__, str(program), str(address), *(["training"] if training else [])]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            command,
            env=os.environ | (_PLATFORM if training else _CLUSTER),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        while not address.exists():
            assert server.poll() is None, (folder / "log").read_text()
            time.sleep(_POLL_SECONDS)
        yield str(program)
    finally:
        server.kill()
        server.wait()


def stand_in(address: str, python: str, arguments: list[str]) -> NoReturn:
    """Have the server run `arguments` where it can, and Python itself where not."""
    if not _is_warm(arguments):
        os.execv(python, [python, *arguments])
    files = [number for number in map(int, os.listdir("/proc/self/fd")) if _is_open(number)]
    request = {"arguments": arguments, "environment": dict(os.environ), "folder": os.getcwd(), "files": files}
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.connect(address)
        socket.send_fds(server, [json.dumps(request).encode()], files)
        fork = int(server.recv(64))
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda number, _: os.kill(fork, number))
        # Else the other end of a pipe would wait for this process, after the fork has closed it.
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in files:
            os.dup2(nothing, number)
        status = int(server.recv(64) or -signal.SIGKILL)
    if status < 0:
        if status != -signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


def _is_open(number: int) -> bool:
    # The listing's own is not.
    with suppress(OSError):
        os.fstat(number)
        return True
    return False


def _is_warm(arguments: list[str]) -> bool:
    """Whether it is for verl's driver, a Ray worker or a process of multiprocessing."""
    words = [word for word in arguments if word != "-u"]
    if "-c" in words:
        return words[words.index("-c") + 1].startswith(_SPAWNED)
    return words[:2] == ["-m", _DRIVER] or words[0].endswith(_RAY_WORKER)


class _Server:
    """Forks a process for each request, reports its end, and ends it where the other side is gone."""

    def __init__(self, address: str) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(address + ".new")
        self._listener.listen(64)
        os.rename(address + ".new", address)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._connections: dict[int, socket.socket] = {}
        """By their forks."""

    def serve(self) -> NoReturn:
        while True:
            for key, _ in self._selector.select(_POLL_SECONDS):
                if key.fileobj is self._listener:
                    self._begin(self._listener.accept()[0])
                else:
                    os.kill(key.data, signal.SIGKILL)
                    self._selector.unregister(key.fileobj)
            while self._connections:
                fork, status = os.waitpid(-1, os.WNOHANG)
                if fork == 0:
                    break
                self._end(fork, os.waitstatus_to_exitcode(status))

    def _begin(self, connection: socket.socket) -> None:
        message, files, *_ = socket.recv_fds(connection, _MESSAGE_BYTES, _MOST_FILES)
        request = json.loads(message)
        fork = os.fork()
        if fork == 0:
            # Copies first: a number that is wanted may be one that came.
            copies = [os.dup(number) for number in files]
            for own in (connection, self._listener, self._selector, *self._connections.values()):
                own.close()
            for number, copy in zip(request["files"], copies, strict=True):
                os.dup2(copy, number)
            for number in {*files, *copies} - set(request["files"]):
                os.close(number)
            _run(request, [word for word in request["arguments"] if word != "-u"])
        for number in files:
            os.close(number)
        connection.send(str(fork).encode())
        self._connections[fork] = connection
        self._selector.register(connection, selectors.EVENT_READ, fork)

    def _end(self, fork: int, status: int) -> None:
        connection = self._connections.pop(fork)
        if connection in {key.fileobj for key in self._selector.get_map().values()}:
            self._selector.unregister(connection)
            with suppress(OSError):
                connection.send(str(status).encode())
        connection.close()


def _run(request: dict[str, Any], arguments: list[str]) -> NoReturn:
    """What Python does with such arguments."""
    import numpy
    from ray._raylet import AuthenticationTokenLoader, Config

    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.path[:0] = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path not in ("", *sys.path)]
    sys.stdin, sys.stdout, sys.stderr = (
        open(number, mode, 1, errors="backslashreplace", closefd=False)  # noqa: SIM115
        for number, mode in enumerate("rww")
    )
    with suppress(ImportError):  # what PYTHONPATH may bring
        importlib.import_module("sitecustomize")
    numpy.random.seed()
    # Ray has read its variables and its token when it was imported.
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()
    status = 1
    try:
        _run_main(arguments)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
    except BaseException:
        sys.excepthook(*sys.exc_info())
        raise
    finally:
        # As at the interpreter's exit, but for the rest of the server that this process was forked from.
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _import_verl() -> None:
    """As at a process's beginning: with external modules and plugins."""
    if "verl" in sys.modules:
        importlib.reload(sys.modules["verl"])
    else:
        importlib.import_module("verl")


def _run_main(arguments: list[str]) -> None:
    from ray._private.runtime_env.context import RuntimeEnvContext, update_envs

    def exec_worker(self: Any, command: list[str], language: Any) -> None:
        update_envs(self.env_vars)
        sys.argv = command
        _import_verl()
        runpy.run_path(command[0], run_name="__main__")

    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        sys.path.insert(0, os.getcwd())
        _import_verl()
        runpy.run_module(_DRIVER, run_name="__main__", alter_sys=True)
    elif arguments[0].endswith(_RAY_WORKER):
        RuntimeEnvContext.exec_worker = exec_worker
        sys.argv = arguments
        runpy.run_path(arguments[0], run_name="__main__")
    else:
        code = arguments.index("-c") + 1
        sys.argv = ["-c", *arguments[code + 1 :]]
        _import_verl()
        exec(arguments[code], vars(sys.modules["__main__"]))


def _serve(program: str, address: str, kind: str = "") -> NoReturn:
    # A worker ends with the stand-in that its raylet started, so this need not be the raylet's.
    os.environ["RAY_RAYLET_PID"] = str(os.getpid())
    if kind == "training":
        import verl  # noqa: F401

        import verl_cpu

        verl_cpu.activate()
    for name in _TRAINING if kind == "training" else _LAUNCHING:
        importlib.import_module(name)
    early = {"verl_tir", "sandbox_client", "math_answers", "verl.trainer.ppo.v1"} & sys.modules.keys()
    early |= set() if kind == "training" else {"verl", "verl_cpu"} & sys.modules.keys()
    assert not early, f"each process imports {early} by itself"
    sys.executable = program
    multiprocessing.set_executable(program)
    # Of the server's own main module nothing is to be found in a fork.
    del sys.modules["__main__"].__file__
    gc.collect()
    gc.freeze()
    _Server(address).serve()


if __name__ == "__main__":
    _serve(*sys.argv[1:])
