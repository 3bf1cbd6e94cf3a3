"""Comparisons in reused worker processes, each bounded in wall time and memory.

What text and numbers settle is settled at once, and what was settled before is remembered; only algebra takes a
worker. A comparison that cannot be finished is a result, `Verdict.UNDECIDED`, and costs no other comparison anything.
One whose worker dies is done once more in a fresh one, for whatever killed the worker may have been no fault of it.
Exceptions are for the pool itself:

    ScoringError
     ├── WorkerStartError   the worker program does not come up here (a package is missing)
     └── PoolClosedError    the pool was closed before or during the comparison

The pool lives on an event loop of its own, in a thread of its own, so that any loop of any thread can wait for its
verdicts.
"""

import asyncio
import logging
import threading
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from typing import Any

from math_answers.equivalence import settled
from math_answers.process import (
    OutOfTimeError,
    PoolLimits,
    ScoringError,
    WorkerDiedError,
    WorkerProcess,
    WorkerStartError,
)
from math_answers.verdict import Verdict, VerdictCache

logger = logging.getLogger(__name__)

# The caches of sympy and of its LaTeX parser grow with every new expression, against a fixed memory limit.
COMPARISONS_PER_WORKER = 2_000
# More than one, since a crowded machine may kill a process for reasons of its own.
START_ATTEMPTS = 3
# Twice is not an accident: then the comparison kills its worker.
COMPARE_ATTEMPTS = 2


class PoolClosedError(ScoringError):
    """The pool was closed before or during the comparison."""


class ScoringPool:
    """Up to `workers` worker processes, started when first needed and replaced when they hang or die.

    Thread-safe. Not usable in a forked child of the process that made it.
    """

    def __init__(self, workers: int, timeout: float, memory_limit_mb: int):
        """A pool that has started nothing yet.

        Args:
            workers: comparisons that run at the same time, one process each.
            timeout: wall time of one comparison, in seconds. Neither the wait for a free worker nor a worker's start-up
                counts.
            memory_limit_mb: address space of one worker, in MiB.

        Raises:
            ValueError: an argument out of range.
        """
        self._limits = PoolLimits(workers, timeout, memory_limit_mb)
        self._free: asyncio.LifoQueue[WorkerProcess | None] = asyncio.LifoQueue()
        # None is a place without a process. Last in, first out: what is running is used before anything is started.
        for _ in range(workers):
            self._free.put_nowait(None)
        self._running: set[WorkerProcess] = set()
        self._comparisons: set[asyncio.Task[Any]] = set()
        self._guard = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closed = False
        self._ending = False
        self._known = VerdictCache()

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """Process ids of the workers that are up."""
        return tuple(worker.pid for worker in tuple(self._running))

    async def compare(self, answer: str, ground_truth: str | Sequence[str]) -> Verdict:
        """Whether `answer` is `ground_truth`, or one of several accepted answers. Awaitable from any event loop.

        A comparison that is cancelled takes its worker with it, if it had begun.

        Raises:
            PoolClosedError: the pool is closed, or was closed meanwhile.
            WorkerStartError: the pool's processes do not come up.
        """
        accepted = [ground_truth] if isinstance(ground_truth, str) else list(ground_truth)
        if self._closed:
            raise PoolClosedError("the scoring pool is closed")
        known = self._known.get(answer, accepted)
        if known is not None:
            return known
        same = settled(answer, accepted)
        if same is not None:
            return Verdict.of(same)
        verdict = await asyncio.wrap_future(self._submit(self._compare(answer, accepted)))
        self._known.put(answer, accepted, verdict)
        return verdict

    async def reads(self, text: str) -> Verdict:
        """Whether `text` reads as a value: `CORRECT` (it equals itself) if so, `WRONG` if only the same text equals it.

        Raises:
            PoolClosedError: the pool is closed, or was closed meanwhile.
            WorkerStartError: the pool's processes do not come up.
        """
        return await asyncio.wrap_future(self._submit(self._compare(text, None)))

    def close(self) -> None:
        """End all workers and wait until they are gone. Closing twice is allowed.

        Comparisons under way raise PoolClosedError.
        """
        with self._guard:
            self._closed = True
            loop, self._loop = self._loop, None
            thread, self._thread = self._thread, None
        if loop is None or thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._end_all(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    async def aclose(self) -> None:
        """`close`, without blocking the calling event loop."""
        await asyncio.get_running_loop().run_in_executor(None, self.close)

    def _submit(self, comparison: Coroutine[Any, Any, Verdict]) -> Future[Verdict]:
        with self._guard:
            if self._closed:
                comparison.close()
                raise PoolClosedError("the scoring pool is closed")
            if self._loop is None:
                # A plain selector loop, whatever the loop policy of the host (uvloop under Ray).
                self._loop = asyncio.SelectorEventLoop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="scoring-pool", daemon=True)
                self._thread.start()
            return asyncio.run_coroutine_threadsafe(comparison, self._loop)

    async def _compare(self, answer: str, accepted: list[str] | None) -> Verdict:
        task = asyncio.current_task()
        assert task is not None
        self._comparisons.add(task)
        try:
            worker = await self._free.get()
            return await self._compare_with(worker, answer, accepted)
        except asyncio.CancelledError:
            # Whoever cancelled a comparison of his own does not wait for an error.
            if self._ending:
                raise PoolClosedError("the scoring pool was closed during the comparison") from None
            raise
        finally:
            self._comparisons.discard(task)

    async def _compare_with(self, worker: WorkerProcess | None, answer: str, accepted: list[str] | None) -> Verdict:
        usable = False
        attempt = 1
        try:
            while True:
                if worker is not None and not worker.is_alive:
                    # It died between comparisons: no fault of this one.
                    self._end(worker)
                    worker = None
                if worker is None:
                    worker = await self._start()
                try:
                    verdict = await worker.compare(answer, accepted, self._limits.timeout)
                except OutOfTimeError as error:
                    logger.warning("undecided: %s; answer %.80r, ground truth %.80r", error, answer, accepted)
                    return Verdict.UNDECIDED
                except WorkerDiedError as error:
                    if attempt == COMPARE_ATTEMPTS:
                        logger.warning("undecided: %s again; answer %.80r, ground truth %.80r", error, answer, accepted)
                        return Verdict.UNDECIDED
                    logger.warning("%s; its comparison is done once more in a fresh one", error)
                    self._end(worker)
                    worker = None
                    attempt += 1
                else:
                    usable = worker.served < COMPARISONS_PER_WORKER
                    return verdict
        finally:
            if worker is not None and not usable:
                self._end(worker)
                worker = None
            self._free.put_nowait(worker)

    async def _start(self) -> WorkerProcess:
        attempt = 1
        while True:
            try:
                worker = await WorkerProcess.start(self._limits)
            except WorkerStartError as error:
                if attempt == START_ATTEMPTS:
                    raise
                logger.warning("attempt %d of %d: %s", attempt, START_ATTEMPTS, error)
                attempt += 1
            else:
                self._running.add(worker)
                return worker

    def _end(self, worker: WorkerProcess) -> None:
        self._running.discard(worker)
        worker.end()

    async def _end_all(self) -> None:
        self._ending = True
        comparisons = tuple(self._comparisons)
        for comparison in comparisons:
            comparison.cancel()
        await asyncio.gather(*comparisons, return_exceptions=True)
        for worker in tuple(self._running):
            self._end(worker)
        # Every end is a wait in the loop's executor.
        await asyncio.get_running_loop().shutdown_default_executor()
