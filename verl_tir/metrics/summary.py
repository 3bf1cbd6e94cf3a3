"""One batch of finished rows as `tir/...` metrics.

verl's trainer logs of an agent loop only `num_turns`; everything here travels with the batch that the sampler returns.
A metric whose denominator is empty is left out, never reported as zero or NaN.

Where verl makes several updates in a step, it joins their metrics by their names (`MetricsAggregator`): a name with
`max` or `min` in it keeps the largest or smallest, one with `total` is summed, any other is averaged over trajectories.
Each name here says by its last part what it is, and holds none of these words elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from verl_tir.metrics.columns import BatchColumns, Column, mean
from verl_tir.metrics.log_probs import PERCENTS, TokenSpread, add_up
from verl_tir.sampler.finished_row import FinishedRow
from verl_tir.trajectory import Outcome, StopReason, TurnEnd

PREFIX = "tir/"
TURNS = (*map(str, range(1, 9)), "9plus")
"""How turns are named. From the ninth on they are one, so that a run of 50 turns does not flood the logger."""
REWARD_PARTS = ("boxed", "tool_given", "executable", "undecided")
"""What the reward function returns beside score and `correct`, which is `tir/correct_ratio`; 1 or 0 each."""

_STOP_NAMES = {reason: str(reason) for reason in StopReason} | {StopReason.MAX_TURNS: "turn_limit"}
"""`max_turns` is a share like the others, and verl would keep the largest of it."""

Metrics = dict[str, float | None]


def summarize(batch: Sequence[FinishedRow]) -> dict[str, float]:
    """Reduce a batch to metrics; docs/metrics.md says what each of them means.

    `void_ratio` is measured whatever the void policy does, and `void_correct_ratio` is the share of void trajectories
    whose answer was right all the same: the filter's false positives.
    """
    columns = BatchColumns.of(batch)
    metrics = {
        **_trajectories(columns),
        **_code(columns),
        **_tokens(columns),
        **_times(columns),
        **_turns(columns),
    }
    return {PREFIX + name: float(value) for name, value in metrics.items() if value is not None}


def reward_metrics(batch: Sequence[FinishedRow]) -> dict[str, float]:
    """Shares of the scored trajectories by parts of their reward: verl's trainer logs of the reward only its score.

    A reward function of the user's own may return other parts, and gives no metrics of those that it lacks.
    """
    metrics = {}
    for part in REWARD_PARTS:
        values = [float(row.reward_extra[part]) for row in batch if part in row.reward_extra]
        if values:
            metrics[f"{PREFIX}reward/{part}_ratio"] = sum(values) / len(values)
    return metrics


def _trajectories(columns: BatchColumns) -> Metrics:
    stops, ends = Counter(columns.stop), Counter(columns.end)
    known = columns.correct | columns.incorrect
    return {
        "trajectories/total": len(columns.stop),
        "void_ratio": mean(columns.void),
        "void_correct/total": int(np.count_nonzero(columns.void & columns.correct)),
        "void_correct_ratio": mean(columns.correct[columns.void & known]),
        "aborted_ratio": mean(columns.aborted),
        "answer_ratio": mean(columns.answered),
        "correct_ratio": mean(columns.correct[known]),
        "turns/mean": mean(columns.turns),
        "turns/max": _largest(columns.turns),
        **{f"stop/{name}": _share(stops[reason], len(columns.stop)) for reason, name in _STOP_NAMES.items()},
        **{f"turn_end/{end}": _share(ends[end], len(columns.end)) for end in TurnEnd},
    }


def _code(columns: BatchColumns) -> Metrics:
    """Programs. Those that the sandbox failed to run count as calls, and nowhere else: they say nothing."""
    outcomes = Counter(columns.outcome)
    calls = columns.per_trajectory(columns.called)
    return {
        "code_ratio": mean(columns.per_trajectory(columns.has_code) > 0),
        "code_pass_ratio": mean(columns.passed[columns.ran]),
        "code_pass_ratio/correct": mean(columns.passed[columns.ran & columns.correct[columns.owner]]),
        "code_pass_ratio/incorrect": mean(columns.passed[columns.ran & columns.incorrect[columns.owner]]),
        "tool/calls/total": int(np.count_nonzero(columns.called)),
        "tool/calls/mean": mean(calls),
        "tool/calls/max": _largest(calls),
        **{f"tool/{outcome}/total": outcomes[outcome] for outcome in Outcome},
        "observation/truncated_ratio": mean(columns.truncated[columns.ran]),
    }


def _tokens(columns: BatchColumns) -> Metrics:
    model, observation = columns.per_trajectory(columns.model), columns.per_trajectory(columns.observation)
    return {
        **_lengths("tokens/response", model + observation),
        **_lengths("tokens/model", model),
        **_lengths("tokens/observation", observation),
        "tokens/model/total": model.sum(),
        "tokens/observation/total": observation.sum(),
        "tokens/discarded/total": int(columns.discarded.sum()),
        "tokens/mask_coverage": _share(model.sum(), (model + observation).sum()),
    }


def _times(columns: BatchColumns) -> Metrics:
    """Seconds per trajectory, under the names that verl's V0 trainer logged them by."""
    generate, tool = columns.per_trajectory(columns.generate), columns.per_trajectory(columns.tool)
    metrics: Metrics = {}
    for name, seconds in (("generate_sequences", generate), ("tool_calls", tool)):
        metrics[f"agent_loop/{name}/mean"] = mean(seconds)
        metrics[f"agent_loop/{name}/max"] = _largest(seconds)
        metrics[f"agent_loop/{name}/min"] = seconds.min() if seconds.size else None
        if seconds.size:
            metrics[f"agent_loop/slowest/{name}"] = seconds[(generate + tool).argmax()]
    return metrics


def _turns(columns: BatchColumns) -> Metrics:
    """Log-probabilities of the tokens of all turns, then what is told apart by the turn's number in its trajectory.

    What explains a collapse is seen turn by turn: later turns go wrong first, on tokens that have become improbable.
    """
    numbers = columns.index.clip(max=len(TURNS) - 1)
    known = [position for position, part in enumerate(columns.log_probs) if part is not None]
    parts = [part for part in columns.log_probs if part is not None]
    tokens = add_up(parts, numbers[known], len(TURNS))
    metrics = _spread("log_prob", tokens.spread())
    for number, name in enumerate(TURNS):
        here = numbers == number
        metrics[f"turn/{name}/reached_ratio"] = mean(columns.turns > number)
        metrics[f"turn/{name}/void_ratio"] = mean(columns.turn_void[here])
        metrics[f"turn/{name}/code_pass_ratio"] = mean(columns.passed[here & columns.ran])
        metrics |= _spread(f"turn/{name}/log_prob", tokens.spread(number))
    return metrics


def _spread(name: str, spread: TokenSpread | None) -> Metrics:
    if spread is None:
        return {}
    percentiles = {f"{name}/p{percent}": value for percent, value in zip(PERCENTS, spread.percentiles, strict=True)}
    return {f"{name}/min": spread.minimum, f"{name}/mean": spread.mean, **percentiles}


def _lengths(name: str, tokens: NDArray[np.float64]) -> Metrics:
    if not tokens.size:
        return {}
    p50, p90, p99 = np.percentile(tokens, (50, 90, 99), method="inverted_cdf")
    return {
        f"{name}/mean": tokens.mean(),
        f"{name}/p50": p50,
        f"{name}/p90": p90,
        f"{name}/p99": p99,
        f"{name}/max": tokens.max(),
        f"{name}/min": tokens.min(),
    }


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _largest(column: Column) -> float | None:
    return float(column.max()) if column.size else None
