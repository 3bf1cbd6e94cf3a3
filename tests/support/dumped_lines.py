"""Lines of a validation's trajectory dump, as the sampler writes them, and without torch, which that imports."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from verl_tir.dump.format import SCHEMA, Fate
from verl_tir.sampler.finished_row import FinishedRow, verdict_of
from verl_tir.trajectory import AnswerSource, Outcome, StopReason, Trajectory, Turn, TurnEnd, TurnText

_CODE = Turn(TurnEnd.CODE, 6, 4, 0, True, False, Outcome.SUCCESS, False, 0.1, 0.1)
_TEXT = Turn(TurnEnd.EOS, 5, 0, 0, False, True, None, False, 0.1, 0.0)
VOID = Trajectory((replace(_TEXT, has_answer=False),), StopReason.VOID)
CUT = Trajectory((replace(_TEXT, end=TurnEnd.LENGTH, has_answer=False),), StopReason.VOID)
FAILED_CODE = Trajectory((replace(_CODE, outcome=Outcome.FAILED),), StopReason.MAX_TURNS)
FAULT = Trajectory((replace(_CODE, outcome=Outcome.FAULT),), StopReason.SANDBOX_FAULT, fault="SandboxUnreachable: no")
TOO_LONG = Trajectory((), StopReason.PROMPT_TOO_LONG)


def answered(text: str) -> Trajectory:
    """Code, then an answer."""
    return Trajectory((_CODE, _TEXT), StopReason.ANSWER, text, AnswerSource.MODEL)


def finished(
    index: int, session: int, trajectory: Trajectory, truth: str = "1", undecided: bool = False, run: str = "a"
) -> Mapping[str, Any]:
    """A finished sample of the problem `index`; it is right where its answer is `truth`."""
    reward = float(trajectory.answer == truth)
    extra = {} if trajectory.aborted else {"correct": reward, "undecided": float(undecided)}
    key = f"{run}{index}_{session}_0"
    record = trajectory.to_record()
    last = len(trajectory.turns) - 1
    words = ["" if number < last else f"\\boxed{{{trajectory.answer}}}" for number in range(len(trajectory.turns))]
    return record | {
        "schema": SCHEMA,
        "run": run,
        "partition": "val",
        "step": 0,
        "key": key,
        "fate": Fate.DROP if undecided or trajectory.aborted else Fate.TRAIN,
        "reason": None,
        "reward": reward,
        "reward_extra": extra,
        "correct": FinishedRow(key, trajectory, reward, verdict_of(extra)).correct,
        "ground_truth": truth,
        "data_source": "bench",
        "index": index,
        "response_mask": [],
        "prompt": "?",
        "turns": [
            turn | TurnText(said, None, "").to_record() for turn, said in zip(record["turns"], words, strict=True)
        ],
    }


def write_dump(folder: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Append a batch of validation to a dump."""
    file = folder / "val" / "000000.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    cut_off = file.exists() and not file.read_bytes().endswith(b"\n")
    with file.open("a") as opened:
        opened.write("\n" * cut_off + "".join(json.dumps(line) + "\n" for line in lines))
