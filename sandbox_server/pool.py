"""The server's side of the workers: who is free, who waits, and what to do when one is lost."""

import asyncio
import logging
import os
from collections import Counter, deque
from dataclasses import dataclass, replace
from enum import StrEnum

from sandbox_server.config import ServerConfig
from sandbox_server.frames import Job, ProgramReport, ProgramStatus
from sandbox_server.isolation import Isolation, candidates
from sandbox_server.worker_handle import OrderNotTaken, WorkerHandle, WorkerLost
from sandbox_server.worker_pairs import WorkerPair, WorkerPairs

logger = logging.getLogger(__name__)

_Runner = WorkerHandle | WorkerPair

_REPLACE_PAUSE = (0.0, 0.1, 0.5, 2.0)  # seconds before each try to replace a worker; the last one repeats


class _JobEnd(StrEnum):
    """What came of a job on one worker."""

    DONE = "done"
    """The worker reported on the program."""

    NOT_TAKEN = "not taken"
    """The worker ended without having taken the job."""

    NOT_PREPARED = "not prepared"
    """The worker could not begin the program."""

    LOST = "lost"
    """The worker ended, or failed, with the program."""


_TRIES = {_JobEnd.NOT_TAKEN: 8, _JobEnd.NOT_PREPARED: 2, _JobEnd.LOST: 2}
"""After how many endings of a kind a job is given to no other worker.

A worker that ends between programs must cost no call. One that cannot begin a program may have been spoilt by the one
before. One that ends with a program may have done so by chance, two with the same program hardly.
"""


@dataclass(frozen=True)
class _JobAttempt:
    """A job on one worker."""

    ending: _JobEnd
    """What came of it."""

    report: ProgramReport
    """The worker's, or what to answer when no other worker is to try."""


class QueueFull(Exception):
    """As many calls wait as may; the caller should come back."""


class QueueTimeout(Exception):
    """No worker came free in `queue_timeout`."""


class PoolClosed(Exception):
    """The server is shutting down."""


