"""Lines of a validation's trajectory dump, as the sampler writes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from verl_tir.filters.dump import TrajectoryDump
from verl_tir.filters.storage import StoredRow
from verl_tir.filters.void import Plan
from verl_tir.metrics.scored import Scored, is_correct
from verl_tir.trajectory import AnswerSource, Outcome, StopReason, Trajectory, Turn, TurnEnd

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


def stored(
    index: int, session: int, trajectory: Trajectory, truth: str = "1", undecided: bool = False, run: str = "a"
) -> StoredRow:
    """A finished sample of the problem `index`; it is right where its answer is `truth`."""
    right = trajectory.answer == truth
    extra = {} if trajectory.aborted else {"correct": float(right), "undecided": float(undecided)}
    record = trajectory.to_record() | {
        "segments": [{"role": "prompt", "text": "?"}, {"role": "model", "text": f"\\boxed{{{trajectory.answer}}}"}],
        "ground_truth": truth,
        "data_source": "bench",
        "index": index,
    }
    scored = Scored(trajectory, float(right), is_correct(trajectory, float(right), extra))
    return StoredRow(f"{run}{index}_{session}_0", record, scored, undecided, extra)


def write_dump(folder: Path, rows: Sequence[StoredRow]) -> None:
    """Append a batch of validation to a dump."""
    drop = tuple(row.key for row in rows if row.undecided or row.scored.trajectory.aborted)
    train = tuple(row.key for row in rows if row.key not in drop)
    TrajectoryDump(folder, None).write("val", 0, rows, Plan(train, (), drop, (), None))
