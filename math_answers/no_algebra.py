"""What is asked about expressions, and what can be said of them without algebra."""

from typing import Protocol

from math_answers.estimate import clearly_differ


class NeedsAlgebra(Exception):
    """The comparison cannot be settled by numbers, words and forms."""


class Algebra(Protocol):
    """What is asked about expressions; sizes and times are the caller's to bound."""

    def same_value(self, answer: str, truth: str) -> bool:
        """Whether two expressions have the same value, for all values of their letters."""

    def same_equation(self, answer: tuple[str, str], truth: tuple[str, str]) -> bool:
        """Whether two equations, each by its sides, are multiples of each other."""


class NoAlgebra:
    """Says what is different at a glance, and gives up where there is no way but algebra."""

    def same_value(self, answer: str, truth: str) -> bool:
        """False where the values clearly differ.

        Raises:
            NeedsAlgebra: they may be the same.
        """
        if "%" not in answer + truth and clearly_differ(answer, truth):
            return False
        raise NeedsAlgebra(answer, truth)

    def same_equation(self, answer: tuple[str, str], truth: tuple[str, str]) -> bool:
        """Never known.

        Raises:
            NeedsAlgebra: always.
        """
        raise NeedsAlgebra(answer, truth)
