r"""Whether two answers are the same, form by form; expressions that numbers and words do not settle go to algebra.

The rules, each chosen as a grader of contest answers would:

- Order matters in tuples, points, vectors and matrices, and not in sets and lists of solutions. A list without brackets may
  answer for a tuple, in its order, and a printed list for a list or set, in any order. `[1, 2]` is an interval where the
  other side is a tuple or an interval.
- `x = 5` is 5, and another letter's value is not. Two equations are the same when one is a multiple of the other.
- `1 < x \le 2` is `(1, 2]`.
- Units and percentages as in `units` and `plain_number`.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Protocol

from verl_tir.reward.form import Braced, Bracketed, Form, Listed, Matrix, Relation, Scalar, Union
from verl_tir.reward.latex_text import BasedNumber, based_number, compact, has_numbers_side_by_side, has_word, is_words, words_of
from verl_tir.reward.plain_number import read_number, same_number
from verl_tir.reward.units import read_quantity, units_agree

_INFINITY = r"\infty"
_CLOCK = re.compile(r"(\d{1,2})(?:[:.](\d\d))?(?:([ap])\.?m\.?)?", re.IGNORECASE)
_RATIO = re.compile(r"\d{1,9}(?::\d{1,9})+")
_NAME = re.compile(
    r"(?:\\(?:angle|triangle|overline|overrightarrow|vec|mathbf|mathbb|mathcal|hat|bar|operatorname|text|textbf|textit"
    r"|mathrm|mbox|alpha|beta|gamma|delta|theta|lambda|mu|phi|omega|rho|sigma|tau|epsilon|varphi|prime|Delta|ell|measuredangle"
    r"|left|right)(?![A-Za-z])|[A-Za-z'\s{}|.:?\[\]]|_\{?\w+\}?|\([A-Za-z,\s]+\)|\(\d\))+"
)
_LETTER = re.compile(r"(?<!\\)(?<![A-Za-z])(?!\\)[A-Za-z](?![A-Za-z])")
_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}


class NeedsAlgebra(Exception):
    """The comparison cannot be settled by numbers, words and forms."""


class Algebra(Protocol):
    """What is asked about expressions; sizes and times are the caller's to bound."""

    def same_value(self, answer: str, truth: str) -> bool:
        """Whether two expressions have the same value, for all values of their letters."""

    def same_equation(self, answer: tuple[str, str], truth: tuple[str, str]) -> bool:
        """Whether two equations, each by its sides, are multiples of each other."""


class NoAlgebra:
    """Gives up where there is no way but algebra."""

    def same_value(self, answer: str, truth: str) -> bool:
        """Never known.

        Raises:
            NeedsAlgebra: always.
        """
        raise NeedsAlgebra(answer, truth)

    def same_equation(self, answer: tuple[str, str], truth: tuple[str, str]) -> bool:
        """Never known.

        Raises:
            NeedsAlgebra: always.
        """
        raise NeedsAlgebra(answer, truth)


