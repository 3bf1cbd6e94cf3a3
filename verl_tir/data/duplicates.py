"""The same question more than once, in one data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from verl_tir.data.judge import Judge
from verl_tir.data.problem import Problem
from verl_tir.data.rule import Rule
from verl_tir.data.rules import Finding, answer_text
from verl_tir.reward.verdict import Verdict


@dataclass(frozen=True, slots=True)
class _Group:
    """Problems with one question, in order."""

    problems: list[Problem]

    @property
    def answers(self) -> list[Problem]:
        """The first problem of each ground truth, told apart as text."""
        found: dict[str, Problem] = {}
        for problem in self.problems:
            found.setdefault(answer_text(problem.answer), problem)
        return list(found.values())


def find_duplicates(problems: Sequence[Problem], judge: Judge) -> list[Finding]:
    """A finding for every problem that its question's other rows make one too many.

    The first row of a question stays if all its ground truths are equal; if any two differ, or cannot be decided upon,
    none does.
    """
    groups: dict[str, _Group] = {}
    for problem in problems:
        groups.setdefault(problem.id, _Group([])).problems.append(problem)
    several = [group for group in groups.values() if len(group.problems) > 1]
    pairs = [(group.answers[0], other) for group in several for other in group.answers[1:]]
    verdicts = judge.equal([(other.answer, first.answer) for first, other in pairs])
    conflicts = {
        first.id: f"row {first.row} says {first.answer!r}, row {other.row} {other.answer!r}"
        for (first, other), verdict in zip(pairs, verdicts, strict=True)
        if verdict is not Verdict.EQUAL
    }
    findings = []
    for group in several:
        first, *others = group.problems
        if first.id in conflicts:
            findings += [Finding(problem, Rule.CONFLICT, conflicts[first.id]) for problem in group.problems]
        else:
            findings += [Finding(problem, Rule.DUPLICATE, f"row {first.row} is the first") for problem in others]
    return findings
