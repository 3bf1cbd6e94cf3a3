"""Pairs of workers: one with the preloaded libraries, and a plain one. A program runs on one of the two.

A fork costs what its parent's memory takes to share. A program that names none of the libraries is forked from an
interpreter without them, which takes less than half the time; one that it imports all the same comes from disk.
"""

import asyncio
import logging
import sys
from collections.abc import Iterable
from dataclasses import replace

from sandbox_server.config import ServerConfig
from sandbox_server.frames import Job, ProgramReport
from sandbox_server.isolation import Isolation
from sandbox_server.program_users import ProgramUsers
from sandbox_server.worker_factory import SandboxSetupError, WorkerFactory, users_for
from sandbox_server.worker_handle import WorkerHandle, WorkerLost

logger = logging.getLogger(__name__)

_PLAIN = (
    *("bisect", "cmath", "collections", "copy", "dataclasses", "datetime", "decimal", "fractions", "functools"),
    *("heapq", "itertools", "json", "math", "operator", "random", "re", "statistics", "string", "time", "typing"),
)
"""What the plain interpreter has loaded: the standard library's modules that short programs import."""

_BROUGHT_ALONG = {"sympy": ("mpmath",)}
"""Libraries that come with a preloaded one and that programs import by their own names."""


class WorkerPair:
    """Two workers, used as one: only one of them has a program at a time."""

    def __init__(self, plain: WorkerHandle, loaded: WorkerHandle, libraries: tuple[str, ...]) -> None:
        self.index = loaded.index
        self._plain = plain
        self._loaded = loaded
        self._libraries = libraries
        self._busy = loaded

    async def run(self, job: Job) -> ProgramReport:
        """Run `job` on the worker that suits it and return its report; raises WorkerLost."""
        self._busy = self._loaded if names_any(job, self._libraries) else self._plain
        return await self._busy.run(job)

    @property
    def alive(self) -> bool:
        """Whether neither worker has hung up."""
        return self._plain.alive and self._loaded.alive

    def cancel(self) -> None:
        """Have the running program killed; the report still comes."""
        self._busy.cancel()

    def close(self) -> None:
        """End both workers, and with them the program that one of them runs."""
        self._plain.close()
        self._loaded.close()


class WorkerPairs:
    """Owns the factories of both kinds of workers."""

    def __init__(self, config: ServerConfig, levels: tuple[Isolation, ...]) -> None:
        """`levels`: the isolation to try, strongest first."""
        self._config = config
        self._levels = levels
        self._users: ProgramUsers | None = None
        self._loaded = WorkerFactory(config, levels)
        self._plain: WorkerFactory | None = None
        self._libraries = libraries(config.preload)

    @property
    def isolation(self) -> Isolation:
        """The level that programs run at; meaningful once started."""
        return self._loaded.isolation

    async def start(self) -> None:
        """Start what workers are made from. Raises SandboxSetupError."""
        self._users = users_for(self._config, self._levels)
        try:
            await self._loaded.start(self._users.ids)
            self._loaded.log_isolation()
            if self._libraries:
                self._plain = WorkerFactory(replace(self._config, preload=_PLAIN), (self._loaded.isolation,))
                await self._plain.start(self._users.ids)
        except SandboxSetupError:
            await self.close()
            raise

    async def make_worker(self, index: int) -> WorkerHandle | WorkerPair:
        """A new pair, or a single worker where nothing is preloaded; ready for jobs. Raises WorkerLost."""
        loaded = await self._loaded.make_worker(index)
        if self._plain is None:
            return loaded
        try:
            plain = await self._plain.make_worker(index)
        except WorkerLost:
            loaded.close()
            raise
        return WorkerPair(plain, loaded, self._libraries)

    async def close(self) -> None:
        """End every process, and remove what they had on disk."""
        factories = [factory for factory in (self._loaded, self._plain) if factory is not None]
        await asyncio.gather(*(factory.close() for factory in factories))
        if self._users is not None:
            self._users.release()


def libraries(preload: Iterable[str]) -> tuple[str, ...]:
    """The names by which programs ask for what `preload` loads beyond the standard library."""
    found = {module.partition(".")[0] for module in preload} - sys.stdlib_module_names
    return tuple(sorted(found | {name for module in found for name in _BROUGHT_ALONG.get(module, ())}))


def names_any(job: Job, names: tuple[str, ...]) -> bool:
    """Whether one of `names` stands anywhere in the source of `job`, even in a comment: being wrong costs time only."""
    sources = [job.code] if job.cells is None else job.cells
    return any(name in source for source in sources for name in names)
