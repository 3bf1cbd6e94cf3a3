"""Random batches of trajectories that hold all that a batch can hold, and their metrics."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from math_answers.verdict import Verdict
from sandbox_client import FAULT_KINDS
from verl_tir.metrics.log_probs import reduce_log_probs
from verl_tir.metrics.sandbox import SandboxMeter
from verl_tir.metrics.summary import REWARD_PARTS, reward_metrics, summarize
from verl_tir.sampler.finished_row import FinishedRow
from verl_tir.trajectory import Outcome, SandboxCall, StopReason, Trajectory, Turn, TurnEnd


def random_turn(source: random.Random) -> Turn:
    """A turn of any kind."""
    outcome = source.choice([None, *Outcome])
    call = None if outcome in (None, Outcome.FAULT) else SandboxCall(*(source.random() for _ in range(4)), 2)
    return Turn(
        end=source.choice(list(TurnEnd)),
        model_tokens=source.randrange(1, 50),
        observation_tokens=source.randrange(20),
        discarded_tokens=source.randrange(3),
        has_code=outcome is not None,
        has_answer=source.random() < 0.3,
        outcome=outcome,
        observation_truncated=source.random() < 0.2,
        generate_seconds=source.random(),
        tool_seconds=source.random(),
        call=call,
        log_probs=reduce_log_probs([-source.expovariate(1) for _ in range(20)]),
    )


def random_batch(seed: int, size: int) -> list[FinishedRow]:
    """Trajectories of 1 to 12 turns, of every stop reason in turn."""
    source = random.Random(seed)
    reasons = list(StopReason)
    return [
        FinishedRow(
            f"a{number}_0_0",
            Trajectory(
                tuple(random_turn(source) for _ in range(1 + number % 12)),
                reasons[number % len(reasons)],
                source.choice([None, "5"]),
            ),
            source.random(),
            source.choice([Verdict.UNDECIDED, Verdict.CORRECT, Verdict.WRONG]),
        )
        for number in range(size)
    ]


def snapshot(client: str) -> dict[str, Any]:
    """A sandbox client's counters."""
    faults = dict.fromkeys(FAULT_KINDS, 1)
    endpoints = {"http://a": "open", f"http://{client}": "closed"}
    return {"client": client, "retries": 3, "probes": 2, "faults": faults, "endpoints": endpoints}


def measured(batch: list[FinishedRow], *clients: str) -> dict[str, float]:
    """All metrics of a batch."""
    turns = [turn for row in batch for turn in row.trajectory.turns]
    return (
        summarize(batch)
        | reward_metrics([replace(row, reward_extra=dict.fromkeys(REWARD_PARTS, 1.0)) for row in batch])
        | SandboxMeter().measure(turns, [snapshot(client) for client in clients])
    )