class Comparison:
    """One way of comparing forms."""

    def __init__(self, algebra: Algebra):
        self._algebra = algebra

    def same(self, answer: Form, truth: Form) -> bool | None:
        """Whether two forms are the same; None where forms differ that may still be the same set or value.

        Raises:
            NeedsAlgebra: the algebra is `NoAlgebra`, and more is needed.
        """
        if isinstance(answer, Relation) or isinstance(truth, Relation):
            return self._same_relation(answer, truth)
        match answer, truth:
            case Scalar(), Scalar():
                return self.same_scalar(answer.text, truth.text)
            case Matrix(), Matrix():
                shapes = [[len(row) for row in matrix.rows] for matrix in (answer, truth)]
                return shapes[0] == shapes[1] and self._in_order(sum(answer.rows, ()), sum(truth.rows, ()))
            case (Matrix() as matrix, Bracketed() as point) | (Bracketed() as point, Matrix() as matrix):
                vector = matrix.as_vector
                if vector is None or not point.has_one_kind_of_bracket:
                    return False
                return self._in_order(*((vector, point.items) if matrix is answer else (point.items, vector)))
            case Bracketed(), Bracketed():
                return self._same_bracketed(answer, truth)
            case Union(parts=parts), Union(parts=others):
                return self._in_any_order(parts, others) or None
            case (Braced() | Listed(), Braced() | Listed()):
                return self._same_lists(answer, truth)
            case Listed(items=items), Bracketed(left="(", right=")", items=others):
                return self._in_order(items, others)
            case Bracketed(items=items), Listed(items=others) if answer.has_one_kind_of_bracket:
                return self._in_any_order(items, others)
            case Bracketed(left="[", right="]", items=items), Braced(items=others):
                return self._in_any_order(items, others)
            case (Scalar() as one, (Braced(items=[other]) | Bracketed(items=[other]))) | (
                (Braced(items=[other]) | Bracketed(items=[other])),
                Scalar() as one,
            ):
                return self.same(one, other)
            case (Scalar(text=text), _) | (_, Scalar(text=text)):
                # A name for a set, such as that of the reals, or a sum of matrices.
                return False if read_number(text) else None
            case (Union(), _) | (_, Union()):
                return None
        return False

    def same_scalar(self, answer: str, truth: str) -> bool:
        """Whether two expressions or texts are the same.

        Raises:
            NeedsAlgebra: as `same`.
        """
        texts = compact(answer), compact(truth)
        if texts[0] == texts[1]:
            return bool(texts[0])
        if any(map(has_word, texts)) and (words_of(texts[0]) == words_of(texts[1]) or all(map(is_words, texts))):
            return words_of(texts[0]) == words_of(texts[1])
        texts = tuple(re.sub(r"(?<=\d) to (?=\d)", ":", text) for text in texts)
        clocks = [_CLOCK.fullmatch(text.replace(" ", "")) for text in texts]
        if all(clocks) and any(clock and clock[3] for clock in clocks):
            return _same_time(*clocks)  # type: ignore[arg-type]
        if any(map(_RATIO.fullmatch, texts)):
            return self._same_ratio(*texts)
        quantities = read_quantity(answer), read_quantity(truth)
        if not units_agree(*quantities):
            return False
        values = [quantity.value for quantity in quantities]
        if compact(values[0]) == compact(values[1]):
            return bool(values[0])
        numbers = [read_number(value) for value in values]
        if numbers[0] and numbers[1]:
            return same_number(numbers[0], numbers[1])
        based = [based_number(value) for value in values]
        if any(based):
            return _same_in_base(based, values)
        if any(map(_cannot_be_read, values)):
            return False
        for number, other in ((0, 1), (1, 0)):
            if quantities[number].unit == "deg" and r"\pi" in values[other] and quantities[other].unit != "deg":
                values[number] = rf"\frac{{({values[number]}) \pi}}{{180}}"
        return self._algebra.same_value(*values)

    def _same_bracketed(self, answer: Bracketed, truth: Bracketed) -> bool:
        same_brackets = (answer.left, answer.right) == (truth.left, truth.right)
        # Two in square brackets are an interval; more are a printed list.
        printed = len(truth.items) != 2 and answer.has_one_kind_of_bracket and truth.has_one_kind_of_bracket
        return (same_brackets or printed) and self._in_order(answer.items, truth.items)

    def _same_lists(self, answer: Braced | Listed, truth: Braced | Listed) -> bool:
        names = [_names(form.items) for form in (answer, truth)]
        if all(names) and all(len(set(one)) == len(one) for one in names):  # type: ignore[arg-type]
            return self._in_any_order(answer.items, truth.items)
        if any(one is not None and len(set(one)) == len(one) > 1 for one in names):
            # x = 1, y = 2 says which is which.
            return self._in_order(answer.items, truth.items)
        if isinstance(answer, Braced) and isinstance(truth, Braced):
            return self._each_in(answer.items, truth.items) and self._each_in(truth.items, answer.items)
        return self._in_any_order(answer.items, truth.items)

    def _in_order(self, answer: Sequence[Form], truth: Sequence[Form]) -> bool:
        return len(answer) == len(truth) and all(bool(self.same(*pair)) for pair in zip(answer, truth, strict=True))

    def _in_any_order(self, answer: Sequence[Form], truth: Sequence[Form]) -> bool:
        if len(answer) != len(truth):
            return False
        left = list(truth)
        for item in answer:
            found = next((index for index, other in enumerate(left) if self.same(item, other)), None)
            if found is None:
                return False
            del left[found]
        return True

    def _each_in(self, items: Iterable[Form], others: Sequence[Form]) -> bool:
        return all(any(self.same(item, other) for other in others) for item in items)

    def _same_relation(self, answer: Form, truth: Form) -> bool | None:
        if isinstance(answer, Relation) and isinstance(truth, Relation) and answer.signs == truth.signs == ("in",):
            return _subject(answer) == _subject(truth) and self.same(answer.parts[1], truth.parts[1])
        answer, truth = _as_value(answer), _as_value(truth)
        if isinstance(truth, Relation) and "~" in truth.signs:
            exact, rounded = _around(truth)
            return self.same(answer, exact) or self.same(answer, rounded)
        if isinstance(answer, Relation) and "~" in answer.signs:
            return self.same(_around(answer)[0], truth)
        if not isinstance(truth, Relation):
            return self._is_value(answer, truth) if isinstance(answer, Relation) else self.same(answer, truth)
        if not isinstance(answer, Relation):
            value = truth.parts[-1] if _is_assignment(truth) else _as_set(truth)
            return None if value is None else self.same(answer, value)
        return self._same_relations(answer, truth)

    def _is_value(self, answer: Relation, truth: Form) -> bool | None:
        """Whether a relation gives the value `truth`."""
        if _is_assignment(answer):
            return self.same(answer.parts[-1], truth)
        if set(answer.signs) == {"="}:
            # A calculation (2 + 3 = 5); an equation in letters is not its right side.
            return not any(map(_has_letters, answer.parts)) and all(self.same(part, truth) for part in answer.parts)
        values = _as_set(answer)
        return None if values is None else self.same(values, truth)

    def _same_relations(self, answer: Relation, truth: Relation) -> bool | None:
        if answer.signs == truth.signs == ("=",):
            for sides in (answer.parts, answer.parts[::-1]):
                if _text_of(sides[0]) == _text_of(truth.parts[0]) is not None:
                    return self.same(sides[1], truth.parts[1])
            texts = [part.text for part in (*answer.parts, *truth.parts) if isinstance(part, Scalar)]
            if len(texts) < 4:
                return False
            if any(_LETTER.search(text) is None and read_number(text) is None for text in texts):
                return None
            return self._algebra.same_equation((texts[0], texts[1]), (texts[2], texts[3]))
        sets = _as_set(answer), _as_set(truth)
        if sets[0] is None or sets[1] is None:
            return None
        return _subject(answer) == _subject(truth) and self.same(sets[0], sets[1])

    def _same_ratio(self, answer: str, truth: str) -> bool:
        parts = [_RATIO.fullmatch(text) and [int(part) for part in text.split(":")] for text in (answer, truth)]
        if parts[0] and parts[1]:
            one, other = parts
            return len(one) == len(other) and all(a * other[0] == b * one[0] for a, b in zip(one, other, strict=True))
        texts = [text.replace(":", "/") if part and len(part) == 2 else text for part, text in zip(parts, (answer, truth), strict=True)]
        return ":" not in "".join(texts) and self.same_scalar(*texts)


