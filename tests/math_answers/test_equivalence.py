"""Which answers are the same. The pairs here are harmless, so they are compared in this process."""

import subprocess
import sys

import pytest

from math_answers.equivalence import is_equivalent
from math_answers.python_text import python_to_latex

pytest.importorskip("math_verify")

# Answer, ground truth.
EQUAL = [
    # numbers as text
    ("204", "204"),
    ("204.", "204"),
    ("$204$", "204"),
    ("'204'", "204"),
    ("204.0", "204"),
    ("1,234", "1234"),
    ("1234", r"1,\!234"),
    (r"12\,345", "12345"),
    ("1 234", "1234"),
    ("\u22123", "-3"),
    ("-0", "0"),
    (".5", "0.5"),
    ("np.float64(3.0)", "3"),
    # fractions and decimals
    (r"\frac12", r"\frac{1}{2}"),
    (r"\dfrac{1}{2}", r"\frac{1}{2}"),
    ("0.5", r"\frac{1}{2}"),
    ("1/2", r"\dfrac12"),
    (r"\frac{2}{4}", r"\frac{1}{2}"),
    (r"-\frac{1}{2}", r"\frac{-1}{2}"),
    (r"1\frac{12}{13}", r"\frac{25}{13}"),
    ("1 12/13", r"1\frac{12}{13}"),
    ("0.333333", r"\frac13"),
    (r"0.\overline{3}", r"\frac13"),
    (r"\frac{17}{99}", r"0.\overline{17}"),
    (r"0.1\overline{6}", r"\frac16"),
    ("Fraction(3, 4)", "0.75"),
    ("Rational(1, 2)", r"\frac12"),
    ("3:2", r"\frac32"),
    # radicals, powers, constants
    (r"\sqrt{8}", r"2\sqrt{2}"),
    (r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt{2}}{2}"),
    ("1.4142135623730951", r"\sqrt{2}"),
    ("3*sqrt(11)", r"3\sqrt{11}"),
    ("-sqrt(3)/2", r"-\frac{\sqrt{3}}{2}"),
    ("2**(1/3)", r"\sqrt[3]{2}"),
    ("2**10", "1024"),
    ("1e-05", "10^{-5}"),
    (r"5.0\times 10^{3}", "5000"),
    ("pi/2", r"\frac{\pi}{2}"),
    ("E**2", "e^2"),
    ("exp(2)", "e^2"),
    ("log(2)", r"\ln 2"),
    ("oo", r"\infty"),
    ("120", "5!"),
    ("10", r"\binom{5}{2}"),
    # complex numbers
    ("3*I", "3i"),
    ("(1+2j)", "1+2i"),
    ("4 - I, 4 + I", "4+i,4-i"),
    # intervals
    (r"\left[0, 1\right)", "[0,1)"),
    ("Interval.Ropen(0, 1)", "[0,1)"),
    ("Interval(-oo, 2)", r"(-\infty, 2]"),
    ("Union(Interval.open(-oo, 0), Interval(1, 3))", r"(-\infty,0)\cup[1,3]"),
    ("1<x<2", "(1,2)"),
    (r"x \in [1,2]", "[1,2]"),
    # tuples, sets and lists
    ("(1, 2)", r"\left(1,2\right)"),
    ("(1.0, 0.5)", r"(1,\frac12)"),
    ("(3, pi/2)", r"(3,\frac{\pi}{2})"),
    ("2,1", "1,2"),
    ("[-1, 2]", "-1,2"),
    ("{1, 2}", r"\{1,2\}"),
    (r"1 \text{ and } 2", "1,2"),
    (r"\pm 2", "2,-2"),
    (r"\varnothing", r"\emptyset"),
    # matrices
    ("Matrix([[8, 12], [-4, 20]])", r"\begin{pmatrix} 8 & 12 \\ -4 & 20 \end{pmatrix}"),
    (r"\begin{pmatrix}8&12\\-4&20\end{pmatrix}", r"\begin{pmatrix} 8 & 12 \\ -4 & \frac{40}{2} \end{pmatrix}"),
    (r"\begin{bmatrix}1\\2\end{bmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
    # percent, units, money
    ("20", r"20\%"),
    (r"20\%", "20"),
    ("20%", r"20\%"),
    ("0.2", r"20\%"),
    (r"\frac{1}{5}", r"20\%"),
    ("118", r"118 \text{ dollars}"),
    ("5 cm", "5"),
    (r"5\text{ cm}^2", "5"),
    (r"\$65", "65"),
    ("90", r"90^\circ"),
    # algebra
    ("5", "x=5"),
    ("x=5", "5"),
    ("x**2 + 2*x + 1", "(x+1)^2"),
    ("y=2x+3", "y = 3+2x"),
    # words, choices, bases
    ("(C)", "C"),
    ("C", r"\text{(C)}"),
    ("(E)", r"\text{E}"),
    (r"\textbf{(C)}", r"\text{(C)}"),
    ("monday", r"\text{Monday}"),
    ("A, D, F, G, H", r"\text{A, D, F, G, H}"),
    (r"1011_{2}", "1011_2"),
    ("1011", "1011_2"),
]

DIFFERENT = [
    ("5", "6"),
    ("-5", "5"),
    ("0.33", r"\frac13"),
    ("3.14", r"\pi"),
    ("3.0001", "3"),
    (r"\sqrt{2}", r"\sqrt{3}"),
    ("2", "2**10"),
    ("2**10", "2"),
    ("x^2", "x^3"),
    ("5x", "5"),
    ("y=5", "x=5"),
    ("[1,2]", "(1,2)"),
    ("(1,2)", "[1,2)"),
    ("(2,1)", "(1,2)"),
    ("(1,2,3)", "(1,2)"),
    (r"\{1,2\}", r"\{1,3\}"),
    ("1,2", "1,2,3"),
    (r"\begin{pmatrix} 8 & 12 \\ -4 & 21 \end{pmatrix}", r"\begin{pmatrix} 8 & 12 \\ -4 & 20 \end{pmatrix}"),
    ("50", "0.5"),
    ("21%", r"20\%"),
    ("B", r"\text{(C)}"),
    ("olleh", "hello"),
    ("odd", "even"),
    ("11_3", "11_2"),
    ("None", "5"),
    ("True", "1"),
    (r"\infty", r"-\infty"),
    # a number picked out of something longer
    ("there are 5 apples", "5"),
    ("10 apples and 5 pears", "5"),
    ("1, 2, 3, 4, 5", "5"),
    ("3 or 4", "3"),
    ("5 5", "5"),
    ("1 2", "3"),
    ("1 2", "12"),
    # nothing there
    ("", "5"),
    ("5", ""),
    ("", ""),
    ("$", "5"),
    # what cannot be read
    (r"\frac{1}{0}", "5"),
    ("}{", "5"),
    (r"\frac{", "5"),
    ("\ud800", "5"),
    ("__import__('os').getpid()", "5"),
]


@pytest.mark.parametrize(("answer", "ground_truth"), EQUAL)
def test_same_answers_are_equal(answer: str, ground_truth: str) -> None:
    """Another way of writing the ground truth is the ground truth."""
    assert is_equivalent(answer, ground_truth)


@pytest.mark.parametrize(("answer", "ground_truth"), DIFFERENT)
def test_other_answers_are_different(answer: str, ground_truth: str) -> None:
    """Another value, or a text that only contains the value, is not the ground truth."""
    assert not is_equivalent(answer, ground_truth)


def test_any_accepted_answer_will_do() -> None:
    """Of several accepted answers one is enough."""
    assert is_equivalent("0.5", ["7", r"\frac12"])
    assert not is_equivalent("0.25", ["7", r"\frac12"])


def test_long_text_is_compared_as_text_only() -> None:
    """A text too long to be parsed can still be equal letter by letter."""
    long = "+".join(["1"] * 2_000)
    assert is_equivalent(long, f"${long}$")
    assert not is_equivalent(long, "2000")


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("3*sqrt(11)", r"3 \cdot \sqrt{11}"),
        ("(x + 1)*(x - pi)", r"(x + 1) \cdot (x - \pi)"),
        ("1 - (2 - x**2)", "1 - (2 - x^{2})"),
        ("(-2)**2", "(-2)^{2}"),
        ("1/2*pi", r"\frac{1}{2} \cdot \pi"),
        ("[[1, 2], [3, 4]]", r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}"),
        ("(1, pi)", r"(1, \pi)"),
        ("1, pi", r"1, \pi"),
        ("2e+20", r"2 \cdot 10^{20}"),
        ("1/2", None),
        ("x^2", None),
        ("E", None),
        (r"\sqrt{2}**2", None),
        ("open('file')", None),
        ("lambda: pi", None),
        ("True**2", None),
        ("((((pi", None),
        ("(" * 900 + "pi" + ")" * 900, None),
        ("9**" * 400 + "9", "9^{" * 400 + "9" + "}" * 400),
    ],
)
def test_printed_python_becomes_latex(text: str, latex: str | None) -> None:
    """Python syntax is translated without being evaluated; anything else is left alone."""
    assert python_to_latex(text) == latex


def test_importing_the_pure_modules_stays_light() -> None:
    """The reward modules import neither math-verify nor sympy, torch, ray or verl."""
    program = (
        "import sys, verl_tir.reward, math_answers.equivalence;"
        "print(sorted({'math_verify', 'sympy', 'torch', 'ray', 'verl', 'hydra'} & set(sys.modules)))"
    )
    path = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("answer", "ground_truth"),
    [
        (r"{x}^{i} \mod \frac{e}{\infty}", "0"),
        (r"\lim_{x\to \pi} \begin{pmatrix}1&2\\2&1\end{pmatrix}", "5"),
        (r"\binom{x}{\infty} + \log_{1}(0)", "5"),
        (r"\frac{\{1,2\}}{3}", r"\sqrt{2}"),
        (r"\int_0^{x} \{1\} dx", "5"),
    ],
)
def test_what_makes_no_sense_is_different(answer: str, ground_truth: str) -> None:
    """sympy's own errors end no worker."""
    assert not is_equivalent(answer, ground_truth)
