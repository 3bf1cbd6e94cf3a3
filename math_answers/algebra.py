r"""Expressions compared by their values: read by math-verify's LaTeX parser, evaluated by sympy.

Call this only inside a scoring worker: sympy can need unbounded time and memory for a short text. Running out of memory
or stack is raised, never taken for a difference. Where sympy stumbles over an expression otherwise, math-verify's own
comparison decides. Both libraries are imported at the first comparison, so that importing this module stays free of
them.

Two constants are the same when they agree to `DIGITS` digits after the first (more where an integer has more).
Two expressions in letters are the same when they agree, to that precision, at each of a few fixed points that no answer
knows; a pair that differs and agrees at all of them would be no accident. Points where either is not defined, or not
real at a negative letter, say nothing.
"""

import re
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING

from math_answers.plain_number import FLOAT_ERROR, read_number, stands_for

if TYPE_CHECKING:
    from sympy import Basic, Expr, Symbol

DIGITS = 50
_GUARD = 10
_MAX_DIGITS = 5_000
"""Integers with more digits are compared by sympy's own rules."""
_CACHED_EXPRESSIONS = 4_096
_POINTS = (
    ("17/13", "29/19", "41/31", "23/37", "53/47", "61/59", "71/67", "83/79"),
    ("5/11", "31/23", "13/17", "47/43", "19/29", "73/61", "37/41", "97/89"),
    ("89/7", "101/9", "79/11", "103/13", "113/3", "127/21", "151/22", "163/31"),
    # With negative values from here on.
    ("-19/7", "-43/37", "67/31", "-7/5", "59/53", "-11/3", "83/71", "-13/9"),
    ("-3/7", "11/5", "-29/13", "37/17", "-5/19", "47/23", "-61/29", "79/37"),
)
_FIRST_NEGATIVE = 3
_DEGREES = re.compile(r"(\d+(?:\.\d+)?|\{\d+(?:\.\d+)?\})\s*\^\s*\{?\s*\\circ\s*\}?")
_TRIGONOMETRIC = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![a-z])")
# The parser takes 2(3) for two and three together, as in a mixed number.
_PRODUCT = re.compile(r"(?<![\w^_{}.\\])(\d+(?:\.\d+)?)\s*(?=\()|(\))\s*(?=\()")
_BARE_FUNCTION = re.compile(r"(?<![\\A-Za-z])(sin|cos|tan|cot|sec|csc|ln|log|sqrt)(?=[\s({^_\d])")


class SympyAlgebra:
    """Of constants, expressions, and equations."""

    def same_value(self, answer: str, truth: str) -> bool:
        """Whether two expressions in LaTeX have the same value; of a percentage its share or bare number will do."""
        if answer.endswith("%") and truth.endswith("%"):
            return _same(answer[:-1], truth[:-1])
        return any(_same(one, other) for one in _readings(answer) for other in _readings(truth))

    def same_equation(self, answer: tuple[str, str], truth: tuple[str, str]) -> bool:
        """Whether left minus right of one equation is a multiple, not zero, of that of the other."""
        sides = [parsed(text) for text in (*answer, *truth)]
        if not all(map(_is_expression, sides)):
            return False
        one, other = sides[0] - sides[1], sides[2] - sides[3]  # type: ignore[operator]
        if one.free_symbols != other.free_symbols or not one.free_symbols:
            return False
        ratios = [
            one_value / other_value
            for one_value, other_value in _values_at_points(one, other)
            if one_value and other_value
        ]
        return len(ratios) > 1 and all(_agree(ratio, ratios[0], exact=True) for ratio in ratios)

    def same_as_a_whole(self, answer: str, truth: str) -> bool:
        """math-verify's own verdict, for sets and relations of forms that are not taken apart here."""
        from math_verify import LatexExtractionConfig, parse, verify

        # Its timeouts are signals that it handles itself; here the pool bounds the whole process.
        extraction = [LatexExtractionConfig(boxed_match_priority=-1)]
        one, other = (parse(f"${text}$", extraction, parsing_timeout=None) for text in (answer, truth))
        return verify(other, one, timeout_seconds=None, allow_set_relation_comp=True)


@lru_cache(maxsize=_CACHED_EXPRESSIONS)
def parsed(latex: str) -> "Basic | None":
    """What the LaTeX stands for, unevaluated; None where it cannot be read.

    Raises:
        MemoryError, RecursionError: it could be read only with more.
    """
    from latex2sympy2_extended import NormalizationConfig, latex2sympy
    from latex2sympy2_extended.latex2sympy2 import ConversionConfig
    from sympy import Expr, I, Symbol

    if _TRIGONOMETRIC.search(latex):
        latex = _DEGREES.sub(r"(\1 \\cdot \\frac{\\pi}{180})", latex)
    latex = _BARE_FUNCTION.sub(r"\\\1", latex)
    latex = _PRODUCT.sub(r"\1\2 \\cdot ", latex)
    try:
        value = latex2sympy(
            latex,
            is_real=True,
            normalization_config=NormalizationConfig(malformed_operators=True, nits=True, boxed="none"),
            # An angle A and a side a are two letters.
            conversion_config=ConversionConfig(lowercase_symbols=False),
        )
        # The parser has no imaginary unit; the index of a sum is not one.
        letter = Symbol("i", real=True)
        return value.xreplace({letter: I}) if isinstance(value, Expr) and letter in value.free_symbols else value
    except BaseException as error:
        # The parser raises bare Exception at what it cannot read, and sympy many kinds at what makes no sense.
        if isinstance(error, Exception) and not isinstance(error, MemoryError | RecursionError):
            return None
        raise


