"""Numbers, units and forms: what the comparison takes an answer apart into. Pure text, no algebra."""

from __future__ import annotations

from fractions import Fraction

import pytest
from guard import guarded
from hypothesis import given, settings
from hypothesis import strategies as st

from math_answers import last_boxed
from math_answers.equivalence import MAX_SETTLED_CHARS, settled
from math_answers.form import Braced, Bracketed, Listed, Matrix, Relation, Scalar, Union, read_form
from math_answers.latex_text import compact, tidy, words_of
from math_answers.plain_number import read_number, same_number
from math_answers.python_text import python_to_latex
from math_answers.units import Quantity, read_quantity

NUMBERS = {
    "204": Fraction(204),
    "-0.50": Fraction(-1, 2),
    ".5": Fraction(1, 2),
    "5.": Fraction(5),
    "1/3": Fraction(1, 3),
    "-1/3": Fraction(-1, 3),
    r"-\frac{1}{3}": Fraction(-1, 3),
    r"\frac{-1}{-3}": Fraction(1, 3),
    r"1\frac{1}{3}": Fraction(4, 3),
    r"-1\frac{1}{3}": Fraction(-4, 3),
    r"2.5 \cdot 10^{-3}": Fraction(1, 400),
    "1e3": Fraction(1000),
    "10^{2}": Fraction(100),
    "(5)": Fraction(5),
    "{5}": Fraction(5),
    "5%": Fraction(5),
}


@pytest.mark.parametrize(("text", "value"), NUMBERS.items())
def test_plain_numbers_are_read_exactly(text: str, value: Fraction) -> None:
    """Without floating point."""
    number = read_number(text)
    assert number is not None
    assert number.value == value
    assert number.percent == text.endswith("%")


@pytest.mark.parametrize(
    "text",
    ["", "x", "5x", "1 2", "1/0", r"\frac{1}{0}", "1e9999", "10^{99999}", "5,", r"\pi", "--5", "7" * 2_000, "1/2/3"],
)
def test_what_is_no_plain_number_is_left_to_others(text: str) -> None:
    """Nothing is guessed, and nothing is too large."""
    assert read_number(text) is None


# decimal, exact value, the same
ROUNDED = [
    ("0.333333", "1/3", True),
    ("0.33333", "1/3", False),
    ("0.333334", "1/3", False),
    ("0.666666", "2/3", True),
    ("0.666667", "2/3", True),
    ("0.666668", "2/3", False),
    ("-0.666667", "-2/3", True),
    ("-0.666667", "2/3", False),
    ("1234.56", "123456/100", True),
    ("1234.56", "123457/100", False),
    ("99999.5", "99999", False),
    ("2.99999999999", "3", True),
    ("2.99999", "3", False),
    ("0.333333", "0.33333333", True),
    ("0.33", "0.33333333", False),
    ("33.3333%", "1/3", True),
    ("33.33%", "1/3", False),
]


@pytest.mark.parametrize(("decimal", "exact", "same"), ROUNDED)
def test_decimals_stand_for_what_they_were_rounded_from(decimal: str, exact: str, same: bool) -> None:
    """From six significant digits on, rounded or cut at the last one, whichever side is the decimal."""
    one, other = read_number(decimal), read_number(exact)
    assert one is not None
    assert other is not None
    assert same_number(one, other) is same
    assert same_number(other, one) is same


QUANTITIES = {
    r"5\text{ cm}^2": Quantity("5", "cm^2"),
    "5 cm": Quantity("5", "cm"),
    "5cm^2": Quantity("5", "cm^2"),
    "20 sq cm": Quantity("20", "cm^2"),
    r"20\text{ cubic feet}": Quantity("20", "ft^3"),
    r"60\text{ miles per hour}": Quantity("60", "mi/h"),
    "60 mph": Quantity("60", "mi/h"),
    "3 m/s": Quantity("3", "m/s"),
    r"90^\circ": Quantity("90", "deg"),
    r"30^{\circ}C": Quantity("30", "degC"),
    r"7 \text{ right triangles}": Quantity("7", ""),
    "210 ways": Quantity("210", ""),
    r"\frac{11}{15}\text{ days}": Quantity(r"\frac{11}{15}", "day"),
    "5x": Quantity("5x", None),
    "5m": Quantity("5m", None),
    "6xy": Quantity("6xy", None),
    r"2\pi": Quantity(r"2\pi", None),
    r"\sin 30^\circ": Quantity(r"\sin 30^\circ", None),
    "3 and 4": Quantity("3 and 4", None),
    "1011_2": Quantity("1011_2", None),
}


