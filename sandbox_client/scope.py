"""A stretch of a task's work that can be ended from outside, and the task not with it."""

import asyncio
from types import TracebackType
from typing import Self


class Interrupted(Exception):
    """The work of a scope was ended. Carries why."""


class Scope:
    """Ends its own work as asyncio.timeout does, so that whoever cancels the task at the same time is heard too.

    Used by each call, which asyncio.timeout's coroutines would cost twice as much.
    """

    __slots__ = ("_before", "_task", "interrupted")

    def __init__(self) -> None:
        self.interrupted: str | None = None
        """Why the work was ended, if it was."""
        self._task: asyncio.Task[object] | None = None

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        assert self._task is not None
        self._before = self._task.cancelling()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        # Whoever cancelled the task as well wants it to end, and not to hear of the scope.
        if (
            self.interrupted is not None
            and task is not None
            and task.uncancel() <= self._before
            and kind is asyncio.CancelledError
        ):
            raise Interrupted(self.interrupted) from None

    def interrupt(self, why: str) -> None:
        """End the work: Interrupted comes out of the scope. Harmless when it is over."""
        if self._task is not None and self.interrupted is None:
            self.interrupted = why
            self._task.cancel()
