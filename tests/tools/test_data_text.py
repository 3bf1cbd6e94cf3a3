"""Texts of problems: what makes no difference to a question, swallowed commands, and kinds of ground truths."""

from __future__ import annotations

import pytest

from tir_tools.data.answer_kind import AnswerKind, answer_kind
from tir_tools.data.mending import mended
from tir_tools.data.normal import ID_LENGTH, normalised, problem_id


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Find $x$.", "find  x"),
        (r"What is $\dfrac{1}{2}+\tfrac12$?", r"What is \(\frac{1}{2}+\frac{12}\)?"),
        (r"Let $\left( a, b \right)$ be", "Let (a,b) be"),
        (r"$1{,}000$ and $2,345$", "1000 and 2345"),
        (r"$x \le y \neq z$", r"$x\leq y\ne z$"),
        (r"$3 \cdot 4 \times 5$", "3*4*5"),
        (r"\textbf{Find} the \text{area}", "Find the area"),
        ("Is “it” a – b…", 'Is "it" a - b ...'),
        ("ｘ＝１", "x=1"),
        (r"$a\,b\quad c~d$", "a b c d"),
        ("第1题：求值。", "第 1 题 求值"),
    ],
)
def test_layout_makes_no_difference(one: str, other: str) -> None:
    """Two ways of writing the same question have one normal text, and one id."""
    assert normalised(one) == normalised(other)
    assert problem_id(one) == problem_id(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is 2+3?", "What is 2-3?"),
        ("What is 2.5?", "What is 25?"),
        ("What is 5!?", "What is 5?"),
        ("Find x in (1,2)", "Find x in [1,2]"),
        (r"$x^2$", r"$x_2$"),
        (r"$\sin x$", r"$\cos x$"),
        ("1, 234 apples", "1,234 apples"),
        (r"$\leftarrow$", r"$\rightarrow$"),
        ("求最大值", "求最小值"),
    ],
)
def test_content_makes_a_difference(one: str, other: str) -> None:
    """Numbers, operators, brackets and words tell questions apart."""
    assert normalised(one) != normalised(other)
    assert problem_id(one) != problem_id(other)


def test_ids_stay() -> None:
    """An id is a fixed function of the question: rates measured today must find their problems tomorrow."""
    assert problem_id("What is $1+1$?") == "ed390ae6bdcc3959"
    assert len(problem_id("")) == ID_LENGTH


@pytest.mark.parametrize(
    ("broken", "whole"),
    [
        ("is $\x0crac{1}{2}$", r"is $\frac{1}{2}$"),
        ("$\x08eta \x08inom{5}{2}$", r"$\beta \binom{5}{2}$"),
        ("$\x07lpha$ and \x0bec{v}", r"$\alpha$ and \vec{v}"),
        (
            "$2\times 3$, \textbf{(A)}, $\theta$, $\triangle ABC$",
            r"$2\times 3$, \textbf{(A)}, $\theta$, $\triangle ABC$",
        ),
        ("a\tb", "a\tb"),
        ("name\tage\n12\t34", "name\tage\n12\t34"),
        ("a page\x0c\nbreak", "a page\x0c\nbreak"),
        (r"$\frac12$", r"$\frac12$"),
    ],
)
def test_swallowed_commands_come_back(broken: str, whole: str) -> None:
    """A control character that was a backslash and a letter is that again; tabs between columns stay."""
    assert mended(broken) == whole


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("", AnswerKind.EMPTY),
        ("073", AnswerKind.INTEGER),
        (r"-1{,}234", AnswerKind.INTEGER),
        (r"\$4813.24", AnswerKind.DECIMAL),
        (".039", AnswerKind.DECIMAL),
        (r"65\%", AnswerKind.PERCENTAGE),
        (r"-\dfrac{1}{6}", AnswerKind.FRACTION),
        (r"\dfrac 3 8", AnswerKind.FRACTION),
        ("3/8", AnswerKind.FRACTION),
        (r"\text{(B)}", AnswerKind.CHOICE),
        (r"\text{Tuesday}", AnswerKind.WORDS),
        (r"\text{October 30}", AnswerKind.WORDS),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", AnswerKind.MATRIX),
        ("x = -1", AnswerKind.RELATION),
        (r"x \ge 3", AnswerKind.RELATION),
        (r"\{1, 2\}", AnswerKind.SET),
        (r"(-\infty, 3) \cup (3, \infty)", AnswerKind.SET),
        (r"\left[ -1, \frac{1}{\sqrt{2}} \right)", AnswerKind.INTERVAL),
        (r"(0, \infty)", AnswerKind.INTERVAL),
        ("(0,1)", AnswerKind.TUPLE),
        ("(1,-2,2,-3)", AnswerKind.TUPLE),
        (r"\sqrt{5}, -\sqrt{5}", AnswerKind.LIST),
        (r"-2 \text{ or } -12", AnswerKind.LIST),
        (r"30^\circ", AnswerKind.QUANTITY),
        (r"\frac{68}{3}\text{ pounds}", AnswerKind.QUANTITY),
        (r"90 - \frac{25}{2}\pi", AnswerKind.NUMBER),
        ("1202_3", AnswerKind.NUMBER),
        ("x^2 - x - 1", AnswerKind.EXPRESSION),
        ("2001+25i", AnswerKind.EXPRESSION),
    ],
)
def test_kinds_of_ground_truths(answer: str, kind: AnswerKind) -> None:
    """Each form is counted as what it is."""
    assert answer_kind(answer) is kind
