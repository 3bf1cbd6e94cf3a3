r"""What an answer is made of: a tuple, an interval, a list, a set, a matrix, cases, a relation, a ratio, an expression.

`read_form` takes tidied LaTeX apart by its brackets alone; nothing is evaluated. Time is linear in the length for each
level of nesting, and both are bounded: what nests deeper than `MAX_DEPTH` is one expression, whatever is in it.
"""

import re
from collections.abc import Container, Iterator
from dataclasses import dataclass

from math_answers.latex_text import unwrapped

MAX_DEPTH = 8
"""Levels that are taken apart."""

_SIGNS = {
    sign: meaning
    for meaning, signs in {
        "=": ("=", "=="),
        "<": ("<", r"\lt"),
        ">": (">", r"\gt"),
        "<=": ("<=", r"\le", r"\leq", r"\leqslant", "\u2264"),
        ">=": (">=", r"\ge", r"\geq", r"\geqslant", "\u2265"),
        "!=": (r"\ne", r"\neq", "\u2260"),
        "in": (r"\in", "\u2208"),
        "~": (r"\approx", "\u2248"),
    }.items()
    for sign in signs
}
_TOKEN = re.compile(
    r"\\begin\{[A-Za-z]+\*?\}|\\end\{[A-Za-z]+\*?\}|\\(?:text|mbox|textbf|textrm|mathrm)\s*\{[^{}]*\}"
    r"|\\\\|\\[A-Za-z]+|\\.|[<>=]=|.",
    re.DOTALL,
)
_OPEN, _CLOSE = frozenset({"(", "[", "{", r"\{", r"\langle"}), frozenset({")", "]", "}", r"\}", r"\rangle"})
_UNIONS = frozenset({r"\cup", "\u222a"})
_COMMAS = frozenset({",", ";"})
_BETWEEN = r"\\(?:text|mbox|textrm|mathrm)\s*\{{\s*,?\s*(?:{0})\s*\}}|(?<![\w\\])(?:{0})(?!\w)"
_AND_OR = re.compile(_BETWEEN.format("and|or"), re.IGNORECASE)
_OR = re.compile(_BETWEEN.format("or") + r"|\\lor(?![A-Za-z])", re.IGNORECASE)
# A set by a property of real numbers.
_BUILDER = re.compile(r"\s*[A-Za-z]\s*(?:\\in\s*\\(?:mathbb\{R\}|R)\s*)?(?:\\mid|[|:])(.*)", re.DOTALL)
_RATIO_PART = re.compile(
    r"(?=.*\d|.*\\pi)(?:\\(?:frac|sqrt|pi|cdot|times)(?![A-Za-z])|[\d\s.{}()\[\]+*/^-])+", re.DOTALL
)
_TO = re.compile(r"(?<=[\d}])\s*(?:\\text\s*\{\s*to\s*\}|(?<![A-Za-z])to(?![A-Za-z]))\s*(?=[\d\\])")
_SYSTEM = re.compile(
    r"(?P<brace>\\\{\s*)?\\begin\{(?P<name>[dr]?cases|aligned|align\*?|gathered|array)\}(?:\{[clr|]*\})?(?P<rows>.*)"
    r"\\end\{(?P=name)\}",
    re.DOTALL,
)
# Between a value and its condition.
_CONDITION = re.compile(r",?\s*&\s*|,?\s*(?=\\(?:text|mbox|textrm)\s*\{\s*,?\s*(?:if|for|when|otherwise|else)\b)")
_IDLE_IN_CONDITION = re.compile(r"(?<![A-Za-z\\])(?:if|is|for|when|where|an?|the)(?![A-Za-z])|,(?!\d)|&")
_LEFT_OVER = frozenset({"otherwise", "else", "elsewhere"})
_STARTS_WITH_SIGN = re.compile(r"\s*(?:[=<>]|\\[lg]e?q?(?![A-Za-z])|\\approx)")
_PLUS_MINUS, _MINUS_PLUS = re.compile(r"\\pm(?![A-Za-z])|\u00b1"), re.compile(r"\\mp(?![A-Za-z])|\u2213")
_MATRIX = re.compile(r"\\begin\{([pbB]?matrix|array)\}(?:\{[clr|]*\})?(.*)\\end\{\1\}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Scalar:
    """One expression, or text."""

    text: str


@dataclass(frozen=True, slots=True)
class Bracketed:
    """A tuple, a point, an interval, or a printed list."""

    left: str
    """`(` or `[`."""
    right: str
    items: "tuple[Form, ...]"

    @property
    def has_one_kind_of_bracket(self) -> bool:
        return self.left + self.right in ("()", "[]")


@dataclass(frozen=True, slots=True)
class Listed:
    """Values without brackets, such as all solutions."""

    items: "tuple[Form, ...]"
    has_order: bool = True
    """False where they are alternatives, `1 or 2`, which are the coordinates of no point."""


@dataclass(frozen=True, slots=True)
class Braced:
    """A set by its elements."""

    items: "tuple[Form, ...]"


@dataclass(frozen=True, slots=True)
class Union:
    """Of sets."""

    parts: "tuple[Form, ...]"


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows of cells; a vector is one row or one column."""

    rows: "tuple[tuple[Form, ...], ...]"

    @property
    def as_vector(self) -> "tuple[Form, ...] | None":
        """Its cells where it is one row or one column."""
        if len(self.rows) == 1:
            return self.rows[0]
        return tuple(row[0] for row in self.rows) if all(len(row) == 1 for row in self.rows) else None


@dataclass(frozen=True, slots=True)
class Relation:
    r"""Expressions with relation signs between them: `x = 5`, `1 < x \le 2`, `x \in [0, 1]`."""

    parts: "tuple[Form, ...]"
    signs: tuple[str, ...]
    """Of `=`, `<`, `>`, `<=`, `>=`, `!=`, `in`, `~`; one less than there are parts."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """Numbers with colons between them: a ratio, or a time."""

    parts: tuple[str, ...]

    @property
    def text(self) -> str:
        """As it is written in a time of the day."""
        return ":".join(self.parts)


@dataclass(frozen=True, slots=True)
class Cases:
    """Values, each under a condition."""

    rows: "tuple[tuple[Form, Form | None], ...]"
    """Value and condition; None for the condition of what is left over, `otherwise`."""


Form = Scalar | Bracketed | Listed | Braced | Union | Matrix | Relation | Ratio | Cases


def read_form(tidied: str, depth: int = 0) -> Form:
    """Take a tidied text apart. Never fails: what is not understood is a `Scalar`."""
    text = tidied.strip()
    if depth >= MAX_DEPTH:
        return Scalar(text)
    matrix = _MATRIX.fullmatch(text)
    if matrix and r"\begin" not in matrix[2]:
        rows = _rows(matrix[2])
        return Matrix(tuple(tuple(read_form(cell, depth + 1) for cell in row.split("&")) for row in rows))
    system = _SYSTEM.fullmatch(text)
    if system and (system["brace"] or system["name"] != "array") and r"\begin" not in system["rows"]:
        return _system(_rows(system["rows"]), depth + 1)
    either = _OR.split(text)
    if len(either) > 1 and all(_is_inequality(part) for part in either):
        return Union(tuple(read_form(part, depth + 1) for part in either))
    commas = _AND_OR.sub(",", text)
    items = [item for item in _split(commas, _COMMAS).parts if item.strip()]
    if len(items) > 1:
        return Listed(tuple(form for item in items for form in _signed(item, depth + 1)), has_order=len(either) == 1)
    # A comma at one end is punctuation.
    text = items[0].strip() if items else text
    relation = _split(text, _SIGNS.keys())
    if relation.signs and all(part.strip() for part in relation.parts):
        parts = tuple(read_form(part, depth + 1) for part in relation.parts)
        return Relation(parts, tuple(_SIGNS[sign] for sign in relation.signs))
    union = _split(text, _UNIONS)
    if union.signs and all(part.strip() for part in union.parts):
        return Union(tuple(read_form(part, depth + 1) for part in union.parts))
    return _bracketed(text, depth) or _ratio(text) or _plus_or_minus(text)


def _is_inequality(text: str) -> bool:
    signs = _split(text, _SIGNS.keys()).signs
    return bool(signs) and "=" not in signs


def _bracketed(text: str, depth: int) -> Form | None:
    """What stands in one pair of brackets around the whole text; None where there is no such pair."""
    left, right, inner = _outer_brackets(text)
    if right == "":
        return None
    items = _split(_AND_OR.sub(",", inner), _COMMAS)
    if items.signs and (left, right) == ("(", ")") and (points := _both_signs(text)):
        return Listed(tuple(read_form(point, depth + 1) for point in points))
    several = tuple(form for item in items.parts if item.strip() for form in _signed(item, depth + 1))
    match left, right:
        case (r"\{", r"\}"):
            built = _BUILDER.fullmatch(inner)
            return read_form(built[1], depth + 1) if built else Braced(several)
        # Python's print of a set, and in LaTeX nothing that can be seen.
        case ("{", "}") if items.signs:
            return Listed(several)
        case (r"\langle", r"\rangle"):
            return Bracketed("(", ")", several)
        case ("(", ")") if not items.signs:
            return read_form(inner, depth + 1)
        case ("[", "]") if len(several) == 1 and isinstance(several[0], Matrix):
            return several[0]
        case ("(" | "[", ")" | "]") if several:
            return Bracketed(left, right, several)
    return None


def _outer_brackets(text: str) -> tuple[str, str, str]:
    """The pair of brackets around the whole text and what is in it; empty texts where there is none."""
    if text.startswith(r"\langle") and text.endswith(r"\rangle"):
        return r"\langle", r"\rangle", text[len(r"\langle") : -len(r"\rangle")]
    tokens = _TOKEN.findall(text)
    if len(tokens) < 2 or tokens[0] not in _OPEN or tokens[-1] not in _CLOSE:
        return "", "", ""
    depth = 0
    for number, token in enumerate(tokens):
        depth += (token in _OPEN) - (token in _CLOSE)
        if depth == 0 and number < len(tokens) - 1:
            return "", "", ""
    return (tokens[0], tokens[-1], text[len(tokens[0]) : -len(tokens[-1])]) if depth == 0 else ("", "", "")


def _signed(text: str, depth: int) -> Iterator[Form]:
    form = read_form(text, depth)
    yield from form.items if isinstance(form, Listed) else (form,)


def _ratio(text: str) -> Ratio | None:
    split = _split(_TO.sub(":", text), (":",))
    if not split.signs or not all(_RATIO_PART.fullmatch(part) for part in split.parts):
        return None
    return Ratio(tuple(part.strip() for part in split.parts))


def _rows(text: str) -> list[str]:
    """Of what stands in an environment."""
    return [row for row in re.split(r"\\\\(?:\[[^]]*\])?", text) if row.strip()]


def _system(rows: list[str], depth: int) -> Form:
    """Equations, all of which hold, or values under conditions."""
    pairs = [_CONDITION.split(row.strip().rstrip(",;"), maxsplit=1) for row in rows]
    if all(len(pair) == 1 or _STARTS_WITH_SIGN.match(pair[1]) for pair in pairs):
        return Listed(tuple(form for pair in pairs for form in _signed("".join(pair), depth)))
    return Cases(tuple((read_form(value, depth), _condition("".join(rest), depth)) for value, *rest in pairs))


def _condition(text: str, depth: int) -> Form | None:
    words = _IDLE_IN_CONDITION.sub(" ", unwrapped(text)).split()
    if not words or words[0].lower().rstrip(".") in _LEFT_OVER:
        return None
    # "n even" and "even n".
    return read_form(" ".join(sorted(words) if all(map(str.isalpha, words)) else words), depth)


def _plus_or_minus(text: str) -> Form:
    r"""`1 \pm x` is a list of two."""
    both = _both_signs(text)
    return Listed(tuple(map(Scalar, both))) if both else Scalar(text)


def _both_signs(text: str) -> tuple[str, ...]:
    """The text with the upper signs and with the lower ones; empty where it has none."""
    if r"\pm" not in text and "\u00b1" not in text:
        return ()
    return tuple(
        _MINUS_PLUS.sub(minus, _PLUS_MINUS.sub(plus, text)).strip().removeprefix("+").strip()
        for plus, minus in (("+", "-"), ("-", "+"))
    )


@dataclass(frozen=True, slots=True)
class _Parts:
    parts: list[str]
    signs: list[str]


def _split(text: str, at: Container[str]) -> _Parts:
    """Split at signs that stand in no bracket, environment or word."""
    parts, signs, depth, start, position = [], [], 0, 0, 0
    for token in _TOKEN.findall(text):
        end = position + len(token)
        if token in _OPEN or token.startswith(r"\begin{"):
            depth += 1
        elif token in _CLOSE or token.startswith(r"\end{"):
            depth = max(0, depth - 1)
        elif depth == 0 and token in at:
            parts.append(text[start:position])
            signs.append(token)
            start = end
        position = end
    return _Parts([*parts, text[start:]], signs)
