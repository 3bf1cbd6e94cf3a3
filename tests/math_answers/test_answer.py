"""Where the final answer stands in a text."""

import time

import pytest

from math_answers import last_boxed

EXTRACTIONS = [
    (r"so \boxed{5}.", "5"),
    (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
    (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
    (r"\boxed{x \in \{y}", r"x \in \{y"),
    (r"\boxed{1\}", None),
    (r"\boxed {7}", "7"),
    ("\\boxed\n{7}", "7"),
    (r"\fbox{8}", "8"),
    (r"\\boxed{9}", "9"),
    (r"\\\boxed{9}", "9"),
    (r"\boxed{1} then \boxed{2}", "2"),
    (r"\boxed{1} then \boxed{2", "1"),
    (r"\boxed{1} then \boxed{\frac{2}", "1"),
    (r"\boxed{\boxed{3}}", "3"),
    (r"\boxed{x = \boxed{3}}", "3"),
    (r"\boxed{ \boxed{3} and so on", "3"),
    (r"\boxed{}", ""),
    (r"} } \boxed{4} {", "4"),
    (r"\boxed{a \\ b}", r"a \\ b"),
    (r"\boxed{\begin{pmatrix} 1 \\ 2 \end{pmatrix}}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"),
    ("\\boxed{two\nlines}", "two\nlines"),
    (r"\boxed{x}\boxed5", "x"),
    (r"\boxedx{4}", None),
    (r"boxed{4}", None),
    (r"\boxed", None),
    (r"\boxed{", None),
    ("\\", None),
    ("", None),
    ("The answer is 42.", None),
    ("\nCode execution result: 42\n", None),
    ("Code execution result: \\boxed{6}\n", "6"),
]


@pytest.mark.parametrize(("text", "content"), EXTRACTIONS)
def test_last_complete_box_is_the_answer(text: str, content: str | None) -> None:
    """The content of the complete box that opens last is taken, and nothing from elsewhere."""
    assert last_boxed(text) == content


@pytest.mark.parametrize(
    "text",
    [
        "{" * 500_000 + "}" * 500_000,
        r"\boxed{" * 140_000,
        r"\boxed{" * 70_000 + "}" * 70_000,
        "\\" * 1_000_000,
        r"\boxed" * 160_000,
        r"\boxed" + " " * 1_000_000,
        "x" * 1_000_000,
    ],
    ids=["braces", "unclosed boxes", "nested boxes", "backslashes", "names", "spaces", "letters"],
)
def test_extraction_takes_linear_time(text: str) -> None:
    """A megabyte of hostile text is read in seconds, not hours."""
    started = time.process_time()
    last_boxed(text)
    assert time.process_time() - started < 5.0


def test_ten_thousand_nested_braces_are_kept_whole() -> None:
    """Deep nesting is content like any other."""
    content = "{" * 10_000 + "1" + "}" * 10_000
    assert last_boxed(rf"\boxed{{{content}}}") == content