def _same_time(one: "re.Match[str]", other: "re.Match[str]") -> bool:
    """Hours, minutes, and the half of the day where both name it."""
    halves = {clock[3].lower() for clock in (one, other) if clock[3]}
    times = [(int(clock[1]) - 12 * (int(clock[1]) > 12), int(clock[2] or 0)) for clock in (one, other)]
    late = any(int(clock[1]) > 12 for clock in (one, other))
    return times[0] == times[1] and len(halves | ({"p"} if late else set())) == 1


def _cannot_be_read(value: str) -> bool:
    """Whether a parser of LaTeX would make of it what it is not: words a product, two numbers a sum."""
    text = compact(value)
    return not text or is_words(text) or has_numbers_side_by_side(text)


def _same_in_base(based: "list[BasedNumber | None]", values: list[str]) -> bool:
    """Whether two numbers have the same digits and, where both name it, the same base."""
    digits = [number.digits if number else value.casefold() for number, value in zip(based, values, strict=True)]
    return digits[0] == digits[1] and len({number.base for number in based if number}) == 1


def _text_of(form: Form) -> str | None:
    return compact(form.text) if isinstance(form, Scalar) else None


def _is_name(form: Form) -> bool:
    """Whether a form names a quantity, such as `x`, `f(x)`, `(x, y)`, `\\angle ABC`, and says no value."""
    if isinstance(form, Bracketed):
        return all(map(_is_name, form.items))
    return isinstance(form, Scalar) and _NAME.fullmatch(form.text) is not None and len(form.text) < 60


