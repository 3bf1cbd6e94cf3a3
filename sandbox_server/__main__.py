"""ServerConfig as a command line, both ways."""

import argparse
import ast
import inspect
from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import StrEnum

from sandbox_server.config import ServerConfig

GROUPS = {
    "network": ("host", "port", "token_file", "token_env", "max_request_mb"),
    "workers and queue": (*("workers", "queue_size", "queue_timeout", "drain_seconds", "shutdown_grace", "preload"),),
    "limits of a program": (
        *("max_run_timeout", "memory_limit_mb", "max_memory_limit_mb", "max_processes", "max_open_files"),
        *("max_file_mb", "scratch_mb", "max_output_bytes"),
    ),
    "isolation": ("isolation",),
    "logging": ("log_format", "log_requests"),
}
"""The groups of --help and the fields in each."""


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
    helps, defaults = field_docs(), ServerConfig()
    for title, names in GROUPS.items():
        group = parser.add_argument_group(title)
        for name in names:
            _add(group, name, getattr(defaults, name), helps[name])
    embedding = parser.add_argument_group("embedding")
    embedding.add_argument("--announce-fd", type=int, help="Descriptor that gets the endpoint once the server answers.")
    embedding.add_argument("--exit-on-stdin-eof", action="store_true", help="Shut down when standard input closes.")
    values = vars(parser.parse_args(arguments))
    announce_fd, exit_on_stdin_eof = values.pop("announce_fd"), values.pop("exit_on_stdin_eof")
    try:
        config = ServerConfig(**values)
    except ValueError as error:
        parser.error(str(error))
    return Invocation(config, announce_fd, exit_on_stdin_eof)


def server_arguments(config: ServerConfig) -> list[str]:
    """The command line that reproduces `config` on this machine; what is as by default is left out."""
    defaults = ServerConfig()
    arguments = []
    for field in fields(config):
        value = getattr(config, field.name)
        flag = field.name.replace("_", "-")
        if value == getattr(defaults, field.name):
            continue
        if isinstance(value, bool):
            arguments.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            arguments.append(f"--{flag}={','.join(value) if isinstance(value, tuple) else value}")
    return arguments


def field_docs() -> dict[str, str]:
    """The docstring of each field of ServerConfig: the string that stands after it in the source."""
    (definition,) = ast.parse(inspect.getsource(ServerConfig)).body
    docs = {}
    for field, following in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(following, ast.Expr):
            docs[field.target.id] = " ".join(ast.literal_eval(following.value).split())
    return docs


def _add(group: argparse._ArgumentGroup, name: str, default: object, doc: str) -> None:
    flag, doc = "--" + name.replace("_", "-"), doc.replace("%", "%%")
    if isinstance(default, bool):
        group.add_argument(flag, action=argparse.BooleanOptionalAction, default=default, help=doc)
    elif isinstance(default, tuple):
        shown = f"{doc} (default: {','.join(default)})"
        group.add_argument(flag, type=_names, default=default, metavar="MODULE,...", help=shown)
    elif isinstance(default, StrEnum):
        kind = type(default)
        shown = f"{doc} (default: {default})"
        group.add_argument(flag, type=kind, choices=tuple(kind), default=default, help=shown)
    else:
        metavar = {int: "N", float: "X", str: "TEXT"}[type(default)]
        shown = f"{doc} (default: {default})" if default != "" else f"{doc} (default: none)"
        group.add_argument(flag, type=type(default), default=default, metavar=metavar, help=shown)


def _names(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split(",")))
