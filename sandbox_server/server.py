"""The server in the foreground: starts the pool and the HTTP side, and ends both when it is told to."""

import asyncio
import logging
import os
import signal
import sys
from enum import StrEnum

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from sandbox_server.app import Service
from sandbox_server.auth import TokenGate, is_loopback, load_token
from sandbox_server.config import ServerConfig, default_preload, missing_preload
from sandbox_server.connections import ConnectionLimits, Connections, make_room
from sandbox_server.pool import WorkerPool

logger = logging.getLogger(__name__)


class _Ending(StrEnum):
    """What tells the server to end."""

    SIGNAL = "a signal"
    HANG_UP = "the end of standard input"


async def serve(config: ServerConfig, announce_fd: int | None, exit_on_stdin_eof: bool) -> None:
    """Serve until SIGTERM or SIGINT, or until standard input closes if `exit_on_stdin_eof`.

    `announce_fd` receives the endpoint and a newline once the server answers.

    A signal lets queued and running programs finish, within `drain_seconds`; another one ends them at once.
    Raises SandboxSetupError, ServerTokenError, OSError.
    """
    gate = TokenGate(load_token(config))
    _warn(config, gate)
    endings: asyncio.Queue[_Ending] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, endings.put_nowait, _Ending.SIGNAL)
    if exit_on_stdin_eof:
        loop.add_reader(sys.stdin.fileno(), _stop_reading, loop, endings)
    make_room(config.workers, config.queue_size + config.workers)
    pool = WorkerPool(config)
    connections = Connections()
    service = Service(pool, config, gate, connections)
    logging.getLogger("aiohttp.server").addFilter(_is_ours)
    runner = web.AppRunner(
        service.application(),
        access_log=None,
        # A caller that hangs up must not leave its program running.
        handler_cancellation=True,
        shutdown_timeout=1.0,
        # A small body can become a large one, and the event loop would see to it before anybody asks for the token.
        auto_decompress=False,
    )
    await runner.setup()
    grace = 0.0
    try:
        await pool.start()
        limits = ConnectionLimits.of_this_process()
        connections.start(limits.most)
        assert runner.server is not None  # set up above
        listening = await loop.create_server(
            connections.guard(runner.server), config.host, config.port, backlog=limits.backlog
        )
        endpoint = _endpoint(listening)
        logger.info("sandbox server at %s, %d workers", endpoint, config.workers)
        if announce_fd is not None:
            with os.fdopen(announce_fd, "w") as announce:
                announce.write(endpoint + "\n")
        ending = await endings.get()
        logger.info("sandbox server stops: %s", ending)
        if ending is _Ending.SIGNAL:
            service.stop_admitting(config.drain_seconds)
            await _drain(pool, config.drain_seconds, endings)
        else:
            grace = config.shutdown_grace
        listening.close()
    finally:
        connections.stop()
        await pool.close(grace)
        await runner.cleanup()


async def _drain(pool: WorkerPool, seconds: float, endings: asyncio.Queue[_Ending]) -> None:
    """Wait for the pool to drain, or for a second signal."""
    drained, hurried = asyncio.ensure_future(pool.drain(seconds)), asyncio.ensure_future(endings.get())
    await asyncio.wait((drained, hurried), return_when=asyncio.FIRST_COMPLETED)
    if not (drained.done() and drained.result()):
        logger.warning("programs that have not finished are ended")
    for task in (drained, hurried):
        task.cancel()


def _is_ours(record: logging.LogRecord) -> bool:
    """Whether an error of the HTTP side is one of this server; what strangers send must not fill the log."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError | web.RequestPayloadError)


def _warn(config: ServerConfig, gate: TokenGate) -> None:
    if gate.is_open and not is_loopback(config.host):
        logger.warning(
            "anybody who reaches %s can run code here: set --token-file or --token-env, or listen on 127.0.0.1",
            config.host,
        )
    if config.preload == default_preload() and missing_preload():
        logger.warning(
            "not installed, so not there for programs: %s; install it, or name in --preload what there is",
            ", ".join(missing_preload()),
        )


def _stop_reading(loop: asyncio.AbstractEventLoop, endings: asyncio.Queue[_Ending]) -> None:
    # A closed pipe stays readable, and would call again and again.
    loop.remove_reader(sys.stdin.fileno())
    endings.put_nowait(_Ending.HANG_UP)


def _endpoint(listening: asyncio.Server) -> str:
    host, port = listening.sockets[0].getsockname()[:2]
    # Nobody can connect to the address that means "everywhere".
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
