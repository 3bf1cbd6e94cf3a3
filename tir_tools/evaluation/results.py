"""The numbers of an evaluation, benchmark by benchmark."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from math_answers import Verdict
from tir_tools.evaluation.samples import ABORTED, Sample
from tir_tools.evaluation.statistics import Estimate, Measure, bootstrap, pass_at_k, powers_up_to
from tir_tools.evaluation.voting import CORRECT, majority_at_k

FEW_PROBLEMS = 50
"""With fewer, an interval is 20 points wide and more."""


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
        return sum(sample.verdict is Verdict.CORRECT for sample in self.samples)

    def passed(self, k: int) -> float:
        """pass@k over the decided samples."""
        return pass_at_k(len(self.decided), self.right, k)

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
    counts: Mapping[str, int]
    """Samples by verdict, and under `aborted` those without one."""
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

    avg@k and lenient accuracy are means over each problem's samples, then over problems. What was undecided or aborted
    is in no number; a problem with fewer than k decided samples is in no pass@k and maj@k. The measures of behaviour
    are over all decided samples.

    Args:
        name: of the benchmark.
        answered: each of its problems.
        samples: asked for of each problem.
        seed: of the bootstrap.
    """
    scored = [problem for problem in answered if problem.decided]
    decided = [item.decided for item in scored]
    measures = {f"avg@{samples}": _mean([item.right / len(item.decided) for item in scored])}
    measures["lenient"] = _mean([fmean(sample.lenient for sample in taken) for taken in decided])
    ks = powers_up_to(samples)
    measures |= {f"pass@{k}": _at_k(scored, k, Answered.passed) for k in ks}
    # A majority of one or two is nothing but the average.
    measures |= {f"maj@{k}": _at_k(scored, k, Answered.majority) for k in ks if k > 2}
    metrics = bootstrap(measures | _behaviour(decided), seed=seed)
    tokens = [sample.response_tokens for taken in decided for sample in taken]
    if tokens:
        metrics["response_tokens_p95"] = Estimate(float(np.percentile(tokens, 95)))
    every = [sample for item in answered for sample in item.samples]
    counts = Counter(sample.verdict for sample in every)
    return BenchmarkResult(
        name=name,
        problems=len(answered),
        samples=samples,
        counts={**{verdict: counts[verdict] for verdict in Verdict}, ABORTED: counts[None]},
        missing=len(answered) * samples - len(every),
        metrics=metrics,
        notes=tuple(_notes(answered, scored, samples, metrics)),
    )


def _mean(values: Sequence[float]) -> Measure:
    return Measure(values, [1.0] * len(values))


def _at_k(scored: Sequence[Answered], k: int, value: Callable[[Answered, int], float]) -> Measure:
    """A mean over the problems with at least `k` decided samples."""
    enough = [len(item.decided) >= k for item in scored]
    return Measure(
        [value(item, k) if there else 0.0 for item, there in zip(scored, enough, strict=True)],
        [float(there) for there in enough],
    )


def _behaviour(decided: Sequence[Sequence[Sample]]) -> dict[str, Measure]:
    """How the model works, over all decided samples."""

    def total(value: Callable[[Sample], float]) -> list[float]:
        return [sum(map(value, taken)) for taken in decided]

    taken = total(lambda sample: 1)
    return {
        "turns": Measure(total(lambda sample: sample.turns), taken),
        "tool_use": Measure(total(lambda sample: sample.has_code), taken),
        "code_pass": Measure(total(lambda sample: sample.programs_passed), total(lambda sample: sample.programs)),
        "void": Measure(total(lambda sample: sample.void), taken),
        "truncated": Measure(total(lambda sample: sample.truncated), taken),
        "no_answer": Measure(total(lambda sample: sample.verdict is Verdict.NO_ANSWER), taken),
        "response_tokens": Measure(total(lambda sample: sample.response_tokens), taken),
    }


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
        notes.append(f"{len(scored)} problems are few: what lies within the interval is not a difference")
    accuracy = metrics.get(f"avg@{samples}")
    if accuracy is not None and accuracy.low == accuracy.high:
        notes.append("all problems came out alike, so that the interval of avg has no width and says nothing")
    return notes
