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

from math_answers.estimate import Algebra, NeedsAlgebra
from math_answers.form import Braced, Bracketed, Cases, Form, Listed, Matrix, Ratio, Relation, Scalar, Union
from math_answers.latex_text import (
    BasedNumber,
    based_number,
    compact,
    has_numbers_side_by_side,
    is_words,
    same_words,
)
from math_answers.plain_number import read_number, same_number
from math_answers.ratios import as_number, same_ratio, same_time
from math_answers.relations import (
    LETTER,
    around,
    as_interval,
    as_set,
    as_value,
    assigned_names,
    is_assignment,
    is_calculation,
    same_name,
    subject,
)
from math_answers.units import read_quantity, units_agree

_INDEXED_NUMBER = re.compile(r"(?<![A-Za-z\\}])\d+_")
# As sympy prints them.
_PRINTED_CONSTANTS = ({"E", "e"}, {"I", "i"})


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
        if isinstance(answer, Listed) != isinstance(truth, Listed):
            answer, truth = as_interval(answer), as_interval(truth)
        if isinstance(answer, Relation) or isinstance(truth, Relation):
            return self._same_relation(answer, truth)
        if isinstance(answer, Ratio) or isinstance(truth, Ratio):
            return self._same_ratio(answer, truth)
        match answer, truth:
            case Cases(), Cases():
                return self._same_cases(answer, truth)
            case (Cases(), _) | (_, Cases()):
                return False
            case Scalar(), Scalar():
                return self.same_scalar(answer.text, truth.text)
            case Matrix(), Matrix():
                shapes = [[len(row) for row in matrix.rows] for matrix in (answer, truth)]
                return shapes[0] == shapes[1] and self._in_order(sum(answer.rows, ()), sum(truth.rows, ()))
            case (Matrix() as matrix, (Listed() | Braced()) as items) | (
                (Listed() | Braced()) as items,
                Matrix() as matrix,
            ):
                return matrix.as_vector is not None and self._same_lists(Listed(matrix.as_vector), Listed(items.items))
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
                return answer.has_order and self._in_order(items, others)
            case Bracketed(items=items), Listed(items=others) if answer.has_one_kind_of_bracket:
                return self._in_any_order(items, others)
            case Bracketed(left="[", right="]", items=items), Braced(items=others):
                return self._in_any_order(items, others)
            case (Scalar() as one, Matrix(rows=[[other]])) | (Matrix(rows=[[other]]), Scalar() as one):
                return self.same(one, other)
            case (Scalar() as one, (Braced(items=[other]) | Bracketed(items=[other]))) | (
                (Braced(items=[other]) | Bracketed(items=[other])),
                Scalar() as one,
            ):
                return self.same(one, other)
            case (Scalar(), Listed()) | (Listed(), Scalar()):
                return False
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
        if set(texts) in _PRINTED_CONSTANTS:
            return True
        if same_words(*texts) or all(map(is_words, texts)):
            return same_words(*texts)
        if (time := same_time(*texts)) is not None:
            return time
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
            return all(isinstance(form, Braced) or form.has_order for form in (answer, truth)) and self._in_order(
                answer.items, truth.items
            )
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
            if is_assignment(truth):
                return self.same(answer, truth.parts[-1])
            if is_calculation(truth):
                return all(self.same(answer, part) for part in truth.parts)
            if set(truth.signs) == {"="}:
                # What contradicts itself has no value; an equation may be written as another one.
                return None if len(truth.parts) == 2 else False
            value = as_set(truth)
            return None if value is None else self.same(answer, value)
        return self._same_relations(answer, truth)

    def _is_value(self, answer: Relation, truth: Form) -> bool | None:
        """Whether a relation gives the value `truth`."""
        if is_assignment(answer):
            return self.same(answer.parts[-1], truth)
        if set(answer.signs) == {"="}:
            # An equation in letters is not its right side.
            return is_calculation(answer) and all(self.same(part, truth) for part in answer.parts)
        values = as_set(answer)
        return None if values is None else self.same(values, truth)

    def _same_relations(self, answer: Relation, truth: Relation) -> bool | None:
        if answer.signs == truth.signs == ("=",):
            for sides in (answer.parts, answer.parts[::-1]):
                if same_name(sides[0], truth.parts[0]):
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

    def _same_cases(self, answer: Cases, truth: Cases) -> bool:
        if len(answer.rows) != len(truth.rows):
            return False
        left, left_over = list(truth.rows), []
        for value, condition in answer.rows:
            index = next(
                (i for i, row in enumerate(left) if condition and row[1] and self.same(condition, row[1])), None
            )
            if index is None:
                left_over.append((value, condition))
            elif not self.same(value, left.pop(index)[0]):
                return False
        # One may stand under another name: what is odd is what is not even.
        return not left or (
            len(left) == 1 and None in (left[0][1], left_over[0][1]) and bool(self.same(left_over[0][0], left[0][0]))
        )

    def _same_ratio(self, answer: Form, truth: Form) -> bool:
        texts = [compact(form.text) if isinstance(form, Scalar | Ratio) else "" for form in (answer, truth)]
        if not all(texts):
            return False
        if (time := same_time(texts[0], texts[1])) is not None:
            return time
        if isinstance(answer, Ratio) and isinstance(truth, Ratio):
            return same_ratio(answer.parts, truth.parts, self._algebra)
        numbers = [self._as_number(form) for form in (answer, truth)]
        return None not in numbers and self.same_scalar(*numbers)  # type: ignore[arg-type]

    def _as_number(self, form: Form) -> str | None:
        match form:
            case Ratio(parts=parts):
                return as_number(parts, self._algebra)
            case Scalar(text=text):
                return text
        return None


def _cannot_be_read(value: str) -> bool:
    """Whether a parser of LaTeX would make of it what it is not: words a product, two numbers a sum."""
    text = compact(value)
    return not text or is_words(text) or has_numbers_side_by_side(text) or _INDEXED_NUMBER.search(text) is not None


def _same_in_base(based: "list[BasedNumber | None]", values: list[str]) -> bool:
    """Whether two numbers have the same digits and, where both name it, the same base."""
    digits = [number.digits if number else value.casefold() for number, value in zip(based, values, strict=True)]
    return digits[0] == digits[1] and len({number.base for number in based if number}) == 1
