"""Whether an answer equals a ground truth: as text where that settles it, else by math-verify.

Call this only inside a scoring worker: sympy can need unbounded time and memory for a short text.
math-verify is imported at the first comparison, so that importing this module stays free of it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from verl_tir.reward.latex_text import compact, has_numbers_side_by_side, is_bare_list, is_words, number_base, tidy
from verl_tir.reward.python_text import python_to_latex

if TYPE_CHECKING:
    from sympy import Basic, MatrixBase

# Longer texts are compared as text only. The ground truths of the usual data sets stay under 200 characters, and
# the extraction patterns of math-verify need time quadratic in the length.
MAX_PARSED_CHARS = 2_000


def is_equivalent(answer: str, ground_truth: str | Sequence[str]) -> bool:
    """Whether `answer` is the ground truth, or any one of several accepted answers. An empty answer never is.

    Both may be LaTeX, plain text, or what a Python program prints. A percentage equals its number and its fraction
    (50% is 50, 1/2 and 0.5), a decimal equals what it rounds to at six places, units and currency signs are ignored.
    """
    accepted = [ground_truth] if isinstance(ground_truth, str) else ground_truth
    return any(_is_same(answer, one) for one in accepted)


def _is_same(answer: str, accepted: str) -> bool:
    target, gold = _tidied(answer), _tidied(accepted)
    target_text, gold_text = compact(target), compact(gold)
    if not target_text or not gold_text:
        return False
    if target_text == gold_text:
        return True
    if is_words(target_text) and is_words(gold_text):
        return target_text.casefold() == gold_text.casefold()
    if max(len(target), len(gold)) > MAX_PARSED_CHARS:
        return False
    if has_numbers_side_by_side(target_text) or has_numbers_side_by_side(gold_text):
        return False
    # math-verify drops the base, which is right only where one side leaves it out.
    bases = number_base(target), number_base(gold)
    if None not in bases and bases[0] != bases[1]:
        return False
    if is_bare_list(gold) and target.startswith("[") and target.endswith("]"):
        # A printed Python list stands for the values that the ground truth lists without brackets.
        target = target[1:-1]
    return _is_same_value(target, gold)


def _tidied(text: str) -> str:
    return tidy(python_to_latex(text) or text)


def _is_same_value(target: str, gold: str) -> bool:
    from math_verify import verify

    # The timeouts of math-verify are signals that it handles itself; here the pool bounds the whole process.
    return verify(_parsed(gold), _parsed(target), timeout_seconds=None, allow_set_relation_comp=True)


def _parsed(latex: str) -> "list[Basic | MatrixBase | str]":
    from math_verify import LatexExtractionConfig, parse

    # LaTeX only: the other extractors of math-verify pick a number out of text that they cannot read (2 out of 2**10).
    # Its percent sign is looked for outside of the dollar signs.
    body, percent = (latex[:-1].rstrip(), "%") if latex.endswith("%") else (latex, "")
    extraction = [LatexExtractionConfig(boxed_match_priority=-1)]
    return parse(f"${body}${percent}", extraction, parsing_timeout=None)
