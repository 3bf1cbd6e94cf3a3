"""The body of an answer, made into JSON values with bounds on what it may cost. Pure.

Whoever answers may be broken, or no sandbox at all, and a trainer must not pay for it: not with its memory, and not
with an event loop that stands still. What can be dear is refused before it is made, and is not looked at on the loop.
"""

import json
import math
import re
import zlib
from collections.abc import Sequence
from typing import Any, NoReturn

_LIGHT_BYTES = 1 << 16  # of a body that is decoded where it arrives, in less than a millisecond
_LIGHT_OPENINGS = 100  # objects and lists in it, as an upper bound: a program may have printed brackets
_MOST_VALUES = 1 << 19  # more than ten thousand cells leave; Python takes about a second for so many
_DEEPEST = 100  # levels of nesting; pickling a result must not overflow the stack
_MOST_DIGITS = 4300  # of an integer; CPython's own limit, which a program may have lifted
_ANY_ZLIB = 32 + zlib.MAX_WBITS  # gzip or zlib, as the data say

_sign = re.compile(r'["\[\]{},]').search


class BodyError(ValueError):
    """A body that is not JSON, or costs more than it may; the message does not quote it."""


def is_light(body: bytes) -> bool:
    """Whether `body` can be decoded on the event loop."""
    return len(body) <= _LIGHT_BYTES and body.count(b"[") + body.count(b"{") <= _LIGHT_OPENINGS


def inflated(body: bytes, encoding: str, most: int) -> bytes:
    """`body` without its Content-Encoding, at most `most` bytes. Raises BodyError."""
    if encoding.strip().lower() not in ("gzip", "x-gzip", "deflate"):
        raise BodyError("has a Content-Encoding that was not asked for")
    stream = zlib.decompressobj(_ANY_ZLIB)
    try:
        plain = stream.decompress(body, most + 1)
    except zlib.error:
        raise BodyError("is not compressed as its Content-Encoding says") from None
    if len(plain) > most:
        raise BodyError(f"is longer than {most} bytes when decompressed")
    if not stream.eof or stream.unused_data:
        raise BodyError("is not compressed as its Content-Encoding says")
    return plain


def decoded(body: bytes) -> object:
    """The value that `body` is. Raises BodyError, also for what the JSON standard leaves open or Python adds to it.

    Text is made sure to be encodable: half of a surrogate pair, which a program may have left, becomes U+FFFD.
    """
    try:
        # Decoded here, because json would first look for encodings that no server uses.
        text = body.decode()
        if not is_light(body):
            _refuse_dear(text)
        value = _decode(text)
        return _encodable(value) if b"\\u" in body else value
    except BodyError:
        raise
    except (ValueError, RecursionError):
        # Without the cause, which would carry the whole answer along.
        raise BodyError("is not JSON") from None


def _refuse_dear(text: str) -> None:
    """Raise for too many values or levels, at a cost that ends with the bound."""
    at = depth = values = 0
    while sign := _sign(text, at):
        at = sign.end()
        match sign[0]:
            case '"':
                _, at = _raw_decode(text, at - 1)
            case "[" | "{":
                depth += 1
                values += 1
            case "]" | "}":
                depth -= 1
            case _:
                values += 1
        if values > _MOST_VALUES:
            raise BodyError(f"has more than {_MOST_VALUES} values")
        if depth > _DEEPEST:
            raise BodyError(f"is nested deeper than {_DEEPEST} levels")


def _members(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise BodyError("has the same key twice in one object")
    return members


def _integer(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise BodyError(f"has a number of more than {_MOST_DIGITS} digits")
    return int(digits)


def _fraction(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise BodyError("has a number beyond all floats")
    return number


def _constant(name: str) -> NoReturn:
    raise BodyError(f"has {name} for a number")


# Ready made, for json.loads would look for its own each time.
_decoder = json.JSONDecoder(
    object_pairs_hook=_members, parse_int=_integer, parse_float=_fraction, parse_constant=_constant
)
_decode, _raw_decode = _decoder.decode, _decoder.raw_decode


def _encodable(value: object) -> object:
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    return [_encodable(item) for item in value] if isinstance(value, list) else value
