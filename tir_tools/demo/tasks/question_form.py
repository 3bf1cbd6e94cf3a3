"""What a word problem asks for, in several wordings, and the rule by which its numbers are kept out of training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from random import Random

from tir_tools.demo.worked_examples import WorkedExample

Operand = int | date

_MULTIPLIER, _MODULUS = 2_654_435_769, 2**32
"""Their ratio is the golden one, whose multiples are spread evenly over every stretch of numbers: of ten in a row two
or three are held out, with any last digits."""


def is_held_out(operand: Operand) -> bool:
    """Whether an operand is kept for the held-out splits: a quarter of all numbers, and of all days."""
    number = operand if isinstance(operand, int) else operand.toordinal()
    return number * _MULTIPLIER % _MODULUS < _MODULUS // 4


@dataclass(frozen=True, slots=True)
class QuestionForm:
    """One thing to ask for."""

    operands: Mapping[str, Sequence[Operand]]
    """Their names, and what each is drawn from. The wordings have no other figures."""
    answer: Callable[..., int]
    """Takes the operands by their names."""
    program: str
    """Python that prints the answer, for `str.format` with the operands; what a worked example shows."""
    phrasings: tuple[str, ...]
    """For `str.format`. The last is held out of training; of six and more the last two are."""

    @property
    def trained(self) -> tuple[str, ...]:
        """The phrasings of training."""
        return self.phrasings[: -self._held_out]

    @property
    def held_out(self) -> tuple[str, ...]:
        """The phrasings that no training problem has."""
        return self.phrasings[-self._held_out :]

    @property
    def _held_out(self) -> int:
        return 2 if len(self.phrasings) > 5 else 1

    def draw(self, rng: Random, *, held_out: bool) -> dict[str, Operand]:
        """Operands by name, all of them held out or all of them for training."""
        return {name: _drawn(rng, values, held_out) for name, values in self.operands.items()}

    def example(self, rng: Random, other_than: int) -> WorkedExample:
        """One of training's problems with its program and another answer than `other_than`."""
        while self.answer(**(operands := self.draw(rng, held_out=False))) == other_than:
            pass
        question = rng.choice(self.trained).format(**operands)
        return WorkedExample(question, self.program.format(**operands), str(self.answer(**operands)))


def _drawn(rng: Random, values: Sequence[Operand], held_out: bool) -> Operand:
    while is_held_out(value := rng.choice(values)) is not held_out:
        pass
    return value


def between(low: int, high: int) -> range:
    """The integers from `low` to `high`, both included."""
    return range(low, high + 1)


def days_of_years(first: int, last: int) -> tuple[date, ...]:
    """All days from the first of year `first` to the last of year `last`."""
    return tuple(map(date.fromordinal, between(date(first, 1, 1).toordinal(), date(last, 12, 31).toordinal())))


def primes_between(low: int, high: int) -> tuple[int, ...]:
    """The prime numbers from `low` to `high`, both included."""
    return tuple(n for n in between(low, high) if all(n % divisor for divisor in range(2, int(n**0.5) + 1)))


def digit_sum(number: int) -> int:
    """The digits of a number that is not negative, added up."""
    return sum(map(int, str(number)))