def _has_letters(form: Form) -> bool:
    return not isinstance(form, Scalar) or _LETTER.search(form.text) is not None


def _is_assignment(relation: Relation) -> bool:
    """A name and its value, one way round or the other; `_as_value` has put the value last."""
    return relation.signs == ("=",) and _is_name(relation.parts[0])


def _as_value(form: Form) -> Form:
    """A relation in its plainest form: `x = 6/2 = 3` as `x = 3`, `5 = x` as `x = 5`, `x in M` as M."""
    if not isinstance(form, Relation):
        return form
    if form.signs == ("in",):
        return form.parts[1]
    if set(form.signs) != {"="}:
        return form
    first, *middle, last = form.parts
    if _is_name(last) and not _is_name(first):
        return Relation((last, *reversed(middle), first), form.signs)
    numbers = [read_number(part.text) for part in form.parts if isinstance(part, Scalar)]
    known = [number for number in numbers if number is not None]
    if _is_name(first) and all(same_number(number, known[-1]) for number in known):
        return Relation((first, last), ("=",))
    return form


def _around(relation: Relation) -> tuple[Form, Form]:
    """What stands before the sign of approximation, and what behind."""
    at = relation.signs.index("~")
    before, signs = relation.parts[: at + 1], relation.signs[:at]
    exact = Relation(before, signs) if signs else before[0]
    return (relation.parts[-1] if _is_name(exact) else exact), relation.parts[-1]


def _subject(relation: Relation) -> str | None:
    """Of which letter an inequality speaks."""
    return next((_text_of(part) for part in relation.parts if _is_name(part)), None)


def _as_set(relation: Relation) -> Form | None:
    """The values of its letter for which an inequality holds; None where it is no simple one."""
    low, high = Scalar(f"-{_INFINITY}"), Scalar(_INFINITY)
    match relation.parts, relation.signs:
        case (name, value), ("!=",) if _is_name(name):
            return Union((Bracketed("(", ")", (low, value)), Bracketed("(", ")", (value, high))))
        case (value, name), (sign,) if sign in _FLIPPED and _is_name(name) and not _is_name(value):
            return _as_set(Relation((name, value), (_FLIPPED[sign],)))
        case (name, value), ("<" | "<=" as sign,) if _is_name(name):
            return Bracketed("(", "]" if sign == "<=" else ")", (low, value))
        case (name, value), (">" | ">=" as sign,) if _is_name(name):
            return Bracketed("[" if sign == ">=" else "(", ")", (value, high))
        case (left, name, right), ("<" | "<=" as first, "<" | "<=" as second) if _is_name(name):
            return Bracketed("[" if first == "<=" else "(", "]" if second == "<=" else ")", (left, right))
        case (left, name, right), (">" | ">=", ">" | ">=") if _is_name(name):
            return _as_set(Relation((right, name, left), tuple(_FLIPPED[sign] for sign in reversed(relation.signs))))
    return None


def _names(items: Sequence[Form]) -> list[str] | None:
    """The letters of a list of assignments; None where it is none."""
    if not all(isinstance(item, Relation) and _is_assignment(item) for item in items):
        return None
    return [_text_of(item.parts[0]) or "" for item in items if isinstance(item, Relation)]


__all__ = ["Algebra", "Comparison", "NeedsAlgebra", "NoAlgebra"]
