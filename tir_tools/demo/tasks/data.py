"""Streams of problems, disjoint splits of them, and verl's data format."""

from __future__ import annotations

import itertools
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
    stream = distinct(problems(seed))
    return list(itertools.islice(stream, train)), list(itertools.islice(stream, validation))


class _Asked(Protocol):
    @property
    def question(self) -> str: ...


class _Posed(_Asked, Protocol):
    @property
    def data_source(self) -> str: ...

    @property
    def answer(self) -> str: ...


_P = TypeVar("_P", bound=_Asked)
_MAX_REPEATS = 1_000


def distinct(stream: Iterator[_P]) -> Iterator[_P]:
    """The stream's problems without those whose question was there before.

    Raises:
        ValueError: a thousand in a row were there before, so that there are hardly any others.
    """
    seen: set[str] = set()
    repeats = 0
    for problem in stream:
        if problem.question not in seen:
            seen.add(problem.question)
            repeats = 0
            yield problem
        elif (repeats := repeats + 1) == _MAX_REPEATS:
            raise ValueError(f"hardly more than {len(seen)} problems like {problem.question!r} exist: ask for fewer")


def verl_row(problem: _Posed, index: int, part: str) -> dict[str, object]:
    """A problem in the format of verl's data files."""
    return {
        "data_source": problem.data_source,
        "prompt": [{"role": "user", "content": problem.question}],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": problem.answer},
        "extra_info": {"split": part, "index": index},
    }
