"""An embedded server that stays: when it has ended, for whatever reason, it is started again on the same port."""

from __future__ import annotations

import logging
from dataclasses import replace
from urllib.parse import urlsplit

from sandbox_server.config import ServerConfig
from sandbox_server.launcher import EmbeddedSandbox, SandboxStartError

logger = logging.getLogger(__name__)


class ResidentSandbox:
    """Holds one embedded server at a time. Blocking; whoever holds it calls `ensure` now and then."""

    def __init__(self, config: ServerConfig, token: str) -> None:
        self._config = config
        self._token = token
        self._server: EmbeddedSandbox | None = None

    def ensure(self) -> str:
        """The endpoint of the server, which is started first where it does not run.

        Raises:
            SandboxStartError: it does not start; the message carries its log.
        """
        if self._server is not None and self._server.running:
            return self._server.endpoint
        if self._server is not None:
            logger.warning("the sandbox server at %s has ended; starting it again", self._server.endpoint)
            self._server.close()
        self._server = EmbeddedSandbox(self._config, token=self._token)
        try:
            endpoint = self._server.start()
        except SandboxStartError:
            self._server = None
            # Whatever took the old port may keep it.
            self._config = replace(self._config, port=0)
            raise
        # The same port after a restart, so that those who know the endpoint find the server again.
        self._config = replace(self._config, port=urlsplit(endpoint).port)
        return endpoint

    def close(self) -> None:
        """End the server, if it runs."""
        if self._server is not None:
            self._server.close()
            self._server = None

    @property
    def pid(self) -> int:
        """Process id of the server. Raises RuntimeError where none was started."""
        if self._server is None:
            raise RuntimeError("the sandbox server is not running: call ensure()")
        return self._server.pid
