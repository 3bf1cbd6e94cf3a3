"""Starts the zygote and has it make workers."""

import asyncio
import logging
import os
import socket
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from sandbox_server.config import ServerConfig
from sandbox_server.frames import Job, ProgramStatus, WorkerSpec, encode
from sandbox_server.isolation import UNISOLATED, Isolation, IsolationPolicy, IsolationSurvey, RefusedLevel, candidates
from sandbox_server.job_codec import ReplyBounds
from sandbox_server.program_users import NoFreeUsersError, ProgramUsers
from sandbox_server.scratch import remove
from sandbox_server.worker_handle import WorkerHandle, WorkerLost

logger = logging.getLogger(__name__)

_PRELOAD_PATIENCE = 60.0  # seconds; a cold disk makes imports slow
_FAREWELL = 10.0  # seconds
_READ_BUFFER = 1 << 20  # bytes
_KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "HOME", "TMPDIR", "TZ", "LANG", "LC_ALL")

# Writes a file and reads one of the interpreter's: one that the program's user cannot read shows itself here and not in
# somebody's training run. Not by an import, for whatever the preloaded libraries have loaded would be there anyway.
_TRIAL = Job(
    code="import os\nopen(os.__file__).close()\nopen('t', 'w').close()\nprint(1 + 1)",
    run_timeout=10.0,
    memory_limit_mb=512,
)


class SandboxSetupError(Exception):
    """The server cannot run programs on this machine."""


class WorkerFactory:
    """Owns the zygote process and the scratch root; makes workers at the strongest isolation that works here."""

    def __init__(self, config: ServerConfig, levels: tuple[Isolation, ...]) -> None:
        """`levels`: what to try, strongest first."""
        self._config = config
        self._levels = levels
        self._users = range(0)
        self.survey = IsolationSurvey(UNISOLATED)  # until start() has made one
        self._scratch_root = ""
        self._zygote: asyncio.subprocess.Process | None = None
        self._control: socket.socket | None = None
        self._starting = asyncio.Lock()
        self._workers: list[WorkerHandle] = []

    @property
    def isolation(self) -> Isolation:
        """The level that workers are made at."""
        return self.survey.isolation

    async def start(self, users: range) -> None:
        """Start the zygote and find the isolation.

        Args:
            users: one for each worker, where a level needs them.

        Raises:
            SandboxSetupError: no program runs, or not as walled off as the policy wants.
        """
        self._users = users
        try:
            await self._start_zygote()
            self.survey = await self._survey()
        except WorkerLost as error:
            await self.close()
            raise SandboxSetupError(f"the sandbox server cannot run programs here: {error}") from error
        if self.survey.missing and self._config.isolation is IsolationPolicy.REQUIRED:
            await self.close()
            raise SandboxSetupError(self.survey.complaint())

    def log_isolation(self) -> None:
        """Say what the workers are made with, and without."""
        logger.info("protections in force: %s", "; ".join(self.isolation.in_force()) or "resource limits only")
        if self.survey.users:
            logger.info("programs run as users %d to %d", self.survey.users[0], self.survey.users[-1])
        if self.isolation.missing():
            logger.warning("protections missing on this machine: %s", "; ".join(self.isolation.missing()))

    async def make_worker(self, index: int) -> WorkerHandle:
        """A new worker, ready for jobs; the zygote is started again if it has ended. Raises WorkerLost."""
        try:
            async with self._starting:
                if self._zygote is None or self._zygote.returncode is not None:
                    logger.warning("the zygote has ended; starting another")
                    await self._start_zygote()
            worker = await self._order(index, self.isolation)
        except OSError as error:  # no descriptor, process or memory is left, for now
            raise WorkerLost(f"the machine refuses: {error}") from error
        self._workers = [known for known in self._workers if known.index != index] + [worker]
        return worker

    async def close(self) -> None:
        """End workers, zygote and programs, and remove the scratch root."""
        for worker in self._workers:
            worker.close()
        if self._control is not None:
            self._control.close()
        if self._zygote is not None:
            try:
                async with asyncio.timeout(_FAREWELL):
                    await self._zygote.wait()
            except TimeoutError:
                logger.warning("the zygote does not end; killing it")
                self._zygote.kill()
                await self._zygote.wait()
        if self._scratch_root:
            remove(self._scratch_root)

    async def _start_zygote(self) -> None:
        if self._control is not None:
            self._control.close()
        if not os.path.isdir(self._scratch_root):  # a zygote that ends removes it
            self._scratch_root = tempfile.mkdtemp(prefix="verl-tir-sandbox-")
            os.chmod(self._scratch_root, 0o711)
        # One message is one packet, so that a worker's socket cannot arrive with another worker's order.
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setblocking(False)
        arguments = [str(theirs.fileno()), self._scratch_root, self._config.log_format, *self._config.preload]
        with theirs:
            self._zygote = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "sandbox_server.zygote",
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                # A terminal's interrupt is for the server, which then ends the rest in order.
                start_new_session=True,
                pass_fds=(theirs.fileno(),),
                env=zygote_environment(),
            )
        try:
            async with asyncio.timeout(_PRELOAD_PATIENCE):
                ready = await asyncio.get_running_loop().sock_recv(self._control, 1)
        except OSError as error:  # TimeoutError is an OSError
            raise WorkerLost(f"the zygote did not start: {type(error).__name__} {error}") from error
        if not ready:
            raise WorkerLost("the zygote did not start; its own message stands above this one in the log")

    async def _survey(self) -> IsolationSurvey:
        refusals = []
        for isolation in self._levels:
            reason = await self._try(isolation)
            if not reason:
                return IsolationSurvey(isolation, tuple(refusals), self._users if isolation.own_user else range(0))
            logger.info("this machine does not allow (%s): %s", "; ".join(isolation.in_force()), reason)
            refusals.append(RefusedLevel(isolation, reason))
        raise WorkerLost(refusals[-1].reason if refusals else "no isolation level was tried")

    async def _try(self, isolation: Isolation) -> str:
        """Why a program does not run at this level; empty when it does."""
        try:
            worker = await self._order(0, isolation)
            report = await worker.run(_TRIAL)
            worker.close()
        except WorkerLost as error:
            return str(error)
        if report.status is ProgramStatus.FINISHED and report.stdout == "2\n":
            return ""
        return f"a trial program ended with {report.return_code}: {report.stderr.strip().rpartition(chr(10))[2]}"

    async def _order(self, index: int, isolation: Isolation) -> WorkerHandle:
        config = self._config
        spec = WorkerSpec(
            index=index,
            isolation=isolation,
            scratch_root=self._scratch_root,
            max_processes=config.max_processes,
            max_open_files=config.max_open_files,
            max_file_mb=config.max_file_mb,
            scratch_mb=config.scratch_mb,
            max_output_bytes=config.max_output_bytes,
            uid=self._users[index] if isolation.own_user else None,
        )
        mine, theirs = socket.socketpair()
        try:
            socket.send_fds(self._control, [encode(spec)], [theirs.fileno()])
        except OSError as error:
            mine.close()
            raise WorkerLost(f"the zygote does not take orders: {error}") from error
        finally:
            theirs.close()
        reader, writer = await asyncio.open_connection(sock=mine, limit=_READ_BUFFER)
        worker = WorkerHandle(index, reader, writer, ReplyBounds(config.max_output_bytes, config.max_file_mb << 20))
        try:
            await worker.hello()
        except WorkerLost:
            worker.close()
            raise
        return worker


