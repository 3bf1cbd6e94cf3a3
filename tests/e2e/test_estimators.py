"""Stock verl with other estimators than GRPO, a reference policy and a critic, two steps each on the CPU.

What a program answered trains like what the model answered: judged by the advantages with which verl's actor trained.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
import torch
from arithmetic import split, transcripts

from tir_tools.demo.formats import Transcript

if TYPE_CHECKING:
    from conftest import RunVerl, VerlRun

pytestmark = pytest.mark.e2e

PROMPTS, SAMPLES, STEPS = 4, 8, 2


def _answered_by_programs(stream: Iterator[Transcript]) -> Iterator[Transcript]:
    """The stream with one of four others only, so that programs answer often."""
    others = itertools.count()
    for transcript in stream:
        if any("final_answer" in span.text for span in transcript.spans) or next(others) % 4 == 0:
            yield transcript


def _run(run_verl: RunVerl, **overrides: Any) -> VerlRun:
    problems, _ = split(seed=0, train=PROMPTS, validation=1)
    run = run_verl(
        problems,
        _answered_by_programs(transcripts(0, itertools.cycle(problems))),
        {
            # Two optimiser steps for each batch, of actor and critic.
            "actor_rollout_ref.actor.ppo_mini_batch_size": PROMPTS // 2,
            "actor_rollout_ref.rollout.n": SAMPLES,
            "trainer.total_training_steps": STEPS,
            **overrides,
        },
    )
    assert run.status == 0, run.log[-6000:]
    assert len(run.metrics) == STEPS
    return run


def _rows(run: VerlRun, kind: str) -> list[dict[tuple[int, ...], dict[str, Any]]]:
    """For each step the recorded rows by their ids; no row is dropped here, so none of them is verl's padding.

    Rows of a step with the same ids are alike. Those out of the loss are cut down, and have other ids than any other.
    """
    rows = [
        {name: batch[name][row] for name in batch if name != "loss"}
        for batch in run.records(kind)
        for row in range(len(batch["input_ids"]))
    ]
    assert len(rows) == STEPS * PROMPTS * SAMPLES
    batch = PROMPTS * SAMPLES
    return [
        {tuple(row["input_ids"]): row for row in rows[first : first + batch]} for first in range(0, len(rows), batch)
    ]


def _rolled_out(run: VerlRun) -> list[list[dict[str, Any]]]:
    """For each step the trajectories of it that are in the loss."""
    trained = _rows(run, "trained")
    return [
        [item for item in run.records("rolled_out") if item["step"] == step and _ids(item) in rows]
        for step, rows in enumerate(trained)
    ]


def _ids(item: dict[str, Any]) -> tuple[int, ...]:
    return tuple(item["prompt"] + item["response"])


def _kept(row: dict[str, Any], name: str) -> torch.Tensor:
    """A field of a row at its tokens in the loss."""
    return torch.tensor(row[name])[torch.tensor(row["response_mask"]).bool()]


def _check_advantages(
    trained: dict[tuple[int, ...], dict[str, Any]],
    items: list[dict[str, Any]],
    expected: list[torch.Tensor],
    tolerance: float,
) -> int:
    """The trained advantages are the expected ones, whitened over the batch; count right answers through the tool."""
    every = torch.cat(expected)
    by_tool = 0
    for item, raw in zip(items, expected, strict=True):
        whitened = (raw - every.mean()) / every.std()
        found = _kept(trained[_ids(item)], "advantages")
        assert torch.allclose(found, whitened, atol=tolerance), (found, whitened)
        by_tool += item["tir"]["answer_source"] == "tool" and item["mask"][-1] == 0 and item["reward"] == 1.0
    return by_tool


def test_reinforce_plus_plus_with_a_reference_policy(run_verl: RunVerl) -> None:
    """Every token of a right answer through the tool has the return 1, less the KL, which is in reward and loss."""
    run = _run(
        run_verl,
        **{
            "algorithm.adv_estimator": "reinforce_plus_plus",
            "algorithm.use_kl_in_reward": True,
            "actor_rollout_ref.actor.use_kl_loss": True,
        },
    )
    by_tool = 0
    for trained, items in zip(_rows(run, "trained"), _rolled_out(run), strict=True):
        if len({item["reward"] for item in items}) == 1:
            continue  # by chance all are right: whitened, nothing is left but the KL
        raw = [torch.full((sum(item["mask"]),), item["reward"]) for item in items]
        # The coefficient of the KL is 0.001.
        by_tool += _check_advantages(trained, items, raw, tolerance=0.02)
    assert by_tool > 0
    first, second = (metrics["actor/reward_kl_penalty"] for metrics in run.metrics)
    assert first == pytest.approx(0.0, abs=1e-6), "the reference is the policy that training begins with"
    assert abs(second) > 1e-6
    assert all(metrics["actor/kl_loss"] > 0 for metrics in run.metrics)


def test_gae_with_a_critic(run_verl: RunVerl) -> None:
    """The critic learns that a right answer through the tool is worth 1, and the actor gets what it did not expect."""
    run = _run(
        run_verl,
        **{
            "algorithm.adv_estimator": "gae",
            "critic.model.path": "${actor_rollout_ref.model.path}",
            "critic.optim.lr": 1e-3,
        },
    )
    by_tool = 0
    steps = zip(_rows(run, "trained"), _rows(run, "valued"), _rolled_out(run), strict=True)
    for trained, valued, items in steps:
        raw = []
        for item in items:
            row = valued[_ids(item)]
            returns, values = _kept(row, "returns"), _kept(row, "values")
            assert torch.allclose(returns, torch.full_like(returns, item["reward"]), atol=1e-4)
            raw.append(returns - values)
        by_tool += _check_advantages(trained, items, raw, tolerance=1e-3)
    assert by_tool > 0
    updates = run.records("critic")
    assert len(updates) == STEPS * 2
    assert all(0 < update["grad_norm"] < math.inf and update["largest_change"] > 0 for update in updates)
