"""The bodies of requests, with the names, types and defaults of Sandbox Fusion's own pydantic models.

A number may be text, as there. Of files: which can be written below the working directory, and which could be there to
fetch.
"""

import base64
import binascii
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any, Self

from pydantic import BaseModel, ValidationError

from sandbox_server.config import ServerConfig

_SHOWN = 60  # characters of a value in a message
_NAME_BYTES = 255  # of one part of a path; the file systems' limit
_PATH_BYTES = 2048  # the system's limit is 4096, and the working directory comes before it
_MOST_PARTS = 100  # of a path: deeper trees overflow the stack of what walks them
_NAMES_BYTES = 1 << 20  # of all paths of a request together
_MOST_FETCHED = 10_000  # files to look for after the run; a notebook may have as many cells
_FILES_PER_MB = 128  # files and directories; half of what the scratch has room for (see private_files.py)
_PAGE = 4096  # bytes; a file takes whole ones
_IGNORED = "IGNORE_THIS_FILE"  # Sandbox Fusion does not write a file with this in its name
_BLANKS = str.maketrans("", "", " \t\r\n")

_EXPECTED = {
    "body": "must be a JSON object",
    "code": "must be a string",
    "stdin": "must be a string or null",
    "cells": "must be a list of strings",
    "files": "must be an object of path to base64 content",
    "fetch_files": "must be a list of strings",
}
"""What to say of a field of the wrong type; of the others, that they must be numbers."""


class BadRequest(ValueError):
    """A request that cannot be honoured; the message names the field, the value and the fix."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name


def show(value: object) -> str:
    """`value` for a message; cut, for it may be anything."""
    text = repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


class RequestBody(BaseModel):
    """What all requests have. Unknown fields are ignored."""

    memory_limit_MB: int = -1
    """MiB of memory; what is not positive means the server's own limit."""

    fetch_files: list[str] = []
    """Relative paths to return after the run."""

    @classmethod
    def of(cls, body: object) -> Self:
        """The request that `body` is. Raises BadRequest."""
        try:
            return cls.model_validate(body)
        except ValidationError as error:
            wrong = error.errors(include_url=False, include_context=False)[0]
            name = str(wrong["loc"][0]) if wrong["loc"] else "body"
            if name == "files" and len(wrong["loc"]) > 1:
                raise BadRequest(name, f"the content of {show(wrong['loc'][1])} is not base64 text") from None
            whole = "whole " if name == "memory_limit_MB" else ""
            reason = _EXPECTED.get(name, f"{show(wrong['input'])} must be a {whole}number")
            raise BadRequest(name, reason) from None


class RunCodeBody(RequestBody):
    """The body of /run_code."""

    # Of any type here: another language is refused in the server's own words.
    language: Any = None
    code: str
    stdin: str | None = None
    compile_timeout: float = 10.0
    """Any will do: there is nothing to compile."""

    run_timeout: float = 10.0
    """Wall seconds."""

    files: dict[str, str | None] = {}
    """Relative path to base64 content; a file without content is left out."""


class RunJupyterBody(RequestBody):
    """The body of /run_jupyter."""

    kernel: Any = "python3"
    cells: list[str]
    cell_timeout: float = 0.0
    """Wall seconds after which a cell is interrupted; 0 for never."""

    total_timeout: float = 45.0
    """Wall seconds of all cells together."""

    files: dict[str, str] = {}


def decoded_files(files: Mapping[str, str | None], config: ServerConfig, *program: str) -> dict[str, bytes]:
    """Path to content of the files to write; one without content is left out.

    `program`: the texts that take room beside them: code, standard input, cells.

    Raises BadRequest for what cannot be written as asked: a path outside the working directory, a file that is a
    directory of another one, content that is not base64, or more than the server gives.
    """
    kept: dict[str, bytes] = {}
    most = config.scratch_mb * _FILES_PER_MB
    if len(files) > most or sum(map(len, files)) > _NAMES_BYTES:
        raise _too_many_files(len(files), most)
    paths = set()
    taken = sum(_room(len(text.encode(errors="surrogatepass"))) for text in program)
    for name, content in files.items():
        if content is None or _IGNORED in name:
            continue
        path = PurePosixPath(name)
        directory = name.rpartition("/")[2] in ("", ".")
        if path.is_absolute() or ".." in path.parts or not path.parts or directory or not _possible(name):
            raise BadRequest("files", f"{show(name)} must be a path inside the working directory")
        paths.add(str(path))
        kept[name] = _decoded(name, content)
        taken += _room(len(kept[name]))
        if len(kept[name]) > config.max_file_mb << 20:
            raise BadRequest(
                "files", f"{show(name)} is larger than {config.max_file_mb} MiB; start the server with --max-file-mb"
            )
    if taken > config.scratch_mb << 20:
        raise BadRequest(
            "files" if kept else "body",
            f"files, code and standard input are more than {config.scratch_mb} MiB together, in whole pages; "
            "send less, or start the server with a larger --scratch-mb",
        )
    directories = _directories(paths)
    if both := directories & paths:
        raise BadRequest("files", f"{show(min(both))} cannot be both a file and the directory of another")
    if len(paths) + len(directories) > most:
        raise _too_many_files(len(paths) + len(directories), most)
    return kept


def _too_many_files(count: int, most: int) -> BadRequest:
    return BadRequest(
        "files",
        f"{count} files and directories are more than {most}, or their paths are longer than {_NAMES_BYTES} bytes "
        "together; send an archive, or start the server with a larger --scratch-mb",
    )


def _directories(paths: Iterable[str]) -> set[str]:
    """The directories that `paths` need, each once: the time taken does not grow with the depth of each path."""
    found: set[str] = set()
    for path in paths:
        parent = path.rpartition("/")[0]
        while parent and parent not in found:
            found.add(parent)
            parent = parent.rpartition("/")[0]
    return found


def _room(size: int) -> int:
    return -(-size // _PAGE) * _PAGE


def fetchable_names(names: list[str]) -> list[str]:
    """Paths to fetch. One that no file can have is not there afterwards, like any other that was not written.

    Raises BadRequest for too many.
    """
    if len(names) > _MOST_FETCHED or sum(map(len, names)) > _NAMES_BYTES:
        raise BadRequest(
            "fetch_files",
            f"{len(names)} are more than {_MOST_FETCHED}, or longer than {_NAMES_BYTES} bytes together; "
            "ask for an archive of them",
        )
    return [name for name in names if _possible(name)]


def _possible(name: str) -> bool:
    try:
        encoded = name.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    parts = encoded.split(b"/")
    short = len(encoded) <= _PATH_BYTES and len(parts) <= _MOST_PARTS and max(map(len, parts)) <= _NAME_BYTES
    return short and b"\0" not in encoded


def _decoded(name: str, content: str) -> bytes:
    try:
        return base64.b64decode(content.translate(_BLANKS), validate=True)
    except (ValueError, binascii.Error) as error:
        raise BadRequest("files", f"the content of {show(name)} is not base64: {error}") from error
