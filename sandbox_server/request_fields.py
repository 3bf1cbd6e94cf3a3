"""The fields of a request's body, taken as Sandbox Fusion's pydantic models take them: a number also as text.

Of files: which can be written below the working directory, and which could be there to fetch.
"""

import base64
import binascii
import math
import re
from pathlib import PurePosixPath

from sandbox_server.config import ServerConfig

_INTEGER = re.compile(r"\s*[-+]?\d+(_\d+)*(\.0+)?\s*", re.ASCII)
_SHOWN = 60  # characters of a value in a message
_NAME_BYTES = 255  # of one part of a path; the file systems' limit
_PATH_BYTES = 2048  # the system's limit is 4096, and the working directory comes before it
_IGNORED = "IGNORE_THIS_FILE"  # Sandbox Fusion does not write a file with this in its name
_BLANKS = str.maketrans("", "", " \t\r\n")


class BadRequest(ValueError):
    """A request that cannot be honoured; the message names the field, the value and the fix."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name


def show(value: object) -> str:
    """`value` for a message; cut, for it may be anything."""
    text = repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def as_object(body: object) -> dict[str, object]:
    """The body as an object. Raises BadRequest, as all functions here."""
    if not isinstance(body, dict):
        raise BadRequest("body", "must be a JSON object")
    return body


def take_text(body: dict[str, object], name: str) -> str:
    """A string that must be there."""
    value = body.get(name)
    if not isinstance(value, str):
        raise BadRequest(name, "must be a string")
    return value


def take_texts(body: dict[str, object], name: str, default: list[str] | None = None) -> list[str]:
    """A list of strings; it must be there unless there is a default."""
    value = body.get(name, default)
    if not (isinstance(value, list) and all(isinstance(item, str) for item in value)):
        raise BadRequest(name, "must be a list of strings")
    return value


def take_number(body: dict[str, object], name: str, default: float) -> float:
    """A number; true is 1, and text that reads as a number is that number, NaN and infinity included."""
    value = body.get(name, default)
    try:
        if isinstance(value, int | float) or (isinstance(value, str) and value.isascii()):
            return float(value)
    except (ValueError, OverflowError):
        pass
    raise BadRequest(name, f"{show(value)} must be a number")


def take_integer(body: dict[str, object], name: str, default: int) -> int:
    """A whole number, which 1.0, true and "1" are too."""
    value = body.get(name, default)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return int(value)
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value.partition(".")[0])
    raise BadRequest(name, f"{show(value)} must be a whole number")


def take_files(body: dict[str, object], config: ServerConfig, *, null_content: bool) -> dict[str, bytes]:
    """Path to content of the files to write; one without content is left out, where that is allowed.

    Raises BadRequest for what cannot be written as asked: a path outside the working directory, a file that is a
    directory of another one, content that is no base64, or more than the server gives.
    """
    files = body.get("files", {})
    if not isinstance(files, dict):
        raise BadRequest("files", "must be an object of path to base64 content")
    kept: dict[str, bytes] = {}
    total = 0
    for name, content in files.items():
        if content is None and null_content:
            continue
        if not isinstance(content, str):
            raise BadRequest("files", f"the content of {show(name)} is not base64 text")
        if _IGNORED in name:
            continue
        path = PurePosixPath(name)
        directory = name.endswith("/")
        if path.is_absolute() or ".." in path.parts or not path.parts or directory or not _possible(name):
            raise BadRequest("files", f"{show(name)} must be a path inside the working directory")
        kept[name] = _decoded(name, content)
        total += len(kept[name])
        if len(kept[name]) > config.max_file_mb << 20:
            raise BadRequest(
                "files", f"{show(name)} is larger than {config.max_file_mb} MiB; start the server with --max-file-mb"
            )
    if total > config.scratch_mb << 20:
        raise BadRequest(
            "files",
            f"more than {config.scratch_mb} MiB together; start the server with a larger --scratch-mb",
        )
    _refuse_files_within_files(kept)
    return kept


def take_fetch_files(body: dict[str, object]) -> list[str]:
    """Paths to fetch. One that no file can have is not there afterwards, like any other that was not written."""
    return [name for name in take_texts(body, "fetch_files", []) if _possible(name)]


def _possible(name: str) -> bool:
    try:
        encoded = name.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    short = len(encoded) <= _PATH_BYTES and all(len(part) <= _NAME_BYTES for part in encoded.split(b"/"))
    return short and b"\0" not in encoded


def _decoded(name: str, content: str) -> bytes:
    try:
        return base64.b64decode(content.translate(_BLANKS), validate=True)
    except (ValueError, binascii.Error) as error:
        raise BadRequest("files", f"the content of {show(name)} is not base64: {error}") from error


def _refuse_files_within_files(names: dict[str, str]) -> None:
    paths = {PurePosixPath(name) for name in names}
    for path in paths:
        for parent in path.parents:
            if parent in paths:
                raise BadRequest("files", f"{show(str(parent))} cannot be both a file and the directory of another")
