"""Rules on the text of a problem: what each finds, and what looks alike and is fine."""

from __future__ import annotations

import pytest

from tir_tools.data.normal import problem_id
from tir_tools.data.problem import Asked, Problem
from tir_tools.data.rules import OFF_BY_DEFAULT, Rule, RuleLimits, all_boxed, text_finding

DEFAULT = frozenset(Rule) - OFF_BY_DEFAULT


def problem(question: str = "What is $1+1$?", answer: str = "2", **fields: object) -> Problem:
    return Problem(problem_id(question), question, (answer,) if answer else (), 1, "test", **fields)  # type: ignore[arg-type]


def found(item: Problem, rules: frozenset[Rule] = DEFAULT) -> Rule | None:
    finding = text_finding(item, RuleLimits(), rules)
    assert finding is None or finding.detail
    return finding and finding.rule


FINE = None


@pytest.mark.parametrize(
    ("question", "rule"),
    [
        ("", Rule.NO_QUESTION),
        ("What is $1+1$?", FINE),
        ("x" * 4_001, Rule.LONG_QUESTION),
        ("x" * 4_000, FINE),
        # Proofs
        ("Prove that $\\sqrt{2}$ is irrational.", Rule.PROOF),
        ("Show that for all $n$, $n^2+n$ is even.", Rule.PROOF),
        ("Show that the sum of two odd numbers is even.", Rule.PROOF),
        ("Let $a>0$. Demonstrate clearly that $a + 1/a \\ge 2$.", Rule.PROOF),
        ("Prove or disprove: every prime is odd.", Rule.PROOF),
        ("Find all $n$ such that $n^2$ is even, and prove that there are no others.", FINE),
        ("Which number can be shown to be largest? Show that number.", FINE),
        ("A show that began at 8 ended at 10. How long was it?", FINE),
        # Options
        ("Then $n$ is (A) 1 (B) 2 (C) 3 (D) 4", Rule.MULTIPLE_CHOICE),
        (r"$\textbf{(A)}\ 1 \qquad \textbf{(B)}\ 2 \qquad \textbf{(C)}\ 3$", Rule.MULTIPLE_CHOICE),
        (r"$\text{(A) } 1\quad \text{(B) } 2\quad \text{(C) } 3$", Rule.MULTIPLE_CHOICE),
        ("Which is prime?\nA. 4\nB. 6\nC. 7\nD. 8", Rule.MULTIPLE_CHOICE),
        ("Which is prime?\nA: 4\nB: 6\nC: 7", Rule.MULTIPLE_CHOICE),
        ("Which is prime? A) 4 B) 6 C) 7", Rule.MULTIPLE_CHOICE),
        ("Given $P(A)=.1$, $P(B)=.2$ and $P(C)=.3$, find $P(A \\cup B)$.", FINE),
        ("Two circles meet in A and B. A line through A meets them in C. Find $BC$.", FINE),
        ("Points (A) and (B) are given. Find the distance.", FINE),
        # Parts
        ("Let $f(x)=x^2$. (a) Find $f(2)$. (b) Compute $f(3)$.", Rule.SEVERAL_PARTS),
        ("(1) Find the maximum. (2) Prove that it is unique.", Rule.SEVERAL_PARTS),
        ("A sequence.\n1. Find $a_1$.\n2. Determine $a_2$.", Rule.SEVERAL_PARTS),
        ("(i) What is $x$? (ii) What is $y$?", Rule.SEVERAL_PARTS),
        ("$f$ satisfies (i) $f(1)=1$ and (ii) $f(2x)=f(x)$. Find $f(8)$.", FINE),
        ("Let $f(a) = a$ and $g(b) = 2$. What is $f(3)$?", FINE),
        # Figures
        ("In the figure, $ABCD$ is a square. Find its area.", Rule.FIGURE),
        ("Find the area in the diagram below.", Rule.FIGURE),
        ("The graph of $f$ is shown. What is $f(2)$?", FINE),
        ("The graph shown has a zero. What is it?", Rule.FIGURE),
        ("Use the image: ![](a.png) What is $x$?", Rule.FIGURE),
        ("How many triangles are shown below?", Rule.FIGURE),
        ("Find the area of the figure bounded by $y=x^2$ and $y=1$.", FINE),
        ("How many holes are there in the graph of $1/x$?", FINE),
        ("In the diagram, find $x$. [asy] draw((0,0)--(1,1)); [/asy]", FINE),
        (r"In the table below find $x$. \begin{array}{cc} 1 & x \end{array}", FINE),
        ("Numbers in the following table add up to 10. Find the last.", Rule.FIGURE),
    ],
)
def test_questions(question: str, rule: Rule | None) -> None:
    """Each question is found by its rule, or by none."""
    assert found(problem(question)) is rule


