"""What a row that lies in storage tells the metrics of its reward."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from verl_tir.sampler import storage
from verl_tir.sampler.finished_row import ResponseBudget
from verl_tir.trajectory import StopReason, Trajectory

ROWS = {
    "its own word": ({"correct": 1.0, "boxed": 1.0}, StopReason.ANSWER, -0.5, True),
    "none of its own": ({}, StopReason.ANSWER, 1.0, True),
    "undecided": ({"correct": 0.0, "undecided": 1.0}, StopReason.ANSWER, 0.0, None),
    "aborted": ({}, StopReason.ENGINE_ABORT, 0.0, None),
}


@pytest.mark.parametrize(("extra", "reason", "reward", "correct"), ROWS.values(), ids=ROWS)
def test_reward_and_its_parts_are_read(
    extra: dict[str, float], reason: StopReason, reward: float, correct: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The score from its token, its parts as they are, and whether the answer is right."""
    record = Trajectory((), reason).to_record()

    def get(**asked: Any) -> dict[str, Any]:
        fields = {"extra_fields": [{"tir": record, "reward_extra_info": extra}], "rm_scores": [[0.0, reward]]}
        return {
            name: [torch.tensor(v) if name == "rm_scores" else v for v in fields[name]]
            for name in asked["select_fields"]
        }

    monkeypatch.setattr(storage.tq, "kv_batch_get", get)
    tags = {"a_0_0": {"seq_len": 4, "response_len": 2}}
    (row,) = storage.read_rows(["a_0_0"], tags, "train", budget=ResponseBudget(10, 30, None))
    assert (row.reward, row.correct) == (reward, correct)
    assert row.reward_extra == extra
    assert row.undecided is bool(extra.get("undecided"))
