"""Problems of a data set that are also a benchmark's, word for word or nearly.

Word for word means: the same normalised text. Nearly means: of all triples of neighbouring tokens that either of two
questions has, both have at least a stated share (the Jaccard index). One inverted index over the benchmarks' triples
makes the search linear in the data set.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tir_tools.data.normal import tokens
from tir_tools.data.problem import Problem

Triple = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Held:
    """A problem that must not be trained on, and the file that it stands in."""

    problem: Problem
    file: str


@dataclass(frozen=True, slots=True)
class Match:
    """What a problem has in common with a held one."""

    problem: Problem
    held: Held
    similarity: float
    """1 for the same text."""

    @property
    def exact(self) -> bool:
        return self.problem.id == self.held.problem.id


class HeldOut:
    """Benchmarks, indexed once."""

    def __init__(self, held: Iterable[Held]) -> None:
        self._held = list(held)
        self._by_id: dict[str, Held] = {}
        self._with_triple: dict[Triple, list[int]] = {}
        self._sizes: list[int] = []
        for number, item in enumerate(self._held):
            self._by_id.setdefault(item.problem.id, item)
            triples = _triples(item.problem.question)
            self._sizes.append(len(triples))
            for triple in triples:
                self._with_triple.setdefault(triple, []).append(number)

    def __len__(self) -> int:
        return len(self._held)

    def match(self, problem: Problem, threshold: float) -> Match | None:
        """The held problem that is the same, or else the most similar one from `threshold` on; the first of equals."""
        if same := self._by_id.get(problem.id):
            return Match(problem, same, 1.0)
        triples = _triples(problem.question)
        shared = Counter(number for triple in triples for number in self._with_triple.get(triple, ()))
        best, similarity = None, 0.0
        for number, count in sorted(shared.items()):
            value = count / (len(triples) + self._sizes[number] - count)
            if value > similarity:
                best, similarity = number, value
        return Match(problem, self._held[best], similarity) if best is not None and similarity >= threshold else None


def _triples(question: str) -> set[Triple]:
    found: Sequence[str] = tokens(question)
    return {(first, second, third) for (first, second), (_, third) in pairwise(pairwise(found))}
