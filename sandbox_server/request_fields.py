"""The fields of a request body, taken as Sandbox Fusion's pydantic models take them: a number also as text."""

import math
import re

_INTEGER = re.compile(r"\s*[-+]?\d+(_\d+)*(\.0+)?\s*", re.ASCII)
_SHOWN = 60  # characters of a value in a message


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
