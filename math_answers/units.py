r"""Units after a number: `5\text{ cm}^2`, `118 \text{ dollars}`, `90^\circ`, `20 days`.

A unit is a stray one where the other side has none, and then it is ignored. Two units of measure that differ make two
answers: 5 km is not 5 m. They are never converted: 5 km is not 5000 m here, for the problem asked for one of them.
Words that are not units of measure (`ways`, `right triangles`) count for nothing.
"""

import re
from dataclasses import dataclass

_NAMES = {
    "mm": "millimeter millimetre \u6beb\u7c73",
    "cm": "centimeter centimetre \u5398\u7c73 \u516c\u5206",
    "m": "meter metre \u7c73",
    "km": "kilometer kilometre \u5343\u7c73 \u516c\u91cc",
    "in": "inch inche",
    "ft": "foot feet",
    "yd": "yard",
    "mi": "mile",
    "mg": "milligram",
    "g": "gram gm \u514b",
    "kg": "kilogram \u5343\u514b \u516c\u65a4",
    "lb": "pound",
    "oz": "ounce",
    "ton": "tonne",
    "s": "second sec \u79d2",
    "min": "minute \u5206\u949f",
    "h": "hour hr \u5c0f\u65f6",
    "day": "\u5929 \u65e5",
    "week": "",
    "month": "",
    "year": "yr \u5e74",
    "l": "liter litre \u5347",
    "ml": "milliliter millilitre",
    "gal": "gallon",
    "mi/h": "mph",
    "deg": "degree circ \u5ea6",
    "rad": "radian",
    "dollar": "usd",
    "cent": "",
    "euro": "",
    "hz": "hertz",
    "j": "joule",
    "n": "newton",
    "w": "watt",
}
_UNITS = {name: unit for unit, names in _NAMES.items() for name in (unit, *names.split())}
_SQUARE = re.compile("^(?:square |sq\\.? |\u5e73\u65b9)(.+)$|^(.+) squared$")
_CUBIC = re.compile("^(?:cubic |cu\\.? |\u7acb\u65b9)(.+)$|^(.+) cubed$")
_CJK = r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"
# Numbers, and words that change the number before them.
_CJK_NUMBERS = re.compile(
    "[\u4e00\u4e8c\u4e09\u56db\u4e94\u516d\u4e03\u516b\u4e5d\u5341\u767e\u5343\u4e07\u4ebf\u5146\u96f6\u4e24\u842c\u5104\u500d\u534a\u70b9\u53c8\u6216\u591a\u51e0\u6298\u6210]|\u5206\u4e4b"
)
# Letters alone after a number are a product of variables, unless a unit has that name: single letters want \text.
_SHORT = "|".join(
    sorted(
        (name for name in _UNITS if len(name) > 1 and name.isascii() and name not in ("circ", "mi/h")),
        key=len,
        reverse=True,
    )
)
_PER = rf"/(?:{_SHORT}|[smhl])"
_WORD = r"[A-Za-z][a-z]{2,}"
_TAIL = re.compile(
    rf"""^(?P<value>.*?[\d}})!A-Za-z])\s*(?:
        \^\{{?\s*(?P<degree>\\circ)\s*\}}?\s*(?P<scale>[CF]|\\(?:text|mathrm)\{{\s*[CF]\s*\}})?
      | \\(?:text|textrm|textbf|textit|textnormal|mathrm|mbox|operatorname)\s*\{{(?P<wrapped>[^{{}}\\]*)\}}
      | (?<=[\d}})!\s])(?P<bare>(?:(?:sq|square|cu|cubic)\.?\s)?(?:{_SHORT}|USD)s?(?:{_PER})?|(?<=\s)[mgl]{_PER})
      | (?P<cjk>{_CJK}{{1,8}})
      | (?<=\s)(?P<words>(?:[mgshLl]|{_WORD})(?:\s{_WORD}){{0,3}})
    )(?:\s*\^\s*\{{?\s*(?P<power>[23])\s*\}}?)?\.?$""",
    re.VERBOSE | re.DOTALL,
)
_TRIGONOMETRIC = re.compile(r"\\?(?:sin|cos|tan|cot|sec|csc)(?![a-z])")
# Words that change the number before them, or set another beside it.
_NO_UNITS = re.compile(
    r"\b(?:and|or|not|no|but|if|than|more|less|least|most|about|almost|maybe|plus|minus|times|over|divided|half|third"
    r"|quarter|factorial|hundred|thousand|million|billion|trillion|dozen|percent|point|base|mod|sin|cos|tan|cot|sec|csc|log"
    r"|exp|sqrt|inf)\b|^(?:squared|cubed|pi)\b",
    re.IGNORECASE,
)
# The pattern looks for its tail from every place on; a number with a unit is short.
_MAX_CHARS = 300


@dataclass(frozen=True, slots=True)
class Quantity:
    """A text taken apart."""

    value: str
    """What stands before the unit; the whole text where there is none."""
    unit: str | None
    """A unit of measure by one name (`cm^2` for square centimetres); empty for other words, None for no unit."""


def read_quantity(tidied: str) -> Quantity:
    """A tidied text as value and unit."""
    whole = Quantity(tidied, None)
    if len(tidied) > _MAX_CHARS or not (match := _TAIL.match(tidied)):
        return whole
    part = match.groupdict()
    if part["degree"] and _TRIGONOMETRIC.search(part["value"]):
        # The angle of the function, not the unit of its value.
        return whole
    value = part["value"].strip()
    if part["degree"]:
        scale = re.sub(r"[^CF]", "", part["scale"] or "")
        return Quantity(value, f"deg{scale}")
    if part["cjk"]:
        unit = _unit(part["cjk"], part["power"])
        return Quantity(value, unit) if unit or not _CJK_NUMBERS.search(part["cjk"]) else whole
    text = part["wrapped"] if part["wrapped"] is not None else part["bare"] or part["words"]
    text = text.strip().rstrip(".").replace("-", " ")
    if _NO_UNITS.search(text) or not re.search("[A-Za-z]", text):
        return whole
    return Quantity(value, _unit(text, part["power"]))


def units_agree(one: Quantity, other: Quantity) -> bool:
    """Whether the units leave open that both are the same: one has none, or both have the same unit of measure."""
    return not one.unit or not other.unit or one.unit == other.unit


def _unit(text: str, power: str | None) -> str:
    text = " ".join(text.split())
    for pattern, exponent in ((_SQUARE, "2"), (_CUBIC, "3")):
        if match := pattern.match(text):
            text, power = match[1] or match[2], exponent
    over, slash, under = text.replace(" per ", "/").partition("/")
    names = [_UNITS.get(_singular(name.strip().lower())) for name in ((over, under) if slash else (over,))]
    if None in names:
        return ""
    return "/".join(names) + (f"^{power}" if power else "")  # type: ignore[arg-type]


def _singular(word: str) -> str:
    return word if word in _UNITS or not word.endswith("s") else word[:-1]
