r"""Whether two answers are the same, form by form; expressions that numbers and words do not settle go to algebra.

The rules, each chosen as a grader of contest answers would:

- Order matters in tuples, points, vectors and matrices, and not in sets and lists of solutions. A list without brackets
  may answer for a tuple, in its order, and a printed list for a list or set, in any order. `[1, 2]` is an interval
  where the other side is a tuple or an interval.
- `x = 5` is 5, and another letter's value is not. Two equations are the same when one is a multiple of the other.
- `1 < x \le 2` is `(1, 2]`.
- Units and percentages as in `units` and `plain_number`.
"""

import re
from collections.abc import Sequence
from typing import Protocol

from verl_tir.reward.estimate import clearly_differ
from verl_tir.reward.form import Braced, Bracketed, Form, Listed, Matrix, Relation, Scalar, Union
from verl_tir.reward.latex_text import (
    BasedNumber,
    based_number,
    compact,
    has_numbers_side_by_side,
    is_words,
    same_words,
)
from verl_tir.reward.plain_number import read_number, same_number
from verl_tir.reward.relations import (
    LETTER,
    around,
    as_set,
    as_value,
    assigned_names,
    has_letters,
    is_assignment,
    subject,
    text_of,
)
from verl_tir.reward.units import read_quantity, units_agree

_CLOCK = re.compile(r"(\d{1,2})(?:[:.](\d\d))?(?:([ap])\.?m\.?)?", re.IGNORECASE)
_RATIO = re.compile(r"\d{1,9}(?::\d{1,9})+")


class NeedsAlgebra(Exception):
    """The comparison cannot be settled by numbers, words and forms."""


class Algebra(Protocol):
    """What is asked about expressions; sizes and times are the caller's to bound."""

    def same_value(self, answer: str, truth: str) -> bool:
        """Whether two expressions have the same value, for all values of their letters."""

    def same_equation(self, answer: tuple[str, str], truth: tuple[str, str]) -> bool:
        """Whether two equations, each by its sides, are multiples of each other."""


class NoAlgebra:
    """Says what is different at a glance, and gives up where there is no way but algebra."""

    def same_value(self, answer: str, truth: str) -> bool:
        """False where the values clearly differ.

        Raises:
            NeedsAlgebra: they may be the same.
        """
        if "%" not in answer + truth and clearly_differ(answer, truth):
            return False
        raise NeedsAlgebra(answer, truth)

    def same_equation(self, answer: tuple[str, str], truth: tuple[str, str]) -> bool:
        """Never known.

        Raises:
            NeedsAlgebra: always.
        """
        raise NeedsAlgebra(answer, truth)


