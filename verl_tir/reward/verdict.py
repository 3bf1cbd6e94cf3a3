"""The result of one comparison."""

from enum import StrEnum


class Verdict(StrEnum):
    """Whether an answer is the ground truth, as far as could be found out within the limits."""

    EQUAL = "equal"
    """The answer is one of the accepted answers."""
    DIFFERENT = "different"
    """The comparison came to its end and the answer is none of the accepted answers."""
    UNDECIDED = "undecided"
    """The comparison ran out of time or memory, or its process died. Says nothing about the answer."""
