"""The same question more than once, in one data set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from math_answers import Verdict
from tir_tools.data.judge import Judge
from tir_tools.data.problem import Problem
from tir_tools.data.rules import Rule, RuleFinding, answer_texts


@dataclass(frozen=True, slots=True)
class _Group:
    """Problems with one question, in order."""

    problems: list[Problem]

    @property
    def different(self) -> list[Problem]:
        """The first problem of each ground truth, told apart as text."""
        found: dict[frozenset[str], Problem] = {}
        for problem in self.problems:
            found.setdefault(answer_texts(problem), problem)
        return list(found.values())


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two problems with one question, and ground truths that differ as text."""

    first: Problem
    other: Problem

    @property
    def conflict(self) -> str:
        return f"row {self.first.row} says {_said(self.first)}, row {self.other.row} {_said(self.other)}"

    def questions(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """For the judge: which answer has to be among which."""
        yield from ((answer, self.first.answers) for answer in self.other.answers)
        if len(self.first.answers) + len(self.other.answers) > 2:
            yield from ((answer, self.other.answers) for answer in self.first.answers)


def _said(problem: Problem) -> str:
    return " or ".join(map(repr, problem.answers))


def find_duplicates(problems: Sequence[Problem], judge: Judge) -> list[RuleFinding]:
    """A finding for every problem that its question's other rows make one too many.

    The first row of a question stays if all its ground truths are equal; if any two differ, or cannot be decided upon,
    none does. Two ground truths are equal if each accepts all that the other does.
    """
    groups: dict[str, _Group] = {}
    for problem in problems:
        groups.setdefault(problem.id, _Group([])).problems.append(problem)
    several = [group for group in groups.values() if len(group.problems) > 1]
    pairs = [
        _Pair(different[0], other) for group in several if (different := group.different) for other in different[1:]
    ]
    asked = [(pair, question) for pair in pairs for question in pair.questions()]
    verdicts = judge.equal([question for _, question in asked])
    conflicts = {
        pair.first.id: pair.conflict
        for (pair, _), verdict in zip(asked, verdicts, strict=True)
        if verdict is not Verdict.CORRECT
    }
    findings = []
    for group in several:
        first, *others = group.problems
        if first.id in conflicts:
            findings += [RuleFinding(problem, Rule.CONFLICT, conflicts[first.id]) for problem in group.problems]
        else:
            findings += [RuleFinding(problem, Rule.DUPLICATE, f"row {first.row} is the first") for problem in others]
    return findings
