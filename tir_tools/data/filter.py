"""Which problems of a data set are kept, and why the others are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from math_answers import Verdict
from tir_tools.data.duplicates import find_duplicates
from tir_tools.data.errors import RowError
from tir_tools.data.judge import Judge
from tir_tools.data.overlap import HeldOut, Match
from tir_tools.data.problem import Problem, Role
from tir_tools.data.progress import Progress, silent
from tir_tools.data.rules import ALWAYS, OFF_BY_DEFAULT, Rule, RuleFinding, RuleLimits, is_word_answer, text_finding


@dataclass(frozen=True, slots=True)
class FilterSettings:
    """What is asked of a problem."""

    role: Role = Role.TRAIN
    rules: frozenset[Rule] = frozenset(Rule) - OFF_BY_DEFAULT
    limits: RuleLimits = field(default_factory=RuleLimits)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What becomes of a data set."""

    kept: tuple[Problem, ...]
    """In the source's order."""
    findings: tuple[RuleFinding, ...]
    """In the source's order. In a training set these problems are dropped, in a benchmark they stay."""
    overlap: tuple[Match, ...]


def filter_problems(
    problems: Sequence[Problem], settings: FilterSettings, held_out: HeldOut, judge: Judge, progress: Progress = silent
) -> Prepared:
    """Ask all rules of all problems, the cheap ones first; what one of them drops the next ones do not see.

    Raises:
        RowError: a benchmark has a row without a question or a ground truth.
        ScoringError: the scorer does not come up.
    """
    findings: list[RuleFinding] = []
    left = list(problems)

    for number, problem in enumerate(left, start=1):
        if finding := text_finding(problem, settings.limits, settings.rules):
            findings.append(finding)
        if number % 1000 == 0 or number == len(left):
            progress("asking the rules", number, len(left))
    if settings.role is Role.BENCHMARK and (empty := [item for item in findings if item.rule in ALWAYS]):
        raise RowError(
            f"row {empty[0].problem.row}: {empty[0].detail}, and a benchmark has to be whole; mend the row "
            f"({len(empty)} such rows)"
        )
    left = _without(left, findings)

    duplicates = [item for item in find_duplicates(left, judge) if item.rule in settings.rules]
    findings += duplicates
    left = _without(left, duplicates)

    matches: list[Match] = []
    if settings.rules & {Rule.OVERLAP, Rule.NEAR_OVERLAP} and len(held_out):
        for number, problem in enumerate(left, start=1):
            match = held_out.match(problem, settings.limits.near_overlap)
            if match and (Rule.OVERLAP if match.exact else Rule.NEAR_OVERLAP) in settings.rules:
                matches.append(match)
            if number % 1000 == 0 or number == len(left):
                progress("looking for benchmark problems", number, len(left))
        shared = [_overlap_finding(match) for match in matches]
        findings += shared
        left = _without(left, shared)

    if settings.rules & {Rule.UNREADABLE, Rule.UNDECIDED}:
        unread = [item for item in _unreadable(left, judge) if item.rule in settings.rules]
        findings += unread
        left = _without(left, unread)

    kept = problems if settings.role is Role.BENCHMARK else left
    return Prepared(tuple(kept), tuple(sorted(findings, key=lambda item: item.problem.row)), tuple(matches))


def _without(problems: list[Problem], findings: Sequence[RuleFinding]) -> list[Problem]:
    rows = {finding.problem.row for finding in findings}
    return [problem for problem in problems if problem.row not in rows]


def _overlap_finding(match: Match) -> RuleFinding:
    rule = Rule.OVERLAP if match.exact else Rule.NEAR_OVERLAP
    detail = f"{match.held.file}, row {match.held.problem.row}, similarity {match.similarity:.2f}"
    return RuleFinding(match.problem, rule, detail)


def _unreadable(problems: Sequence[Problem], judge: Judge) -> list[RuleFinding]:
    # Words are compared as text, and whether they are wanted is another rule's matter.
    asked = dict.fromkeys(answer for problem in problems for answer in problem.answers if not is_word_answer(answer))
    verdicts = dict(zip(asked, judge.readable(list(asked)), strict=True))
    findings = []
    for problem in problems:
        found = {answer: verdicts.get(answer, Verdict.CORRECT) for answer in problem.answers}
        undecided = [answer for answer, verdict in found.items() if verdict is Verdict.UNDECIDED]
        if undecided:
            findings.append(RuleFinding(problem, Rule.UNDECIDED, repr(undecided[0])))
        elif all(verdict is Verdict.WRONG for verdict in found.values()):
            findings.append(RuleFinding(problem, Rule.UNREADABLE, ", ".join(map(repr, problem.answers))))
    return findings
