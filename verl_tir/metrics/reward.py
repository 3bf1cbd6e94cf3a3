"""The reward's parts, as `tir/reward/...` metrics: verl's trainer logs of the reward only its score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

PARTS = ("boxed", "tool_given", "executable", "undecided")
"""What the reward function returns beside score and `correct`, which is `tir/correct_ratio`; 1 or 0 each."""


def reward_metrics(batch: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Shares of the trajectories that were scored.

    Args:
        batch: of each trajectory, what the reward function returned; empty for one that was not scored. A reward
            function of the user's own may return other parts, and gives no metrics of those that it lacks.
    """
    metrics = {}
    for part in PARTS:
        values = [float(parts[part]) for parts in batch if part in parts]
        if values:
            metrics[f"tir/reward/{part}_ratio"] = sum(values) / len(values)
    return metrics
