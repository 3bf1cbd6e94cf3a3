"""What explains a collapse is seen turn by turn: later turns go wrong first, on tokens that have become improbable."""

from __future__ import annotations

from verl_tir.metrics.columns import Columns, mean
from verl_tir.metrics.log_probs import PERCENTS, TokenSpread, add_up

TURNS = (*map(str, range(1, 9)), "9plus")
"""How turns are named. From the ninth on they are one, so that a run of 50 turns does not flood the logger."""


def turn_metrics(columns: Columns) -> dict[str, float | None]:
    """Log-probabilities of the tokens of all turns, then what is told apart by the turn's number in its trajectory."""
    numbers = columns.index.clip(max=len(TURNS) - 1)
    known = [position for position, part in enumerate(columns.log_probs) if part is not None]
    parts = [columns.log_probs[position] for position in known]
    tokens = add_up(parts, numbers[known], len(TURNS))
    metrics = _spread("log_prob", tokens.spread())
    for number, name in enumerate(TURNS):
        here = numbers == number
        metrics[f"turn/{name}/reached_ratio"] = mean(columns.turns > number)
        metrics[f"turn/{name}/void_ratio"] = mean(columns.turn_void[here])
        metrics[f"turn/{name}/code_pass_ratio"] = mean(columns.passed[here & columns.ran])
        metrics |= _spread(f"turn/{name}/log_prob", tokens.spread(number))
    return metrics


def _spread(name: str, spread: TokenSpread | None) -> dict[str, float | None]:
    if spread is None:
        return {}
    percentiles = {f"{name}/p{percent}": value for percent, value in zip(PERCENTS, spread.percentiles, strict=True)}
    return {f"{name}/min": spread.minimum, f"{name}/mean": spread.mean, **percentiles}
