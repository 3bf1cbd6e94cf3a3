"""Keeps a client's endpoints those of the servers that Ray hosts. The only rollout file that talks to the fleet."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from ray.actor import ActorHandle
from ray.exceptions import RayActorError

from sandbox_client import SandboxClient
from verl_tir.fleet import Roster, join_fleet

logger = logging.getLogger(__name__)

_FOLLOW_SECONDS = 2.0


class RosterFollower:
    """The fleet as one process sees it."""

    def __init__(self, fleet: ActorHandle, roster: Roster) -> None:
        self._fleet = fleet
        self._roster = roster
        self._following: asyncio.Task[None] | None = None

    @classmethod
    async def join(cls, settings: Mapping[str, Any]) -> RosterFollower:
        """Find the job's fleet, or start it with `settings`, and wait until a server runs.

        Raises:
            RuntimeError: no node could start a server; the message says why for each.
        """
        fleet = await asyncio.to_thread(join_fleet, settings)
        roster: Roster = await fleet.roster.remote()
        if not roster.endpoints:
            raise RuntimeError("tir.sandbox.endpoints=ray: no node has a sandbox server: " + "; ".join(roster.problems))
        logger.info("tir.sandbox.endpoints=ray: programs run at %s", ", ".join(roster.endpoints))
        return cls(fleet, roster)

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Base URLs of the servers that ran at the last look."""
        return self._roster.endpoints

    @property
    def token(self) -> str:
        """The servers' bearer token."""
        return self._roster.token

    def follow(self, client: SandboxClient) -> None:
        """Tell `client` of servers that come and go, for as long as this process lives."""
        self._following = asyncio.create_task(self._follow(client))

    async def _follow(self, client: SandboxClient) -> None:
        while True:
            await asyncio.sleep(_FOLLOW_SECONDS)
            try:
                roster: Roster = await self._fleet.roster.remote()
            except RayActorError as error:  # Ray starts it again; until then the servers known are as good as any
                logger.warning("the sandbox fleet does not answer: %s", error)
                continue
            # With none running, the client goes on waiting for those it knows.
            if roster.endpoints and set(roster.endpoints) != set(client.endpoints):
                logger.info("sandbox servers: %s", ", ".join(roster.endpoints))
                client.set_endpoints(roster.endpoints)
            self._roster = roster
