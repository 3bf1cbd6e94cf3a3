"""The samples of an evaluation, as they are read back from the trajectory dump of verl's validation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from math_answers import Verdict
from tir_tools.evaluation.problems import BenchmarkProblem
from tir_tools.last_number import leniently_right
from verl_tir.dump.format import DumpedTrajectory
from verl_tir.trajectory import Outcome, StopReason, TurnEnd

ABORTED = "aborted"
"""What `samples.jsonl` and the counts call a sample without a verdict."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One trajectory, as much as the table needs of it."""

    key: str
    """verl's, by which it is found in the dump."""
    verdict: Verdict | None
    """None where the sandbox or the engine failed, or the prompt was too long."""
    lenient: bool
    """Right by lenient accuracy: the right answer is in the box, or is the last number that the model says."""
    answer: str | None
    stop_reason: StopReason
    turns: int
    has_code: bool
    programs: int
    """Programs that the sandbox ran."""
    programs_passed: int
    void: bool
    truncated: bool
    """It ended on a token budget: the response's, or a turn's."""
    response_tokens: int
    """Of model and tool."""

    @property
    def decided(self) -> bool:
        """Whether it counts in every average: neither aborted nor undecided."""
        return self.verdict not in (None, Verdict.UNDECIDED)


def sample_of(line: DumpedTrajectory) -> Sample:
    """The sample that a line of the dump tells of."""
    trajectory = line.trajectory
    ran = [turn.outcome for turn in trajectory.turns if turn.outcome not in (None, Outcome.FAULT)]
    return Sample(
        key=line.key,
        verdict=_verdict(line),
        lenient=leniently_right(line),
        answer=trajectory.answer,
        stop_reason=trajectory.stop_reason,
        turns=len(trajectory.turns),
        has_code=any(turn.has_code for turn in trajectory.turns),
        programs=len(ran),
        programs_passed=sum(outcome is Outcome.SUCCESS for outcome in ran),
        void=trajectory.void,
        truncated=trajectory.stop_reason is StopReason.RESPONSE_BUDGET
        or any(turn.end is TurnEnd.LENGTH for turn in trajectory.turns[-1:]),
        response_tokens=sum(turn.model_tokens + turn.observation_tokens for turn in trajectory.turns),
    )


def _verdict(line: DumpedTrajectory) -> Verdict | None:
    if line.trajectory.aborted:
        return None
    if line.correct is None:
        return Verdict.UNDECIDED
    if line.correct:
        return Verdict.CORRECT
    return Verdict.NO_ANSWER if line.trajectory.answer is None else Verdict.WRONG


@dataclass(slots=True)
class Collected:
    """The samples that there are of each problem, at most as many as asked for, in the order in which they finished."""

    wanted: int
    samples: dict[int, list[Sample]] = field(default_factory=dict)
    """By the problem's number. They stay when the evaluation goes on."""
    aborted: dict[int, list[Sample]] = field(default_factory=dict)
    """Those that sandbox or engine gave up, by the problem's number; they are taken again when it goes on."""

    def missing(self) -> dict[int, int]:
        """Samples still to be taken, by the problem's number."""
        counts = {number: self.wanted - len(samples) for number, samples in self.samples.items()}
        return {number: count for number, count in counts.items() if count}

    def of(self, number: int) -> list[Sample]:
        """A problem's samples, and for places without one what was aborted there."""
        taken = self.samples[number]
        return taken + self.aborted.get(number, [])[: self.wanted - len(taken)]


def collect(lines: Iterable[DumpedTrajectory], problems: Sequence[BenchmarkProblem], wanted: int) -> Collected:
    """Sort the dump of an evaluation by problem.

    A trajectory counts once, whichever of the runs that wrote the dump it is from; of more than `wanted` the first
    count.

    Args:
        lines: of the dump.
        problems: all problems of the evaluation, in the order of their numbers.
        wanted: samples of a problem.
    """
    found = Collected(wanted, {problem.number: [] for problem in problems})
    seen: set[str] = set()
    for line in lines:
        if line.partition != "val" or line.index not in found.samples or line.key in seen:
            continue
        seen.add(line.key)
        sample = sample_of(line)
        # Nothing but a longer prompt's room changes this one, and that is another evaluation.
        again = sample.verdict is None and sample.stop_reason is not StopReason.PROMPT_TOO_LONG
        kept = found.aborted.setdefault(line.index, []) if again else found.samples[line.index]
        if again or len(kept) < wanted:
            kept.append(sample)
    return found


def sample_record(
    line: DumpedTrajectory, sample: Sample, problem: BenchmarkProblem, number: int, vote: int | None
) -> Mapping[str, Any]:
    """A line of `samples.jsonl`.

    Args:
        line: of the dump.
        sample: what was read of it.
        problem: that it answers.
        number: of the sample, from 0, among the problem's.
        vote: which of the problem's different answers it gave, from 0 for the right one; None where it has no vote.
    """
    return {
        "benchmark": problem.benchmark,
        "problem": problem.id,
        "sample": number,
        "status": sample.verdict or ABORTED,
        "score": float(sample.verdict is Verdict.CORRECT) if sample.decided else None,
        "lenient": sample.lenient,
        "extracted": sample.answer,
        "answer_source": line.trajectory.answer_source,
        "ground_truth": problem.ground_truth,
        "vote": vote,
        "stop_reason": sample.stop_reason,
        "turns": sample.turns,
        "has_code": sample.has_code,
        "programs": sample.programs,
        "programs_passed": sample.programs_passed,
        "void": sample.void,
        "truncated": sample.truncated,
        "response_tokens": sample.response_tokens,
        "response": line.response,
    }