async def probe_isolation(config: ServerConfig | None = None) -> IsolationSurvey:
    """What this machine allows, without starting a server. Raises SandboxSetupError when no program runs at all."""
    config = replace(config or ServerConfig(), preload=(), isolation=IsolationPolicy.BEST_EFFORT)
    levels = candidates(is_root=os.getuid() == 0)
    users = users_for(config, levels)
    factory = WorkerFactory(config, levels)
    try:
        await factory.start(users.ids)
        await factory.close()
    finally:
        users.release()
    return factory.survey


def users_for(config: ServerConfig, levels: tuple[Isolation, ...]) -> ProgramUsers:
    """A user for each worker where any level needs them, to be released; else none. Raises SandboxSetupError."""
    if not any(level.own_user for level in levels):
        return ProgramUsers(range(0))
    try:
        return ProgramUsers.claim(config.workers)
    except (NoFreeUsersError, OSError) as error:
        raise SandboxSetupError(str(error)) from error


def zygote_environment() -> dict[str, str]:
    """The environment of the zygote: no secrets, for a program can read its own initial environment in /proc."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    package_root = str(Path(__file__).parents[1])
    return kept | {
        "PYTHONPATH": os.pathsep.join(filter(None, (package_root, kept.get("PYTHONPATH")))),
        # The same program prints a set in the same order whichever worker runs it.
        "PYTHONHASHSEED": "0",
        # Or every program looks up for itself those functions of the C library that its worker has no use for.
        "LD_BIND_NOW": "1",
        # Threads do not survive a fork, and their stacks count as address space.
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }
