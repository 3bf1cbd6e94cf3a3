"""Which calls a client has open, so that closing it ends them."""

import asyncio
from types import TracebackType
from typing import Self

from sandbox_client.errors import ClientClosedError
from sandbox_client.scope import Interrupted, Scope


class OpenCalls:
    """The calls under way, each in its own task."""

    def __init__(self) -> None:
        self._scopes: set[Scope] = set()
        self._left = asyncio.Event()

    def __len__(self) -> int:
        return len(self._scopes)

    def enter(self) -> "_OpenCall":
        """A context for one call of the current task; ClientClosedError comes out of it when `end` is called."""
        return _OpenCall(self._scopes, self._left)

    async def end(self) -> None:
        """End all calls, and wait until they have."""
        for scope in list(self._scopes):
            scope.interrupt("the sandbox client was closed while this call ran")
        while self._scopes:
            self._left.clear()
            await self._left.wait()


class _OpenCall(Scope):
    __slots__ = ("_left", "_scopes")

    def __init__(self, scopes: set[Scope], left: asyncio.Event) -> None:
        super().__init__()
        self._scopes = scopes
        self._left = left

    def __enter__(self) -> Self:
        self._scopes.add(self)
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._scopes.discard(self)
        if self.interrupted is not None:
            self._left.set()
        try:
            super().__exit__(kind, error, traceback)
        except Interrupted as interrupted:
            raise ClientClosedError(str(interrupted)) from None
