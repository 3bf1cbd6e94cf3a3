"""The numbers of an evaluation, benchmark by benchmark."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from verl_tir.evaluation.samples import Sample, SampleStatus
from verl_tir.evaluation.statistics import Estimate, bootstrap, pass_at_k, powers_up_to
from verl_tir.evaluation.voting import CORRECT, majority_at_k

FEW_PROBLEMS = 50
"""With fewer, an interval holds the truth somewhat less often than 95%."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A problem with its samples and their votes."""

    samples: tuple[Sample, ...]
    votes: tuple[int | None, ...]

    def __post_init__(self) -> None:
        if len(self.samples) != len(self.votes):
            raise ValueError(f"{len(self.samples)} samples and {len(self.votes)} votes")

    @property
    def decided(self) -> list[Sample]:
        return [sample for sample in self.samples if sample.decided]

    @property
    def right(self) -> int:
        return sum(sample.status is SampleStatus.CORRECT for sample in self.samples)

    def majority(self, k: int) -> float:
        """maj@k over the decided samples."""
        cast = Counter(vote for vote in self.votes if vote is not None)
        right = cast.pop(CORRECT, 0)
        wrong = tuple(sorted(cast.values()))
        return majority_at_k(right, wrong, len(self.decided) - right - sum(wrong), k)


@dataclass(frozen=True, slots=True)
class BenchmarkResult:
    """What came out on one benchmark. Ratios and accuracies are shares from 0 to 1."""

    name: str
    problems: int
    samples: int
    """Asked for of each problem."""
    counts: Mapping[SampleStatus, int]
    missing: int
    """Samples that were asked for and are not there at all."""
    metrics: Mapping[str, Estimate]
    """By name, such as `avg@32`; one that has nothing to be measured on is left out."""
    notes: tuple[str, ...]
    """What a reader of the numbers has to know."""

    @property
    def accuracy(self) -> Estimate | None:
        """avg@k; None where no sample was decided."""
        return self.metrics.get(f"avg@{self.samples}")


def benchmark_result(name: str, answered: Sequence[Answered], samples: int, seed: int = 0) -> BenchmarkResult:
    """Work out all numbers of a benchmark.

    avg@k is the mean over each problem's samples, then over problems. What was undecided or aborted is in no number; a
    problem with fewer than k decided samples is in no pass@k and maj@k. The measures of behaviour are over all decided
    samples.

    Args:
        name: of the benchmark.
        answered: each of its problems.
        samples: asked for of each problem.
        seed: of the bootstrap.
    """
    scored = [problem for problem in answered if problem.decided]
    metrics: dict[str, Estimate] = {}
    if scored:
        metrics[f"avg@{samples}"] = bootstrap([item.right / len(item.decided) for item in scored], seed=seed)
    for k in powers_up_to(samples):
        enough = [item for item in scored if len(item.decided) >= k]
        if enough:
            passed = [pass_at_k(len(item.decided), item.right, k) for item in enough]
            metrics[f"pass@{k}"] = bootstrap(passed, seed=seed)
    # A majority of one or two is nothing but the average.
    for k in powers_up_to(samples):
        enough = [item for item in scored if len(item.decided) >= k > 2]
        if enough:
            metrics[f"maj@{k}"] = bootstrap([item.majority(k) for item in enough], seed=seed)
    metrics |= _behaviour([item.decided for item in scored], seed)
    every = [sample for item in answered for sample in item.samples]
    counts = Counter(sample.status for sample in every)
    missing = len(answered) * samples - len(every)
    return BenchmarkResult(
        name=name,
        problems=len(answered),
        samples=samples,
        counts={status: counts[status] for status in SampleStatus},
        missing=missing,
        metrics=metrics,
        notes=tuple(_notes(answered, scored, samples, metrics)),
    )


def _behaviour(problems: Sequence[Sequence[Sample]], seed: int) -> dict[str, Estimate]:
    """How the model works, over all decided samples; problems are drawn whole, as for the accuracies."""
    counts = [len(samples) for samples in problems]
    programs = [sum(sample.programs for sample in samples) for samples in problems]
    passed = [sum(sample.programs_passed for sample in samples) for samples in problems]
    sums = {
        "turns": ([sum(sample.turns for sample in samples) for samples in problems], counts),
        "tool_use": ([sum(sample.has_code for sample in samples) for samples in problems], counts),
        "code_pass": (passed, programs),
        "void": ([sum(sample.void for sample in samples) for samples in problems], counts),
        "truncated": ([sum(sample.truncated for sample in samples) for samples in problems], counts),
        "no_answer": (
            [sum(sample.status is SampleStatus.NO_ANSWER for sample in samples) for samples in problems],
            counts,
        ),
        "response_tokens": ([sum(sample.response_tokens for sample in samples) for samples in problems], counts),
    }
    found = {name: bootstrap(above, below, seed=seed) for name, (above, below) in sums.items() if sum(below)}
    if problems:
        tokens = [sample.response_tokens for samples in problems for sample in samples]
        found["response_tokens_p95"] = Estimate(float(np.percentile(tokens, 95)))
    return found


def _notes(
    answered: Sequence[Answered], scored: Sequence[Answered], samples: int, metrics: Mapping[str, Estimate]
) -> list[str]:
    notes = []
    if len(scored) < len(answered):
        notes.append(f"{len(answered) - len(scored)} problems have no decided sample and are in no number")
    short = sum(len(item.decided) < samples for item in scored)
    if short:
        notes.append(f"{short} problems have fewer than {samples} decided samples; pass@k and maj@k leave them out")
    if 0 < len(scored) < FEW_PROBLEMS:
        notes.append(f"{len(scored)} problems: the intervals hold the truth somewhat less often than 95%")
    accuracy = metrics.get(f"avg@{samples}")
    if accuracy is not None and accuracy.low == accuracy.high:
        notes.append("all problems came out alike, so that the interval of avg has no width and says nothing")
    return notes
