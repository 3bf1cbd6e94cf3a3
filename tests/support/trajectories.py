"""Trajectories made by hand, and dumps of them, for tests of what reads dumps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from verl_tir.dump.format import SCHEMA
from verl_tir.metrics.log_probs import reduce_log_probs
from verl_tir.trajectory import Outcome, SandboxCall, StopReason, Trajectory, Turn, TurnEnd, TurnText


def turn(
    outcome: Outcome | None = None, *, void: bool = False, answer: bool = False, seen: bool = True, **more: Any
) -> Turn:
    """A turn that ran a program with this outcome, or none; `seen`: the model was shown something of it."""
    shown = outcome is not None and outcome is not Outcome.FAULT and seen
    values = {
        "end": TurnEnd.CODE if outcome is not None else TurnEnd.EOS,
        "model_tokens": 5,
        "observation_tokens": 3 if shown else 0,
        "discarded_tokens": 0,
        "has_code": outcome is not None,
        "has_answer": answer or (outcome is None and not void),
        "outcome": outcome,
        "observation_truncated": False,
        "generate_seconds": 0.5,
        "tool_seconds": 0.1 if outcome is not None else 0.0,
        "call": SandboxCall(0.0, 0.0, 0.05, 0.05, 1) if shown else None,
        "log_probs": reduce_log_probs([-0.1, -2.0]),
    }
    return Turn(**(values | more))


def program_in(text: str) -> str:
    """The last fenced block."""
    return text.rpartition("\n```")[0].rpartition("```")[2].partition("\n")[2]


def trajectory(*turns: Turn, answer: str | None = None, stop: StopReason = StopReason.ANSWER) -> Trajectory:
    """A trajectory of these turns."""
    return Trajectory(turns, stop, answer)


def line(
    text: Sequence[tuple[str, str]],
    record: Trajectory,
    *,
    uid: str = "a",
    number: int = 0,
    step: int = 1,
    correct: bool | None = True,
    **more: Any,
) -> dict[str, Any]:
    """A line of a dump; `text` gives what is said as role (`prompt`, `model`, `tool`) and words."""
    said = iter([pair for pair in text if pair[0] != "prompt"])
    turns = []
    for turn in record.turns:
        _, words = next(said, ("model", ""))
        _, shown = next(said, ("tool", "")) if turn.observation_tokens else ("tool", "")
        turns.append(TurnText(words, program_in(words) if turn.outcome is not None else None, shown))
    plain = record.to_record()
    return {
        "schema": SCHEMA,
        "run": "20260101T000000Z",
        "partition": "train",
        "step": step,
        "key": f"{uid}_{number}_0",
        "fate": "train",
        "reason": None,
        "reward": float(bool(correct)),
        "reward_extra": {"correct": float(bool(correct)), "undecided": 0.0},
        "correct": correct,
        "ground_truth": "5",
        "data_source": "sums",
        "response_mask": [],
        "index": None,
        "prompt": "".join(words for role, words in text if role == "prompt"),
        **plain,
        "turns": [numbers | said.to_record() for numbers, said in zip(plain["turns"], turns, strict=True)],
        **more,
    }


def write_dump(folder: Path, lines: Sequence[dict[str, Any]]) -> Path:
    """Lines as the sampler writes them, a file for each step."""
    for item in lines:
        path = folder / item["partition"] / f"{item['step']:06}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(json.dumps(item, ensure_ascii=False) + "\n")
    return folder
