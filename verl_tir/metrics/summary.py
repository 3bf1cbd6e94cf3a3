"""One batch of trajectory records as `tir/...` metrics.

verl's trainer logs of an agent loop only `num_turns`; everything here travels with the batch that the sampler returns.
A metric whose denominator is empty is left out, never reported as zero or NaN.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from verl_tir.trajectory import Outcome, StopReason, Trajectory

PREFIX = "tir/"


@dataclass(frozen=True, slots=True)
class Scored:
    """A trajectory and the reward that verl computed for it."""

    trajectory: Trajectory
    reward: float


def summarize(batch: Sequence[Scored]) -> dict[str, float]:
    """Reduce a batch to metrics; ratios are shares of all its trajectories unless their name says otherwise.

    `void_ratio` is measured whatever the void policy does, and `void_rewarded_ratio` is the share of void trajectories
    that had a reward above zero: the filter's false positives.
    """
    trajectories = [scored.trajectory for scored in batch]
    turns = [turn for trajectory in trajectories for turn in trajectory.turns]
    runs = [turn for turn in turns if turn.outcome is not None]
    void = [scored for scored in batch if scored.trajectory.void]
    outcomes = Counter(turn.outcome for turn in runs)
    stops = Counter(trajectory.stop_reason for trajectory in trajectories)
    model_tokens = sum(turn.model_tokens for turn in turns)
    observation_tokens = sum(turn.observation_tokens for turn in turns)

    metrics = {f"stop/{reason}": _share(stops[reason], len(batch)) for reason in StopReason}
    metrics |= {f"tool/{outcome}": float(outcomes[outcome]) for outcome in Outcome}
    metrics |= {
        "trajectories": float(len(batch)),
        "void_ratio": _share(len(void), len(batch)),
        "void_rewarded_ratio": _share(sum(scored.reward > 0 for scored in void), len(void)),
        "aborted_ratio": _share(sum(trajectory.aborted for trajectory in trajectories), len(batch)),
        "answer_ratio": _share(sum(trajectory.answer is not None for trajectory in trajectories), len(batch)),
        "code_ratio": _share(sum(any(t.has_code for t in tr.turns) for tr in trajectories), len(batch)),
        "code_pass_ratio": _share(outcomes[Outcome.SUCCESS], len(runs)),
        "code_pass_ratio/rewarded": _pass_ratio(batch, rewarded=True),
        "code_pass_ratio/unrewarded": _pass_ratio(batch, rewarded=False),
        "tool/calls": float(len(runs)),
        "turns/mean": _share(len(turns), len(batch)),
        "turns/max": _largest([len(trajectory.turns) for trajectory in trajectories]),
        "observation/truncated_ratio": _share(sum(turn.observation_truncated for turn in runs), len(runs)),
        "tokens/model": float(model_tokens),
        "tokens/observation": float(observation_tokens),
        "tokens/discarded": float(sum(turn.discarded_tokens for turn in turns)),
        "tokens/mask_coverage": _share(model_tokens, model_tokens + observation_tokens),
        "timing_s/generate/mean": _share(sum(turn.generate_seconds for turn in turns), len(batch)),
        "timing_s/tool/mean": _share(sum(turn.tool_seconds for turn in runs), len(batch)),
        "timing_s/tool/call_mean": _share(sum(turn.tool_seconds for turn in runs), len(runs)),
        "timing_s/tool/call_max": _largest([turn.tool_seconds for turn in runs]),
    }
    return {PREFIX + name: value for name, value in metrics.items() if value is not None}


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _largest(values: Sequence[float]) -> float | None:
    return float(max(values)) if values else None


def _pass_ratio(batch: Sequence[Scored], *, rewarded: bool) -> float | None:
    outcomes = [
        turn.outcome
        for scored in batch
        if (scored.reward > 0) is rewarded
        for turn in scored.trajectory.turns
        if turn.outcome is not None
    ]
    return _share(outcomes.count(Outcome.SUCCESS), len(outcomes))
