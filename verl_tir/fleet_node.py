"""One Ray node's sandbox server, held by an actor on that node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ray

from verl_tir.sandbox_server.config import ServerConfig
from verl_tir.sandbox_server.resident import ResidentSandbox


class SandboxNode:
    """Starts a server on its own node and keeps it running. The server ends with the actor, however that ends."""

    def __init__(self, settings: Mapping[str, Any], token: str) -> None:
        """`settings`: fields of ServerConfig. What is left out, such as the number of workers, is the node's own."""
        config = ServerConfig(**{"host": ray.util.get_node_ip_address(), "port": 0, **settings})
        self._server = ResidentSandbox(config, token)

    def ensure(self) -> str:
        """The server's endpoint. Raises SandboxStartError when it cannot be started."""
        return self._server.ensure()

    def pid(self) -> int:
        """Process id of the running server."""
        return self._server.pid
