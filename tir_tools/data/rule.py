"""The reasons to drop a problem, by name."""

from __future__ import annotations

from enum import StrEnum


class Rule(StrEnum):
    """A reason to drop a problem. They are asked in this order, and the first one that holds counts."""

    NO_QUESTION = "no_question"
    """The question is empty."""
    NO_ANSWER = "no_answer"
    r"""There is no ground truth, or no complete `\boxed{}` in the solution."""
    LEVEL = "level"
    """Its level is none of those that were named."""
    LONG_QUESTION = "long_question"
    """The question has more characters than `max_question_chars`."""
    LONG_ANSWER = "long_answer"
    """The ground truth has more characters than `max_answer_chars`."""
    PROOF = "proof"
    """A proof is asked for, and no value."""
    SENTENCE = "sentence"
    """The ground truth is a sentence or a solution, which no answer in a box is."""
    MULTIPLE_CHOICE = "multiple_choice"
    """The question lists options, so that a guess is right one time in five."""
    SEVERAL_PARTS = "several_parts"
    """The question has parts (a), (b), ..., and there is one ground truth."""
    AMBIGUOUS = "ambiguous"
    """Boxes of the solution disagree, the ground truth offers alternatives or says that answers vary, or the data set
    calls the problem invalid."""
    FIGURE = "figure"
    """The question refers to a figure that is not there."""
    FIGURE_CODE = "figure_code"
    """The figure is there as Asymptote code, which a model without eyes has to read. Off by default."""
    SCRIPT = "script"
    """The question is written in another script than Latin (Chinese, Cyrillic, ...). Off by default."""
    WORDS = "words"
    """The ground truth is words: yes, even, a name. Off by default."""
    CONFLICT = "conflict"
    """The same question stands there with ground truths that differ; all of its rows are dropped."""
    DUPLICATE = "duplicate"
    """The same question stands there before."""
    OVERLAP = "overlap"
    """The question is one of a benchmark's."""
    NEAR_OVERLAP = "near_overlap"
    """The question is nearly one of a benchmark's."""
    UNREADABLE = "unreadable"
    """The scorer cannot read the ground truth as a value: only the very same text would be right."""
    UNDECIDED = "undecided"
    """The scorer ran out of time or memory over the ground truth."""


ALWAYS = frozenset({Rule.NO_QUESTION, Rule.NO_ANSWER})
"""Rules without which a row is no problem."""

OFF_BY_DEFAULT = frozenset({Rule.FIGURE_CODE, Rule.SCRIPT, Rule.WORDS})