def _readings(latex: str) -> tuple[str, ...]:
    body = latex.removesuffix("%")
    return (latex,) if body == latex else (body, rf"\frac{{{body}}}{{100}}")


def _is_expression(value: object) -> bool:
    from sympy import Expr

    return isinstance(value, Expr)


def _same(answer: str, truth: str) -> bool:
    one, other = parsed(answer), parsed(truth)
    if one is None or other is None:
        return False
    if not _is_expression(one) or not _is_expression(other):
        return SympyAlgebra().same_as_a_whole(answer, truth)
    try:
        return _same_values(answer, one, truth, other)
    except BaseException as error:
        # What makes no sense (a limit of nothing, a sum over a matrix) raises errors of many kinds.
        if isinstance(error, Exception) and not isinstance(error, MemoryError | RecursionError):
            return SympyAlgebra().same_as_a_whole(answer, truth)
        raise


def _same_values(answer: str, one: "Expr", truth: str, other: "Expr") -> bool:
    for text, value in ((answer, other), (truth, one)):
        number = read_number(text)
        if number is not None and number.unit is not None and not value.free_symbols:
            exact = _fraction(value)
            if exact is None:
                return False
            # What is known to `DIGITS` digits only cannot be exactly a decimal.
            return abs(number.value - exact) <= abs(exact) / 10**DIGITS or stands_for(number, exact)
    return one == other or _same_expression(one, other)


def _same_expression(one: "Expr", other: "Expr") -> bool:
    from sympy import Float

    exact = not one.has(Float) and not other.has(Float)
    values = list(_values_at_points(one, other))
    if not values:
        # Nowhere defined, or infinite: the same only if written alike.
        return one.doit() == other.doit()
    if not all(_agree(*pair, exact=exact) for pair in values):
        return False
    return not exact or bool(one.free_symbols) or _same_to_the_last_digit(one, other)


def _values_at_points(one: "Expr", other: "Expr") -> "Iterator[tuple[Expr, Expr]]":
    """Both values at points where both are defined; one pair where there are no letters."""
    letters = sorted(one.free_symbols | other.free_symbols, key=str)
    for number, point in enumerate(_POINTS if letters else _POINTS[:1]):
        values = [_value(expression, letters, point) for expression in (one, other)]
        if None in values or (number >= _FIRST_NEGATIVE and any(_is_not_real(value) for value in values)):
            continue
        yield values[0], values[1]


def _value(expression: "Expr", letters: "list[Symbol]", point: tuple[str, ...]) -> "Expr | None":
    """A complex number to `DIGITS` and more; None where the expression has no value there."""
    from sympy import I, Rational

    if letters:
        places = [Rational(point[index % len(point)]) + index // len(point) for index in range(len(letters))]
        expression = expression.xreplace(dict(zip(letters, places, strict=True)))
    value = expression.evalf(DIGITS + _GUARD)
    if not value.is_number or not value.is_finite:
        return None
    real, imaginary = (_significant(part) for part in value.as_real_imag())
    return None if real is None or imaginary is None else real + I * imaginary


def _significant(part: "Expr") -> "Expr | None":
    from sympy import Float, Integer

    value = part.evalf(DIGITS + _GUARD)
    if not value.is_Float and not value.is_Rational:
        return None
    # Of a difference that vanishes only the order of its error is known.
    return Integer(0) if isinstance(value, Float) and value._prec <= 8 else value


def _is_not_real(value: "Expr | None") -> bool:
    return value is not None and value.as_real_imag()[1] != 0


def _agree(one: "Expr", other: "Expr", exact: bool) -> bool:
    from sympy import Abs, Float

    scale = max(Abs(one).evalf(15), Abs(other).evalf(15))
    error = Abs(one - other).evalf(15)
    bound = Float(10) ** -DIGITS if exact else Float(float(FLOAT_ERROR))
    return bool(error <= scale * bound)


def _same_to_the_last_digit(one: "Expr", other: "Expr") -> bool:
    """Of constants that agree in their leading digits: whether a long integer does in all of them."""
    from sympy import Abs, log

    size = Abs(one).evalf(15)
    if not size:
        return True
    digits = int((log(size) / log(10)).evalf(15))
    if digits < DIGITS - _GUARD:
        return True
    if digits > _MAX_DIGITS:
        return bool(one.doit() == other.doit())
    return bool(Abs((one - other).evalf(digits + DIGITS, maxn=digits + 2 * DIGITS)) < 1)


def _fraction(value: "Expr") -> Fraction | None:
    """A real constant to `DIGITS` digits; decimals in it are what they say."""
    from sympy import Float, Rational

    number = _value(value.xreplace({item: Rational(str(item)) for item in value.atoms(Float)}), [], ())
    if number is None or _is_not_real(number):
        return None
    ratio = Rational(number)
    return Fraction(int(ratio.p), int(ratio.q))
