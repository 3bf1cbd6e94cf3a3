"""An embedded, Sandbox Fusion-compatible server that runs Python programs.

`EmbeddedSandbox` starts one as a subprocess; `python -m sandbox_server` runs one in the foreground.

Processes, from the outside in. Each ends when the one before it does, because each holds one end of a socket. From the
zygote on there are two of each, with the preloaded libraries and without (staff.py):

    server    asyncio and HTTP; admits calls, never runs a program      app.py, pool.py
    zygote    imports the preload modules once, forks workers           zygote.py
    keeper    enters the worker's namespaces, adopts what it leaves     zygote.py
    worker    one program at a time: fork, limit, collect, kill, reap   worker.py
    program   a fresh fork, so no state passes to the next              child.py

Linux only: it needs fork, prctl and /proc.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandbox_server.config import ServerConfig
    from sandbox_server.launcher import EmbeddedSandbox, SandboxStartError

__all__ = ["EmbeddedSandbox", "SandboxStartError", "ServerConfig"]

_HOMES = {"EmbeddedSandbox": "launcher", "SandboxStartError": "launcher", "ServerConfig": "config"}


def __getattr__(name: str) -> object:
    """Imported when asked for: the zygote needs none of it, and what the zygote has in memory every fork shares."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
