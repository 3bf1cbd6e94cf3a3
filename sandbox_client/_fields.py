"""A JSON object whose fields are taken with their types checked. Pure."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from sandbox_client._errors import SandboxProtocolError

_SHOWN = 300  # characters of a wrong value in an error


class JsonObject:
    """The fields of one object in a response; unknown ones are ignored. All methods raise SandboxProtocolError."""

    __slots__ = ("_endpoint", "_value", "_where")

    def __init__(self, value: object, endpoint: str, where: str) -> None:
        """`where` names the object in errors."""
        self._endpoint = endpoint
        self._where = where
        if not isinstance(value, dict):
            raise self.error(f"is {type(value).__name__} and not an object")
        self._value = value

    def take(self, name: str, *kinds: type) -> Any:
        """The field `name`, which must be of one of `kinds`."""
        try:
            value = self._value[name]
        except KeyError:
            raise self.error(f"has no field {name!r}") from None
        # Exactly: to Python true is an integer; to a server it is not.
        if type(value) not in kinds:
            raise self.error(f"has {name}={short(value)}")
        return value

    def objects(self, name: str) -> list[dict[str, Any]]:
        """The field `name`, a list of objects."""
        items = self.take(name, list)
        for place, item in enumerate(items):
            if not isinstance(item, dict):
                raise self.error(f"has {name}[{place}]={short(item)}")
        return items

    def files(self, *, required: bool) -> Mapping[str, bytes]:
        """The field `files`, contents by path; it may be left out if not `required`."""
        if not required and self._value.get("files") is None:
            return {}
        contents = {}
        for path, content in self.take("files", dict).items():
            if not isinstance(content, str):
                raise self.error(f"has files[{short(path)}]={short(content)}")
            try:
                contents[path] = base64.b64decode(content, validate=True)
            except (binascii.Error, ValueError):
                raise self.error(f"has files[{short(path)}]={short(content)}, which is not base64") from None
        return contents

    def error(self, what: str) -> SandboxProtocolError:
        """The error that says what is wrong with the object."""
        return SandboxProtocolError(
            f"{self._where} {what}; is this endpoint a Sandbox Fusion server?", endpoint=self._endpoint
        )


def short(value: object) -> str:
    """A wrong value as an error shows it."""
    text = repr(value[:_SHOWN] if isinstance(value, str) else value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def encode_files(files: Mapping[str, bytes]) -> dict[str, str]:
    """File contents as the wire has them."""
    return {path: base64.b64encode(content).decode() for path, content in files.items()}