class WorkerPool:
    """Runs jobs on a fixed number of workers, first come, first served."""

    def __init__(self, config: ServerConfig, levels: tuple[Isolation, ...] | None = None) -> None:
        """`levels`: the isolation levels to try, strongest first; by default all that this user may have."""
        self._config = config
        self._workers = WorkerPairs(config, levels or candidates(is_root=os.getuid() == 0))
        self._idle: deque[_Runner] = deque()
        self._waiting: deque[asyncio.Future[_Runner]] = deque()
        self._running: set[asyncio.Task[_JobAttempt]] = set()
        self._replacing: set[asyncio.Task[None]] = set()
        self._draining = False  # no new calls
        self._closed = False  # no new workers either
        self._calls = 0
        self._no_calls = asyncio.Event()
        self._no_calls.set()
        self.replaced = 0
        """Workers lost and replaced since the start."""

    @property
    def isolation(self) -> Isolation:
        """The level that programs run at; meaningful once started."""
        return self._workers.isolation

    @property
    def waiting(self) -> int:
        """Calls that wait for a worker."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Programs that run."""
        return len(self._running)

    @property
    def alive(self) -> int:
        """Workers that run a program or could."""
        return len(self._idle) + len(self._running)

    async def start(self) -> None:
        """Start the zygote and the workers. Raises SandboxSetupError when no program can be run."""
        await self._workers.start()
        for index in range(self._config.workers):
            self._release(await self._workers.make_worker(index))

    async def run(self, job: Job) -> ProgramReport:
        """Run `job` when its turn comes; when the caller is cancelled, the program is killed.

        A job whose worker is lost goes to another one, as often as `_TRIES` has it. A program that ends its workers
        has failed; what else is in the way is a ProgramReport with status Error. Raises QueueFull, QueueTimeout or
        PoolClosed.
        """
        if self._draining:
            raise PoolClosed("the sandbox server is shutting down")
        self._calls += 1
        self._no_calls.clear()
        try:
            return await self._run(job)
        finally:
            self._calls -= 1
            if self._calls == 0:
                self._no_calls.set()

    async def drain(self, seconds: float) -> bool:
        """Take no new calls, and wait up to `seconds` for those that wait or run; whether all have ended."""
        self._draining = True
        try:
            async with asyncio.timeout(seconds):
                await self._no_calls.wait()
        except TimeoutError:
            return False
        return True

    async def _run(self, job: Job) -> ProgramReport:
        endings: Counter[_JobEnd] = Counter()
        while True:
            worker = await self._acquire(again=endings.total() > 0)
            task = asyncio.create_task(self._run_on(worker, job))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            try:
                # The worker answers in any case, and must be heard before it can be used again.
                attempt = await asyncio.shield(task)
            except asyncio.CancelledError:
                worker.cancel()
                raise
            if attempt.ending is _JobEnd.DONE:
                return attempt.report
            endings[attempt.ending] += 1
            if self._closed or endings[attempt.ending] == _TRIES[attempt.ending]:
                return self._last_word(attempt)

    def _last_word(self, attempt: _JobAttempt) -> ProgramReport:
        # A worker that ends because the server does says nothing of its program.
        if attempt.ending is not _JobEnd.LOST or self._closed:
            return attempt.report
        return replace(attempt.report, status=ProgramStatus.FINISHED, return_code=1)

    async def close(self, grace: float | None = None) -> None:
        """Refuse new calls and those that wait, let running ones finish within the grace, then end every process.

        `grace`: seconds, by default the configured ones.
        """
        self._draining = self._closed = True
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(PoolClosed("the sandbox server is shutting down"))
        if self._running:
            await asyncio.wait(self._running, timeout=self._config.shutdown_grace if grace is None else grace)
        for task in self._replacing:
            task.cancel()
        await self._workers.close()

    def replace_dead(self) -> None:
        """Replace the workers that ended while idle, without waiting for a call to find them."""
        for worker in [worker for worker in self._idle if not worker.alive]:
            self._idle.remove(worker)
            self._lose(worker, "it ended while idle")

    async def _acquire(self, again: bool) -> _Runner:
        """A free worker; a job that tries `again` has had its turn already, and is not turned away."""
        if self._closed:
            raise PoolClosed("the sandbox server is shutting down")
        while self._idle:
            worker = self._idle.popleft()
            if worker.alive:
                return worker
            self._lose(worker, "it ended while idle")
        if len(self._waiting) >= self._config.queue_size and not again:
            raise QueueFull(f"{len(self._waiting)} calls wait already; raise --queue-size or --workers")
        waiter: asyncio.Future[_Runner] = asyncio.get_running_loop().create_future()
        if again:
            self._waiting.appendleft(waiter)
        else:
            self._waiting.append(waiter)
        try:
            async with asyncio.timeout(self._config.queue_timeout):
                return await waiter
        except (TimeoutError, asyncio.CancelledError) as error:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._release(waiter.result())
            if isinstance(error, TimeoutError):
                raise QueueTimeout(f"no worker came free in {self._config.queue_timeout} s") from error
            raise
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)

    def _release(self, worker: _Runner) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(worker)
                return
        self._idle.append(worker)

    async def _run_on(self, worker: _Runner, job: Job) -> _JobAttempt:
        try:
            report = await worker.run(job)
        except WorkerLost as lost:
            self._lose(worker, str(lost))
            ending = _JobEnd.NOT_TAKEN if isinstance(lost, OrderNotTaken) else _JobEnd.LOST
            report = ProgramReport(ProgramStatus.ERROR, stderr=f"the sandbox worker was lost: {lost}")
            return _JobAttempt(ending, report)
        if report.status is ProgramStatus.ERROR:
            self._lose(worker, f"it failed at a program: {report.stderr}")
            return _JobAttempt(_JobEnd.LOST if report.began else _JobEnd.NOT_PREPARED, report)
        if report.residue:
            self._lose(worker, f"it could not clean up after a program: {report.residue}")
        else:
            self._release(worker)
        return _JobAttempt(_JobEnd.DONE, report)

    def _lose(self, worker: _Runner, why: str) -> None:
        worker.close()
        if self._closed:
            return
        logger.warning("worker %d is lost and will be replaced: %s", worker.index, why)
        task = asyncio.create_task(self._replace(worker.index))
        self._replacing.add(task)
        task.add_done_callback(self._replacing.discard)

    async def _replace(self, index: int) -> None:
        tries = 0
        while not self._closed:
            await asyncio.sleep(_REPLACE_PAUSE[min(tries, len(_REPLACE_PAUSE) - 1)])
            tries += 1
            try:
                worker = await self._workers.make_worker(index)
            except WorkerLost as error:
                logger.error("worker %d cannot be replaced, will try again: %s", index, error)
            else:
                self.replaced += 1
                self._release(worker)
                return