class Comparison:
    """One way of comparing forms."""

    def __init__(self, algebra: Algebra, max_pairs: int | None = None):
        """A comparison whose open questions `algebra` answers.

        Args:
            algebra: bounded by whoever calls.
            max_pairs: items of one list times items of the other that are compared; None for no bound.
        """
        self._algebra = algebra
        self._max_pairs = max_pairs

    def same(self, answer: Form, truth: Form) -> bool | None:
        """Whether two forms are the same; None where forms differ that may still be the same set or value.

        Raises:
            NeedsAlgebra: the algebra is `NoAlgebra`, and more is needed; or there are too many items.
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
        if same_words(*texts) or all(map(is_words, texts)):
            return same_words(*texts)
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
        named = [assigned_names(form.items) for form in (answer, truth)]
        different = [len(set(names)) == len(names) > 1 for names in named]
        if any(different) and not all(different):
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
        self._check_size(answer, truth)
        left = list(truth)
        for item in answer:
            found = next((index for index, other in enumerate(left) if self.same(item, other)), None)
            if found is None:
                return False
            del left[found]
        return True

    def _each_in(self, items: Sequence[Form], others: Sequence[Form]) -> bool:
        self._check_size(items, others)
        return all(any(self.same(item, other) for other in others) for item in items)

    def _check_size(self, items: Sequence[Form], others: Sequence[Form]) -> None:
        if self._max_pairs is not None and len(items) * len(others) > self._max_pairs:
            raise NeedsAlgebra(f"{len(items)} x {len(others)} items")

    def _same_relation(self, answer: Form, truth: Form) -> bool | None:
        if isinstance(answer, Relation) and isinstance(truth, Relation) and answer.signs == truth.signs == ("in",):
            return subject(answer) == subject(truth) and self.same(answer.parts[1], truth.parts[1])
        answer, truth = as_value(answer), as_value(truth)
        if isinstance(truth, Relation) and "~" in truth.signs:
            exact, rounded = around(truth)
            return self.same(answer, exact) or self.same(answer, rounded)
        if isinstance(answer, Relation) and "~" in answer.signs:
            return self.same(around(answer)[0], truth)
        if not isinstance(truth, Relation):
            return self._is_value(answer, truth) if isinstance(answer, Relation) else self.same(answer, truth)
        if not isinstance(answer, Relation):
            value = truth.parts[-1] if is_assignment(truth) else as_set(truth)
            return None if value is None else self.same(answer, value)
        return self._same_relations(answer, truth)

    def _is_value(self, answer: Relation, truth: Form) -> bool | None:
        """Whether a relation gives the value `truth`."""
        if is_assignment(answer):
            return self.same(answer.parts[-1], truth)
        if set(answer.signs) == {"="}:
            # A calculation (2 + 3 = 5); an equation in letters is not its right side.
            return not any(map(has_letters, answer.parts)) and all(self.same(part, truth) for part in answer.parts)
        values = as_set(answer)
        return None if values is None else self.same(values, truth)

    def _same_relations(self, answer: Relation, truth: Relation) -> bool | None:
        if answer.signs == truth.signs == ("=",):
            for sides in (answer.parts, answer.parts[::-1]):
                if text_of(sides[0]) == text_of(truth.parts[0]) is not None:
                    return self.same(sides[1], truth.parts[1])
            texts = [part.text for part in (*answer.parts, *truth.parts) if isinstance(part, Scalar)]
            if len(texts) < 4:
                return False
            if any(LETTER.search(text) is None and read_number(text) is None for text in texts):
                return None
            return self._algebra.same_equation((texts[0], texts[1]), (texts[2], texts[3]))
        sets = as_set(answer), as_set(truth)
        if sets[0] is None or sets[1] is None:
            return None
        return subject(answer) == subject(truth) and self.same(sets[0], sets[1])

    def _same_ratio(self, answer: str, truth: str) -> bool:
        parts = [_RATIO.fullmatch(text) and [int(part) for part in text.split(":")] for text in (answer, truth)]
        if parts[0] and parts[1]:
            one, other = parts
            return len(one) == len(other) and all(a * other[0] == b * one[0] for a, b in zip(one, other, strict=True))
        texts = [
            text.replace(":", "/") if part and len(part) == 2 else text
            for part, text in zip(parts, (answer, truth), strict=True)
        ]
        return ":" not in "".join(texts) and self.same_scalar(*texts)


def _same_time(one: "re.Match[str]", other: "re.Match[str]") -> bool:
    """Hours, minutes, and the half of the day where both name it."""
    halves = {clock[3].lower() for clock in (one, other) if clock[3]}
    times = [(int(clock[1]) - 12 * (int(clock[1]) > 12), int(clock[2] or 0)) for clock in (one, other)]
    late = any(int(clock[1]) > 12 for clock in (one, other))
    return times[0] == times[1] and len(halves | ({"p"} if late else set())) == 1


def is_time_or_ratio(text: str) -> bool:
    """Whether the text is compared as a time of the day or as a ratio: `4:30 p.m.`, `3:2`."""
    return _CLOCK.fullmatch(text.replace(" ", "")) is not None or _RATIO.fullmatch(text) is not None


def _cannot_be_read(value: str) -> bool:
    """Whether a parser of LaTeX would make of it what it is not: words a product, two numbers a sum."""
    text = compact(value)
    return not text or is_words(text) or has_numbers_side_by_side(text)


def _same_in_base(based: "list[BasedNumber | None]", values: list[str]) -> bool:
    """Whether two numbers have the same digits and, where both name it, the same base."""
    digits = [number.digits if number else value.casefold() for number, value in zip(based, values, strict=True)]
    return digits[0] == digits[1] and len({number.base for number in based if number}) == 1
