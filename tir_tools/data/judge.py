"""What the scorer makes of ground truths: asked in one batch, in its own bounded processes."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from math_answers import ScoringPool, Verdict
from tir_tools.data.answer_kind import AnswerKind, answer_kind
from tir_tools.data.progress import Progress, silent

_PLAIN_KINDS = frozenset({AnswerKind.INTEGER, AnswerKind.DECIMAL, AnswerKind.FRACTION})
"""Ground truths that need no parser; most are such."""
_PLAIN_CHARS = 40

_IN_FLIGHT = 256
"""Questions that wait for a worker; more would only take memory."""


class Judge(Protocol):
    """Decides on ground truths."""

    def equal(self, pairs: Sequence[tuple[str, Sequence[str]]]) -> list[Verdict]:
        """For each pair of an answer and accepted answers, whether it is one of them."""
        ...

    def readable(self, answers: Sequence[str]) -> list[Verdict]:
        """For each text, whether it reads as a value: `CORRECT` if it does and equals itself."""
        ...


class PoolJudge:
    """The scorer that training uses, see `math_answers.pool`."""

    def __init__(
        self, workers: int, *, timeout: float = 10.0, memory_limit_mb: int = 2048, progress: Progress = silent
    ) -> None:
        """Nothing is started before it is needed.

        Args:
            workers: processes.
            timeout: wall time for one ground truth, in seconds.
            memory_limit_mb: address space of a process, in MiB.
            progress: told after every ground truth.
        """
        self._pool = ScoringPool(workers, timeout, memory_limit_mb)
        self._progress = progress

    def __enter__(self) -> PoolJudge:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.close()

    def equal(self, pairs: Sequence[tuple[str, Sequence[str]]]) -> list[Verdict]:
        calls = [functools.partial(self._pool.compare, *pair) for pair in pairs]
        return asyncio.run(self._all("comparing ground truths", calls))

    def readable(self, answers: Sequence[str]) -> list[Verdict]:
        asked = list(dict.fromkeys(answer for answer in answers if not _is_plain(answer)))
        calls = [functools.partial(self._pool.reads, answer) for answer in asked]
        verdicts = asyncio.run(self._all("reading ground truths", calls))
        known = dict(zip(asked, verdicts, strict=True))
        return [known.get(answer, Verdict.CORRECT) for answer in answers]

    async def _all(self, stage: str, calls: Sequence[Callable[[], Awaitable[Verdict]]]) -> list[Verdict]:
        limit = asyncio.Semaphore(_IN_FLIGHT)
        done = 0

        async def one(call: Callable[[], Awaitable[Verdict]]) -> Verdict:
            nonlocal done
            async with limit:
                verdict = await call()
            done += 1
            self._progress(stage, done, len(calls))
            return verdict

        return await asyncio.gather(*(one(call) for call in calls))


def _is_plain(answer: str) -> bool:
    return len(answer) <= _PLAIN_CHARS and answer_kind(answer) in _PLAIN_KINDS
