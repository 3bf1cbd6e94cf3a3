"""How much a JSON text may hold, found out before it is decoded. Whoever wrote it wants nothing good, perhaps.

Thirty megabytes of `[]` take a second to decode, gigabytes of memory and, with the collector of garbage, far longer.
The work here ends with the bound, and lets other threads run.
"""

import json
import re

_sign = re.compile(r'["\[\]{},]').search
_raw_decode = json.JSONDecoder().raw_decode


class TooDear(ValueError):
    """A text that holds more than it may."""


def refuse_dear(text: str, most_values: int, deepest: int) -> int:
    """How many values `text` holds, about; every value of a list or an object counts, and they do themselves.

    Raises TooDear when that is more than `most_values`, or when they are nested deeper than `deepest` levels, and
    ValueError when it is not JSON in a way that keeps it from being counted.
    """
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
        if values > most_values:
            raise TooDear(f"more than {most_values} values")
        if depth > deepest:
            raise TooDear(f"nested deeper than {deepest} levels")
    return values
