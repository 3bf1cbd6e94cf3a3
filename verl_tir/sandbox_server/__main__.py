"""The embedded server in the foreground: `verl-tir sandbox`, or `python -m verl_tir.sandbox_server`."""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields

from aiohttp import web

from verl_tir.sandbox_server.app import build_app
from verl_tir.sandbox_server.config import ServerConfig
from verl_tir.sandbox_server.crew import SandboxSetupError
from verl_tir.sandbox_server.pool import WorkerPool

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Invocation:
    """A parsed command line."""

    config: ServerConfig
    """The server's settings."""

    announce_fd: int | None
    """Descriptor that receives the endpoint and a newline once the server answers."""

    exit_on_stdin_eof: bool
    """Shut down when standard input closes, so as not to outlive whoever holds its other end."""


def parse_arguments(arguments: Sequence[str]) -> Invocation:
    """The invocation for `arguments`; every field of ServerConfig is a flag. Exits with a usage message."""
    parser = argparse.ArgumentParser(
        prog="verl-tir sandbox", description="Serve the embedded sandbox in the foreground."
    )
    for field in fields(ServerConfig):
        default = field.default if field.default is not MISSING else field.default_factory()
        flag = "--" + field.name.replace("_", "-")
        if isinstance(default, tuple):
            parser.add_argument(flag, type=_names, default=default, help=f"(default: {','.join(default)})")
        else:
            parser.add_argument(flag, type=type(default), default=default, help=f"(default: {default})")
    parser.add_argument("--announce-fd", type=int, help="descriptor to write the endpoint to once the server answers")
    parser.add_argument("--exit-on-stdin-eof", action="store_true", help="shut down when standard input closes")
    values = vars(parser.parse_args(arguments))
    announce_fd, exit_on_stdin_eof = values.pop("announce_fd"), values.pop("exit_on_stdin_eof")
    try:
        config = ServerConfig(**values)
    except ValueError as error:
        parser.error(str(error))
    return Invocation(config, announce_fd, exit_on_stdin_eof)


async def serve(invocation: Invocation) -> None:
    """Serve until SIGTERM or SIGINT, or until standard input closes if so asked. Raises SandboxSetupError, OSError."""
    config = invocation.config
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if invocation.exit_on_stdin_eof:
        loop.add_reader(sys.stdin.fileno(), _stop_reading, loop, stop)
    pool = WorkerPool(config)
    # A caller that hangs up must not leave its program running.
    runner = web.AppRunner(build_app(pool, config), access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, config.host, config.port)
        await pool.start()
        await site.start()
        endpoint = _endpoint(runner)
        logger.info("sandbox server at %s, %d workers", endpoint, config.workers)
        if invocation.announce_fd is not None:
            with os.fdopen(invocation.announce_fd, "w") as announce:
                announce.write(endpoint + "\n")
        await stop.wait()
        logger.info("sandbox server stops")
        await site.stop()
    finally:
        await pool.close()
        await runner.cleanup()


def _stop_reading(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    # A closed pipe stays readable, and would call again and again.
    loop.remove_reader(sys.stdin.fileno())
    stop.set()


def _endpoint(runner: web.AppRunner) -> str:
    host, port = runner.addresses[0][:2]
    # An address to listen on everywhere is none to connect to.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _names(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split(",")))


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    invocation = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve(invocation))
    except (SandboxSetupError, OSError) as error:
        logger.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
