"""A step of verl's trainer as a line of figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def step_cells(data: Mapping[str, Any]) -> list[str]:
    """The columns of `STEP_COLUMNS` for one training step's metrics."""
    passed = data.get("tir/code_pass_ratio")
    return [
        f"{data['critic/rewards/mean']:.2f}",
        f"{data['tir/correct_ratio']:.2f}",
        f"{data['tir/void_ratio']:.2f}",
        f"{data['tir/tool/calls/total']:.0f}",
        "-" if passed is None else f"{passed:.0%}",
        f"{data['tir/turns/mean']:.2f}",
        f"{data['actor/grad_norm']:.3f}",
        f"{data['timing_s/step']:.1f}",
    ]


STEP_COLUMNS = ("reward", "correct", "void", "tool calls", "passed", "turns", "grad norm", "seconds")
