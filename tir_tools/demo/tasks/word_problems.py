"""Word problems for a real model, in splits that share neither numbers nor, for one of them, phrasings."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from tir_tools.demo.tasks.data import distinct
from tir_tools.demo.tasks.question_form import QuestionForm
from tir_tools.demo.tasks.story_kinds import STORY_KINDS
from tir_tools.demo.tasks.word_kinds import WORD_KINDS
from tir_tools.demo.worked_examples import WorkedExample

KINDS: Mapping[str, tuple[QuestionForm, ...]] = {**WORD_KINDS, **STORY_KINDS}
"""What is asked for in each kind of word problems, by its name."""


@dataclass(frozen=True, slots=True)
class WordProblem:
    """A question in words, and its answer."""

    kind: str
    question: str
    answer: str
    """An integer."""
    new_words: bool
    """Whether no training problem has its phrasing."""
    example: WorkedExample
    """Solved, with a training problem's numbers and phrasing: what the same program does with other numbers."""

    @property
    def data_source(self) -> str:
        """verl's, so that validation shows the success of each kind, and of new words apart."""
        return f"{self.kind}, new words" if self.new_words else self.kind


@dataclass(frozen=True, slots=True)
class WordProblemSplits:
    """Distinct problems, the kinds in turn. No number or date of a held-out problem is an operand of a training one."""

    train: tuple[WordProblem, ...]
    val: tuple[WordProblem, ...]
    """Held out, in the phrasings of training."""
    val_phrasings: tuple[WordProblem, ...]
    """Held out, in phrasings that training does not have."""


def word_problem_splits(
    seed: int, train: int, val: int, val_phrasings: int, kinds: Sequence[str] | None = None
) -> WordProblemSplits:
    """Generate problems, the same for the same arguments.

    A kind's problems depend on the seed alone, not on which other kinds there are.

    Args:
        seed: of all random choices.
        train: problems in the training split.
        val: held-out problems in the phrasings of training.
        val_phrasings: held-out problems in held-out phrasings.
        kinds: names in `KINDS`; all of them by default.

    Raises:
        ValueError: a kind is unknown or there is none, or so many distinct problems do not exist.
    """
    chosen = list(KINDS if kinds is None else dict.fromkeys(kinds))
    if not chosen or not KINDS.keys() >= set(chosen):
        raise ValueError(f"kinds: {', '.join(chosen) or 'none'}: choose from {', '.join(KINDS)}")

    def part(name: str, count: int, *, held_out: bool, new_words: bool) -> tuple[WordProblem, ...]:
        streams = [_kind(kind, f"{seed}/{name}", held_out, new_words) for kind in chosen]
        return tuple(itertools.islice(_in_turn(streams), count))

    return WordProblemSplits(
        train=part("train", train, held_out=False, new_words=False),
        val=part("val", val, held_out=True, new_words=False),
        val_phrasings=part("val_phrasings", val_phrasings, held_out=True, new_words=True),
    )


def _kind(kind: str, seed: str, held_out: bool, new_words: bool) -> Iterator[WordProblem]:
    """Distinct problems of a kind, its forms in turn."""

    def posed(form: QuestionForm, rng: Random) -> Iterator[WordProblem]:
        while True:
            operands = form.draw(rng, held_out=held_out)
            phrasing = rng.choice(form.held_out if new_words else form.trained)
            question, answer = phrasing.format(**operands), form.answer(**operands)
            # Of its own, so that the problems are the same whatever an example draws.
            example = form.example(Random(f"{seed}/{question}"), other_than=answer)
            yield WordProblem(kind, question, str(answer), new_words, example)

    return _in_turn(
        [distinct(posed(form, Random(f"{seed}/{kind}/{number}"))) for number, form in enumerate(KINDS[kind])]
    )


def _in_turn(streams: Sequence[Iterator[WordProblem]]) -> Iterator[WordProblem]:
    return map(next, itertools.cycle(streams))
