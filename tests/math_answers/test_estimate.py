"""What is told apart in floating point, and what is left to algebra."""

from __future__ import annotations

import math

import pytest

from math_answers.estimate import clearly_differ, estimate

VALUES = {
    "2": 2.0,
    r"2\sqrt{3}": 2 * math.sqrt(3),
    r"\frac{1+\sqrt{5}}{2}": (1 + math.sqrt(5)) / 2,
    r"-\frac{\pi}{4}": -math.pi / 4,
    "2(3+4)": 14.0,
    "2^{10}": 1024.0,
    "2^{-1}": 0.5,
    "-3^2": -9.0,
    "1/2 + 1/3": 5 / 6,
    r"3 \cdot 4": 12.0,
}


@pytest.mark.parametrize(("latex", "value"), VALUES.items())
def test_simple_expressions_have_a_value(latex: str, value: float) -> None:
    """As LaTeX is read."""
    found = estimate(latex)
    assert found is not None
    assert found.value == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    "latex",
    [
        *("", "+", "2+", "(2", "2)", "2 3", r"2\frac{1}{2}", "1/2x", "5!", "x_1", "|x|", "x^y", "x^{23x}", "2^{99}"),
        *(
            r"\sin x",
            r"\frac12",
            r"\sqrt{-1}",
            r"\sqrt[3]{2}",
            r"\frac{1}{0}",
            "0^0",
            "e",
            "i",
            "e^2",
            "5%",
            "1,2",
            "x=2",
        ),
        *("(" * 20 + "1" + ")" * 20, "9" * 20, "1+" * 200 + "1", "9^{60}^{60}"),
    ],
)
def test_what_is_not_simple_is_not_read(latex: str) -> None:
    """No guess at mixed numbers, slashes, functions and what is not real."""
    assert estimate(latex) is None


@pytest.mark.parametrize(
    ("one", "other", "differ"),
    [
        (r"2\sqrt{3}", r"3\sqrt{2}", True),
        (r"2\sqrt{2}", r"\sqrt{8}", False),
        (r"\pi", "3.14159", False),
        (r"\pi", "3", True),
        ("(x+1)^2", "x^2+2x+1", False),
        ("(x+1)^2", "x^2+1", True),
        ("2x", "2y", True),
        ("2^{50}+1", "2^{50}", False),
        (r"\sin x", "5", False),
    ],
)
def test_only_what_clearly_differs_is_told_apart(one: str, other: str, differ: bool) -> None:
    """Rounding, nearness and what cannot be read leave the matter open."""
    assert clearly_differ(one, other) is differ