@pytest.mark.parametrize(
    ("answer", "solution", "rule"),
    [
        ("", None, Rule.NO_ANSWER),
        ("", "so it is 7", Rule.NO_ANSWER),
        ("1" * 201, None, Rule.LONG_ANSWER),
        ("proof", None, Rule.PROOF),
        ("NotFound", None, Rule.PROOF),
        ("N/A", None, Rule.PROOF),
        ("nan", None, Rule.PROOF),
        ("The sequence is convergent", None, Rule.SENTENCE),
        ("37 because it is prime", None, Rule.SENTENCE),
        ("no real solutions", None, FINE),
        (r"-2 \text{ or } -12", None, Rule.AMBIGUOUS),
        ("x=1 or x=2", None, Rule.AMBIGUOUS),
        ("Oregon", None, FINE),
        (r"\text{orange}", None, FINE),
        ("answers may vary", None, Rule.AMBIGUOUS),
        ("2", r"First \boxed{1}, then \boxed{2}.", Rule.AMBIGUOUS),
        ("2", r"First \boxed{2}, again \boxed{ 2 }.", FINE),
        (r"\frac12", r"\boxed{\dfrac{1}{2}} is \boxed{\frac12}", FINE),
        ("2", "The answers will vary.", Rule.AMBIGUOUS),
        ("Yes", None, FINE),
    ],
)
def test_ground_truths(answer: str, solution: str | None, rule: Rule | None) -> None:
    """Each ground truth is found by its rule, or by none."""
    assert found(problem(answer=answer, solution=solution)) is rule


@pytest.mark.parametrize(
    ("rule", "item"),
    [
        (Rule.WORDS, problem(answer=r"\text{Evelyn}")),
        (Rule.SCRIPT, problem("求所有整数的和")),
        (Rule.SCRIPT, problem("Найдите сумму всех чисел")),
        (Rule.FIGURE_CODE, problem("Find $x$. [asy] dot((0,0)); [/asy]")),
    ],
)
def test_rules_that_are_off_by_default(rule: Rule, item: Problem) -> None:
    """Some problems are dropped only where that was asked for."""
    assert found(item) is None
    assert found(item, DEFAULT | {rule}) is rule


def test_formulas_in_greek_are_no_other_script() -> None:
    """Greek letters and a foreign name are mathematics, not another language."""
    item = problem("Let αβγδε be angles in Чеб space. Find α.")
    assert found(item, frozenset(Rule)) is None


@pytest.mark.parametrize(("asked", "rule"), [(Asked.PROOF, Rule.PROOF), (Asked.CHOICE, Rule.MULTIPLE_CHOICE)])
def test_the_data_set_knows_better(asked: Asked, rule: Rule) -> None:
    """What the data set says of a question counts, whatever its text looks like."""
    assert found(problem(asked=asked)) is rule


def test_a_problem_that_its_data_set_calls_invalid() -> None:
    """What the data set says is wrong is taken at its word."""
    assert found(problem(complaint="Incomplete")) is Rule.AMBIGUOUS


def test_a_rule_that_is_off_hides_no_other() -> None:
    """A problem that one rule would drop is still asked by the next ones when that rule is off."""
    item = problem("In the figure, which is it? (A) 1 (B) 2 (C) 3")
    assert found(item) is Rule.MULTIPLE_CHOICE
    assert found(item, DEFAULT - {Rule.MULTIPLE_CHOICE}) is Rule.FIGURE


def test_no_question_and_no_answer_cannot_be_switched_off() -> None:
    """A row without them is no problem."""
    assert found(problem(""), frozenset()) is Rule.NO_QUESTION
    assert found(problem(answer=""), frozenset()) is Rule.NO_ANSWER


@pytest.mark.parametrize(
    ("text", "boxes"),
    [
        ("none", []),
        (r"\boxed{1} and \fbox{2}", ["1", "2"]),
        (r"\boxed{\frac{1}{2}} and \boxed{cut", [r"\frac{1}{2}"]),
        (r"\boxed{a \boxed{b}}", ["b"]),
    ],
)
def test_all_boxes(text: str, boxes: list[str]) -> None:
    """Every complete box is read, with its nested braces."""
    assert all_boxed(text) == boxes
