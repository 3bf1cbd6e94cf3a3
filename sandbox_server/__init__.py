"""An embedded, Sandbox Fusion-compatible server that runs Python programs.

`EmbeddedSandbox` starts one as a subprocess, `ResidentSandbox` one that is started again when it ends, and
`python -m sandbox_server` runs one in the foreground.

Processes, from the outside in. Each ends when the one before it does, because each holds one end of a socket. From the
zygote on there are two of each, with the preloaded libraries and without (worker_pairs.py):

    server    asyncio and HTTP; admits calls, never runs a program      server.py, app.py, pool.py
    zygote    imports the preload modules once, forks workers           zygote.py
    keeper    enters the worker's namespaces, adopts what it leaves     zygote.py
    worker    one program at a time: fork, limit, collect, kill, reap   worker.py
    program   a fresh fork, so no state passes to the next              child.py

Linux only: it needs fork, prctl and /proc.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandbox_server.config import MAX_WORKERS, IsolationPolicy, LogFormat, ServerConfig
    from sandbox_server.launcher import EmbeddedSandbox, ResidentSandbox, SandboxStartError

__all__ = [
    "MAX_WORKERS",
    "EmbeddedSandbox",
    "IsolationPolicy",
    "LogFormat",
    "ResidentSandbox",
    "SandboxStartError",
    "ServerConfig",
]


def __getattr__(name: str) -> object:
    """Imported when asked for: the zygote needs none of it, and what the zygote has in memory every fork shares."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "launcher" if name.endswith(("Sandbox", "StartError")) else "config"
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)
