"""What cutting masked rows changes in verl's own training step: their cost, and nothing of any other row.

`benchmarks/cut_against_uncut.py` runs it in a process of its own, for verl's platform is a process's for good.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SCENARIOS = ("token-mean", "seq-mean-token-sum", "seq-mean-token-mean", "seq-mean-token-sum-norm", "nearly all void")
ROUNDING = 1e-5
"""Sums of 32-bit floats in another order: rows lie in other micro-batches."""
OF_LENGTHS = ("global_seqlen/", "prompt_length/", "response_length/", "response_length_non_aborted/")
OF_MICRO_BATCHES = ("actor/ppo_kl", "actor/pg_clipfrac", "actor/pg_clipfrac_lower", "actor/importance_ratio_max")
"""verl's means over micro-batches of whatever size."""


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Both steps of each scenario."""
    out = tmp_path_factory.mktemp("compared") / "out.json"
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "cut_against_uncut.py", out, "--packed"],
        env={name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return json.loads(out.read_text())


@pytest.fixture(params=SCENARIOS)
def step(request: pytest.FixtureRequest, compared: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return compared[request.param]


def test_the_comparison_is_of_something(step: dict[str, Any]) -> None:
    """Rows were cut, tokens were saved, and there was a gradient in several optimiser steps."""
    assert step["cut_rows"] >= 4
    assert step["tokens"] < 0.75
    assert step["optimiser_steps"] >= 2
    assert step["gradient_norm"] > 1e-3
    assert step["loss_tokens"][0] > 10


def test_rewards_and_advantages_are_the_same_to_the_last_bit(step: dict[str, Any]) -> None:
    """The baseline does not notice."""
    assert step["rewards"] == step["advantages"] == 0.0


def test_every_other_row_has_the_same_log_probs_and_the_same_loss(step: dict[str, Any]) -> None:
    """Log-probabilities, importance weights, what rejection leaves, and the loss's slope at every token."""
    assert step["log_probs"] < ROUNDING
    assert step["is_weights"] < ROUNDING
    assert step["slopes"] < ROUNDING
    assert step["loss_tokens"][0] == step["loss_tokens"][1]


def test_masked_rows_have_no_loss(step: dict[str, Any]) -> None:
    """Not at one token, whether cut or whole."""
    assert step["cut_slopes"] == 0.0


def test_every_optimiser_steps_gradient_is_the_same(step: dict[str, Any]) -> None:
    """In all mini-batches and epochs, the later ones from weights that have moved."""
    assert step["gradients"] < ROUNDING


def test_verls_metrics_differ_only_where_they_are_of_lengths(step: dict[str, Any]) -> None:
    """Scores, rewards, advantages, losses, entropy, gradient norm and rollout correction read as before."""
    other = [
        name
        for name in step["metrics"]
        if not name.startswith(OF_LENGTHS) and name not in (*OF_MICRO_BATCHES, "perf/total_num_tokens")
    ]
    assert other == []


def test_anchors_are_part_of_the_comparison(compared: dict[str, dict[str, Any]]) -> None:
    """With hardly a row left, mini-batches of empty rows need them."""
    assert compared["nearly all void"]["loss_anchors"] >= 2