@pytest.mark.parametrize(("text", "quantity"), QUANTITIES.items())
def test_units_are_told_from_letters(text: str, quantity: Quantity) -> None:
    """A unit behind a number is taken off, a product of letters is not."""
    assert read_quantity(text) == quantity


ONE, TWO = Scalar("1"), Scalar("2")
FORMS = {
    "1": ONE,
    "(1)": ONE,
    "(1,2)": Bracketed("(", ")", (ONE, TWO)),
    "[1, 2)": Bracketed("[", ")", (ONE, TWO)),
    r"\langle 1, 2 \rangle": Bracketed("(", ")", (ONE, TWO)),
    "[1]": Bracketed("[", "]", (ONE,)),
    "1,2": Listed((ONE, TWO)),
    r"1 \text{ and } 2": Listed((ONE, TWO)),
    "1,2,": Listed((ONE, TWO)),
    r"\{1,2\}": Braced((ONE, TWO)),
    r"(1,2)\cup\{1\}": Union((Bracketed("(", ")", (ONE, TWO)), Braced((ONE,)))),
    r"\begin{pmatrix}1&2\\2&1\end{pmatrix}": Matrix(((ONE, TWO), (TWO, ONE))),
    r"1 < x \le 2": Relation((ONE, Scalar("x"), TWO), ("<", "<=")),
    "x=1": Relation((Scalar("x"), ONE), ("=",)),
    "x<1 or x>2": Union((Relation((Scalar("x"), ONE), ("<",)), Relation((Scalar("x"), TWO), (">",)))),
    r"\{x \mid x > 2\}": Relation((Scalar("x"), TWO), (">",)),
    "(x+1)(x-2)": Scalar("(x+1)(x-2)"),
    "f(1,2)": Scalar("f(1,2)"),
    r"1 \pm 2": Listed((Scalar("1 + 2"), Scalar("1 - 2"))),
    "": Scalar(""),
    "(": Scalar("("),
    ")(": Scalar(")("),
}


@pytest.mark.parametrize(("text", "form"), FORMS.items())
def test_answers_are_taken_apart_by_their_brackets(text: str, form: object) -> None:
    """What is not understood is one expression."""
    assert read_form(text) == form


# Pieces of which hostile and friendly answers are made.
PIECES = [
    *"0123456789xyzEI.,;:+-*/^_()[]{}<>=|&%$'\"\\ \n\x00",
    *(
        r"\frac",
        r"\sqrt",
        r"\left(",
        r"\right)",
        r"\text{",
        r"\boxed{",
        r"\pm",
        r"\cup",
        r"\infty",
        r"\{",
        r"\}",
        r"\\",
    ),
    *(
        r"\begin{pmatrix}",
        r"\end{pmatrix}",
        r"\circ",
        r"\pi",
        " and ",
        " or ",
        "cm",
        "\ud800",
        "\u202e",
        "\uff15",
        "**",
    ),
    *("Matrix(", "Interval(", "lambda ", "__import__", r"\overline{", r"\mid", "U", "e9"),
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=80).map("".join) | st.text(max_size=200)


@given(TEXTS, TEXTS)
@settings(max_examples=500, deadline=None)
def test_no_text_raises(one: str, other: str) -> None:
    """Whatever a model writes is data."""
    last_boxed(one)
    python_to_latex(one)
    tidied = tidy(one)
    words_of(compact(tidied))
    read_form(tidied)
    read_quantity(tidied)
    assert settled(one, [other]) in {True, False, None}
    assert settled(one, [one]) in {True, False, None}


REPEATED = [
    *PIECES,
    "_a",
    "1,",
    "(1,",
    r"\{1,",
    "x=1,",
    "x<1 or ",
    "a ",
    "1 ",
    r"\text{a}",
    r"1\pm",
    "[1][",
    "5 cm ",
    "'" * 2,
]


@pytest.mark.parametrize("piece", REPEATED, ids=lambda piece: piece.encode("ascii", "backslashreplace").decode())
def test_what_is_settled_at_once_is_settled_soon(piece: str) -> None:
    """No text of the allowed length keeps the caller's process, however it repeats itself."""
    text = (piece * MAX_SETTLED_CHARS)[:MAX_SETTLED_CHARS]
    with guarded():
        settled(text, [text[:-1] + "7"])


@pytest.mark.parametrize("piece", REPEATED, ids=lambda piece: piece.encode("ascii", "backslashreplace").decode())
def test_text_functions_take_linear_time(piece: str) -> None:
    """Half a megabyte of one piece is read in seconds, not hours."""
    text = piece * (500_000 // len(piece))
    with guarded():
        last_boxed(text)
        compact(tidy(text))
        python_to_latex(text)
