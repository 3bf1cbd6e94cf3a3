"""Streams of problems, disjoint splits of them, and verl's data format."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Protocol, TypeVar

from tir_tools.demo.tasks.kinds import KINDS, DemoProblem


def problems(seed: int) -> Iterator[DemoProblem]:
    """An endless stream of problems, the kinds in turn; the same for the same seed."""
    rng = Random(seed)
    while True:
        for kind in KINDS.values():
            problem = kind(rng)
            # A mistake that is right by chance teaches that it is none.
            while problem.mistake.stdout.strip() == problem.answer:
                problem = kind(rng)
            yield problem


def split(seed: int, train: int, validation: int) -> tuple[list[DemoProblem], list[DemoProblem]]:
    """Two disjoint lists of distinct problems, with all kinds in each."""
    return distinct(problems(seed), train, validation)


class _Asked(Protocol):
    @property
    def question(self) -> str: ...


_P = TypeVar("_P", bound=_Asked)


def distinct(stream: Iterator[_P], first: int, second: int) -> tuple[list[_P], list[_P]]:
    """The stream's first problems, in two lists; none whose question was there before."""
    seen: dict[str, _P] = {}
    while len(seen) < first + second:
        problem = next(stream)
        seen.setdefault(problem.question, problem)
    chosen = list(seen.values())
    return chosen[:first], chosen[first:]


def verl_row(problem: DemoProblem, index: int, part: str) -> dict[str, object]:
    """A problem in the format of verl's data files."""
    return {
        "data_source": problem.kind,
        "prompt": [{"role": "user", "content": problem.question}],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": problem.answer},
        "extra_info": {"split": part, "index": index},
    }
