"""What verl's file logger says of the demo's run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def step_cells(data: Mapping[str, Any]) -> list[str]:
    """The columns of `STEP_COLUMNS` for one training step's metrics."""
    passed = data.get("tir/code_pass_ratio")
    return [
        f"{data['critic/rewards/mean']:.2f}",
        f"{data['tir/void_ratio']:.2f}",
        f"{data['tir/tool/calls/total']:.0f}",
        "-" if passed is None else f"{passed:.0%}",
        f"{data['tir/turns/mean']:.2f}",
        f"{data['actor/grad_norm']:.3f}",
        f"{data['timing_s/step']:.1f}",
    ]


STEP_COLUMNS = ("reward", "void", "tool calls", "passed", "turns", "grad norm", "seconds")


def validation_accuracy(data: Mapping[str, Any]) -> float | None:
    """Mean validation accuracy over the data sources, or None if the step had no validation."""
    values = [value for key, value in data.items() if key.startswith("val-") and "/correct/mean@" in key]
    return sum(values) / len(values) if values else None
