r"""Relations read as what they say: `x = 5` as a value, `1 < x \\le 2` as an interval, `x = 6/2 = 3` as its end."""

import re
from collections.abc import Sequence

from math_answers.form import Bracketed, Form, Listed, Relation, Scalar, Union
from math_answers.latex_text import compact
from math_answers.plain_number import read_number, same_number

_INFINITY = r"\infty"
_GREEK = "alpha beta gamma delta theta lambda mu phi omega rho sigma tau epsilon varphi Delta".replace(" ", "|")
_MARKS = "angle measuredangle triangle overline overrightarrow vec mathbf mathcal hat bar prime ell".replace(" ", "|")
_WRAPS = "operatorname text textbf textit mathrm mbox left right".replace(" ", "|")
# Every alternative begins otherwise and none is tried twice, so that matching takes linear time.
_NAME = re.compile(
    rf"(?:\\(?:{_GREEK}|{_MARKS}|{_WRAPS})(?![A-Za-z])|[A-Za-z'\s{{}}|.:?\[\]]"
    r"|_(?:\{[A-Za-z0-9,]{1,20}\}|[A-Za-z0-9])|\((?:[A-Za-z,\s]{1,20}|\d)\))++"
)
# One length in proportion to another: AB/CD.
_SEGMENTS = re.compile(r"\\frac\{[A-Z]{2}\}\{[A-Z]{2}\}|[A-Z]{2}/[A-Z]{2}")
_MAX_NAME = 60
_OF_X = re.compile(r"[A-Za-z]\(x\)")
LETTER = re.compile(r"(?<!\\)(?<![A-Za-z])(?!\\)[A-Za-z](?![A-Za-z])")
_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}


def text_of(form: Form) -> str | None:
    """The text of one expression, for comparing names; None of any other form."""
    return compact(form.text) if isinstance(form, Scalar) else None


def same_name(one: Form, other: Form) -> bool:
    """Whether both are written alike; `y` and `f(x)` both name what depends on x."""
    texts = text_of(one), text_of(other)
    if None in texts:
        return False
    return texts[0] == texts[1] or ("y" in texts and any(_OF_X.fullmatch(text or "") for text in texts))


def is_name(form: Form) -> bool:
    """Whether a form names a quantity, such as `x`, `f(x)`, `(x, y)`, `\\angle ABC`, and says no value."""
    if isinstance(form, Bracketed):
        return all(map(is_name, form.items))
    if not isinstance(form, Scalar) or len(form.text) > _MAX_NAME:
        return False
    return _NAME.fullmatch(form.text) is not None or _SEGMENTS.fullmatch(form.text) is not None


def has_letters(form: Form) -> bool:
    """Whether a form holds a letter that stands for any number, or is not a single expression."""
    return not isinstance(form, Scalar) or bool(set(LETTER.findall(form.text)) - {"e", "i"})


def is_assignment(relation: Relation) -> bool:
    """A name and its value, in this order."""
    return relation.signs == ("=",) and is_name(relation.parts[0])


def is_calculation(relation: Relation) -> bool:
    """Constants that are said to be equal, `2 + 3 = 5`."""
    return set(relation.signs) == {"="} and not any(map(has_letters, relation.parts))


def as_value(form: Form) -> Form:
    """A relation in its plainest form: `x = 6/2 = 3` as `x = 3`, `5 = x` as `x = 5`, `x in M` as M."""
    if not isinstance(form, Relation):
        return form
    if form.signs == ("in",):
        return form.parts[1]
    if set(form.signs) != {"="}:
        return form
    parts = form.parts[::-1] if is_name(form.parts[-1]) and not is_name(form.parts[0]) else form.parts
    numbers = [read_number(part.text) for part in parts if isinstance(part, Scalar)]
    known = [number for number in numbers if number is not None]
    if is_name(parts[0]) and all(same_number(number, known[-1]) for number in known):
        return Relation((parts[0], parts[-1]), ("=",))
    # What contradicts itself has no value.
    return form


def around(relation: Relation) -> tuple[Form, Form]:
    """What stands before the sign of approximation, and what after; both the latter where the former is a name."""
    at = relation.signs.index("~")
    before, signs = relation.parts[: at + 1], relation.signs[:at]
    exact = Relation(before, signs) if signs else before[0]
    return (relation.parts[-1] if is_name(exact) else exact), relation.parts[-1]


def subject(relation: Relation) -> str | None:
    """Of which letter an inequality speaks."""
    return next((text_of(part) for part in relation.parts if is_name(part)), None)


def as_set(relation: Relation) -> Form | None:
    """The values of its letter for which an inequality holds; None where it is not a simple one."""
    low, high = Scalar(f"-{_INFINITY}"), Scalar(_INFINITY)
    match relation.parts, relation.signs:
        case (name, value), ("!=",) if is_name(name):
            return Union((Bracketed("(", ")", (low, value)), Bracketed("(", ")", (value, high))))
        case (value, name), (sign,) if sign in _FLIPPED and is_name(name) and not is_name(value):
            return as_set(Relation((name, value), (_FLIPPED[sign],)))
        case (name, value), ("<" | "<=" as sign,) if is_name(name):
            return Bracketed("(", "]" if sign == "<=" else ")", (low, value))
        case (name, value), (">" | ">=" as sign,) if is_name(name):
            return Bracketed("[" if sign == ">=" else "(", ")", (value, high))
        case (left, name, right), ("<" | "<=" as first, "<" | "<=" as second) if is_name(name):
            return Bracketed("[" if first == "<=" else "(", "]" if second == "<=" else ")", (left, right))
        case (left, name, right), (">" | ">=", ">" | ">=") if is_name(name):
            return as_set(Relation((right, name, left), tuple(_FLIPPED[sign] for sign in reversed(relation.signs))))
    return None


def as_interval(form: Form) -> Form:
    """Two inequalities that hold together, `x > 1` and `x < 3`, as the interval between; any other form as it is."""
    if not isinstance(form, Listed) or not form.has_order or len(form.items) != 2:
        return form
    ends = [as_set(item) if isinstance(item, Relation) else None for item in form.items]
    if None in ends or len({subject(item) for item in form.items if isinstance(item, Relation)}) != 1:
        return form
    for low, high in (ends, ends[::-1]):
        match low, high:
            case Bracketed(items=[least, Scalar(text=r"\infty")]), Bracketed(items=[Scalar(text=r"-\infty"), most]):
                return Bracketed(low.left, high.right, (least, most))
    return form


def assigned_names(items: Sequence[Form]) -> list[str]:
    """The names in a list of assignments; empty where it is not such a list."""
    if not all(isinstance(item, Relation) and is_assignment(item) for item in items):
        return []
    return [text_of(item.parts[0]) or "" for item in items if isinstance(item, Relation)]
