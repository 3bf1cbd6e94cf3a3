"""The command `python -m sandbox_server`, also `verl-tir sandbox`: every field of ServerConfig is a flag."""

import ast
import asyncio
import contextlib
import inspect
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from sandbox_server.config import ServerConfig
from sandbox_server.log_format import configure

logger = logging.getLogger(__name__)

GROUPS = {
    "network": ("host", "port", "token_file", "token_env", "max_request_mb"),
    "workers and queue": ("workers", "queue_size", "queue_timeout", "drain_seconds", "shutdown_grace", "preload"),
    "limits of a program": (
        *("max_run_timeout", "memory_limit_mb", "max_memory_limit_mb", "max_processes", "max_open_files"),
        *("max_file_mb", "scratch_mb", "max_output_bytes"),
    ),
    "isolation": ("isolation",),
    "logging": ("log_format", "log_requests"),
}
"""The groups of --help and the fields in each."""

_EMBEDDING = ("announce_fd", "exit_on_stdin_eof", "help")


@dataclass(frozen=True)
class Invocation:
    """A parsed command line."""

    config: ServerConfig
    """The server's settings."""

    announce_fd: int | None
    """Descriptor that receives the endpoint and a newline once the server answers."""

    exit_on_stdin_eof: bool
    """Shut down when standard input closes, so as not to outlive whoever holds its other end."""


class _GroupedCommand(TyperCommand):
    """Writes the options of --help group by group."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        parameters = {parameter.name: parameter for parameter in self.get_params(ctx)}
        for title, names in (*GROUPS.items(), ("embedding", _EMBEDDING)):
            with formatter.section(title):
                formatter.write_dl([parameters[name].get_help_record(ctx) for name in names])


def parse_arguments(arguments: Sequence[str]) -> Invocation:
    """The invocation for `arguments`. Exits with a usage message, status 2, or after --help."""
    parsed: list[Invocation] = []
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(cls=_GroupedCommand)(_callback(parsed.append))
    try:
        app(args=list(arguments), prog_name="verl-tir sandbox")
    except SystemExit:
        if not parsed:
            raise
    return parsed[0]


def field_docs() -> dict[str, str]:
    """The docstring of each field of ServerConfig: the string that stands after it in the source."""
    (definition,) = ast.parse(inspect.getsource(ServerConfig)).body
    docs = {}
    for field, following in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(following, ast.Expr):
            docs[field.target.id] = " ".join(ast.literal_eval(following.value).split())
    return docs


def _callback(receive: Callable[[Invocation], None]) -> Callable[..., None]:
    """The function that typer calls; its parameters are the fields of ServerConfig, so that each stands once."""

    def serve_sandbox(announce_fd: int | None, exit_on_stdin_eof: bool, **values: Any) -> None:
        """Serve the embedded sandbox in the foreground."""
        try:
            config = ServerConfig(**values | {"preload": tuple(filter(None, values["preload"].split(",")))})
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
        receive(Invocation(config, announce_fd, exit_on_stdin_eof))

    docs, defaults = field_docs(), ServerConfig()
    options = {name: _option(name, getattr(defaults, name), docs[name]) for names in GROUPS.values() for name in names}
    announce = typer.Option("--announce-fd", help="Descriptor that gets the endpoint once the server answers.")
    on_eof = typer.Option("--exit-on-stdin-eof", help="Shut down when standard input closes.")
    options |= {"announce_fd": (Annotated[int | None, announce], None)}
    options |= {"exit_on_stdin_eof": (Annotated[bool, on_eof], False)}
    serve_sandbox.__annotations__ = {name: annotation for name, (annotation, _) in options.items()}
    serve_sandbox.__signature__ = inspect.Signature(
        [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for name, (annotation, default) in options.items()
        ]
    )
    return serve_sandbox


def _option(name: str, default: object, doc: str) -> tuple[object, object]:
    """A parameter's annotation and default."""
    flag, kind = "--" + name.replace("_", "-"), type(default)
    if isinstance(default, bool):
        return Annotated[bool, typer.Option(f"{flag}/--no-{flag[2:]}", help=doc)], default
    if isinstance(default, tuple):
        return Annotated[str, typer.Option(flag, help=doc, metavar="MODULE,...")], ",".join(default)
    metavar = None if isinstance(default, Enum) else {int: "N", float: "X", str: "TEXT"}[kind]
    return Annotated[kind, typer.Option(flag, help=doc, metavar=metavar, show_default=default != "" or "none")], default


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    invocation = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    configure(invocation.config.log_format)
    # Not for --help, which would take three times as long.
    from sandbox_server.auth import ServerTokenError
    from sandbox_server.server import serve
    from sandbox_server.worker_factory import SandboxSetupError

    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve(invocation.config, invocation.announce_fd, invocation.exit_on_stdin_eof))
    except (SandboxSetupError, ServerTokenError, OSError) as error:
        logger.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
