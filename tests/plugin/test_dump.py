"""The trajectory dump: what is written is read back, within the bounds of its folder."""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from verl_tir.dump.format import DumpedTrajectory, DumpError, Fate
from verl_tir.dump.reader import read_dump
from verl_tir.dump.writer import TrajectoryDump
from verl_tir.metrics.log_probs import reduce_log_probs
from verl_tir.sampler.finished_row import FinishedRow, verdict_of
from verl_tir.sampler.loss_plan import LossPlan
from verl_tir.trajectory import (
    AnswerSource,
    Outcome,
    SampledTokens,
    SandboxCall,
    StopReason,
    Trajectory,
    Turn,
    TurnEnd,
    TurnText,
)

TURNS = (
    Turn(TurnEnd.CODE, 7, 4, 1, True, False, Outcome.SUCCESS, True, 0.5, 0.25, SandboxCall(0.1, 0.0, 0.05, 0.1, 2)),
    Turn(TurnEnd.EOS, 3, 0, 0, False, True, None, False, 0.5, 0.0, log_probs=reduce_log_probs([-0.5, -3.0])),
)
PROGRAM = "def final_answer(answer): ...\nprint(2+3)"
TEXTS = (TurnText("```py\nprint(2+3)\n```", PROGRAM, "5 \u2028 é"), TurnText("\\boxed{5}", None, ""))
ANSWERED = Trajectory(TURNS, StopReason.ANSWER, "5", AnswerSource.MODEL)
VOID = Trajectory((replace(TURNS[1], has_answer=False),), StopReason.VOID)
EMPTY = Trajectory((replace(TURNS[0], model_tokens=0, observation_tokens=0),), StopReason.RESPONSE_BUDGET)
FAULT = Trajectory((TURNS[0],), StopReason.SANDBOX_FAULT, fault="SandboxUnreachable: no")


def row(key: str, trajectory: Trajectory = ANSWERED, reward: float = 1.0, **more: Any) -> FinishedRow:
    """A row as it is read from storage, with what the agent loop adds to the record where it is dumped."""
    record = trajectory.to_record() | {
        "sandbox": {"client": "a"},
        "prompt": "2 + 3?",
        "texts": [said.to_record() for said in TEXTS[: len(trajectory.turns)]],
        "ground_truth": more.pop("ground_truth", "5"),
    }
    reward_extra = more.pop("reward_extra", {})
    return FinishedRow(key, trajectory, reward, verdict_of(reward_extra), reward_extra, record=record, **more)


def plan(train: tuple[str, ...] = (), mask: tuple[str, ...] = (), drop: tuple[str, ...] = ()) -> LossPlan:
    """What became of the rows."""
    return LossPlan(train, mask, drop, (), None)


def write(folder: Path, step: int, rows: list[FinishedRow], max_mb: int | None = None, **more: Any) -> TrajectoryDump:
    """Dump a batch in which every row trains."""
    dump = TrajectoryDump(folder, max_mb)
    dump.write("train", step, rows, plan(tuple(row.key for row in rows)), **more)
    dump.wait()
    return dump


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    """The trajectory itself, its text, mask, reward and its parts, and the step: nothing is lost or changed."""
    write(tmp_path, 7, [row("ab_c_0_0", reward_extra={"correct": 1.0, "boxed": 1.0})])
    (found,) = read_dump(tmp_path)
    assert found == DumpedTrajectory(
        run=found.run,
        partition="train",
        step=7,
        key="ab_c_0_0",
        fate=Fate.TRAIN,
        reason=None,
        reward=1.0,
        reward_extra={"correct": 1.0, "boxed": 1.0},
        correct=True,
        ground_truth="5",
        data_source=None,
        response_mask=(range(7), range(11, 14)),
        prompt="2 + 3?",
        texts=TEXTS,
        trajectory=ANSWERED,
    )
    assert found.uid == "ab_c"
    assert found.trajectory.turns[0].call.attempts == 2
    assert found.trajectory.turns[1].log_probs.minimum == -3.0


def test_one_line_is_one_trajectory(tmp_path: Path) -> None:
    """Line breaks of the text are escaped; the state of the sandbox's client is not the trajectory's."""
    write(tmp_path, 7, [row("a_0_0"), row("a_1_0")])
    lines = (tmp_path / "train" / "000007.jsonl").read_text().split("\n")
    assert [json.loads(line)["key"] for line in lines[:-1]] == ["a_0_0", "a_1_0"]
    assert lines[-1] == ""
    assert "sandbox" not in json.loads(lines[0])


FATES = {
    "trained": (row("a_0_0"), {"train": ("a_0_0",)}, "train", None),
    "void": (row("a_0_0", VOID), {"mask": ("a_0_0",)}, "mask", "void"),
    "trained though void": (row("a_0_0", VOID), {"train": ("a_0_0",)}, "train", None),
    "empty": (row("a_0_0", EMPTY), {"mask": ("a_0_0",)}, "mask", "empty"),
    "aborted": (row("a_0_0", FAULT), {"drop": ("a_0_0",)}, "drop", "sandbox_fault"),
    "undecided": (row("a_0_0", reward_extra={"undecided": 1.0}), {"drop": ("a_0_0",)}, "drop", "undecided"),
    "left alone": (row("a_0_0"), {"drop": ("a_0_0",)}, "drop", "small_group"),
}


@pytest.mark.parametrize(("stored", "fates", "fate", "reason"), FATES.values(), ids=FATES)
def test_fate_and_reason(
    stored: FinishedRow, fates: dict[str, Any], fate: str, reason: str | None, tmp_path: Path
) -> None:
    """What became of a trajectory and why."""
    dump = TrajectoryDump(tmp_path, None)
    dump.write("train", 1, [stored], plan(**fates))
    dump.wait()
    (found,) = read_dump(tmp_path)
    assert (str(found.fate), found.reason) == (fate, reason)


def test_evicted_rows_name_their_gate(tmp_path: Path) -> None:
    """They are in no plan; the gate that refused their group is the reason."""
    write(tmp_path, 1, [row("a_0_0")], evicted=[row("b_0_0", FAULT)], reasons={"b_0_0": "unsound"})
    assert {found.key: (found.fate, found.reason) for found in read_dump(tmp_path)} == {
        "a_0_0": (Fate.TRAIN, None),
        "b_0_0": (Fate.EVICTED, "unsound"),
    }


def test_a_reason_given_goes_before_the_trajectorys_own(tmp_path: Path) -> None:
    """A row may be masked by another rule than its trajectory shows; one that trains has none at all."""
    dump = TrajectoryDump(tmp_path, None)
    rows = [row("a_0_0", VOID), row("a_1_0")]
    dump.write("train", 1, rows, plan(("a_1_0",), ("a_0_0",)), reasons={"a_0_0": "overlong", "a_1_0": "overlong"})
    dump.wait()
    assert {found.key: found.reason for found in read_dump(tmp_path)} == {"a_0_0": "overlong", "a_1_0": None}


def test_validation_masks_nothing(tmp_path: Path) -> None:
    """A void row counts there like any other, and the file is whole when `write` returns."""
    TrajectoryDump(tmp_path, None).write("val", 1, [row("a_0_0", VOID)], plan(mask=("a_0_0",)))
    (found,) = read_dump(tmp_path)
    assert (found.fate, found.partition) == (Fate.TRAIN, "val")


def test_steps_are_read_in_order(tmp_path: Path) -> None:
    """By number, not by name, and each step's training before its validation."""
    for step in (1_000_000, 2, 999_999):
        dump = write(tmp_path, step, [row("a_0_0")])
    dump.write("val", 2, [row("a_0_0")], plan(("a_0_0",)))
    order = [(found.step, found.partition) for found in read_dump(tmp_path)]
    assert order == [(2, "train"), (2, "val"), (999_999, "train"), (1_000_000, "train")]


def test_a_step_may_come_in_parts_and_again(tmp_path: Path) -> None:
    """Several updates in one step, and the same step of a run that was resumed, add to the file."""
    dump = write(tmp_path, 1, [row("a_0_0")])
    dump.write("train", 1, [row("b_0_0")], plan(("b_0_0",)))
    dump.wait()
    write(tmp_path, 1, [row("c_0_0")])
    assert [found.key for found in read_dump(tmp_path)] == ["a_0_0", "b_0_0", "c_0_0"]


def test_a_line_cut_short_costs_only_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A killed process leaves half a line; the next one begins a line of its own, and the reader says what it skips."""
    write(tmp_path, 1, [row("a_0_0"), row("b_0_0")])
    path = tmp_path / "train" / "000001.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    write(tmp_path, 1, [row("c_0_0")])
    assert [found.key for found in read_dump(tmp_path)] == ["a_0_0", "c_0_0"]
    assert "000001.jsonl:2 is not a whole line" in caplog.text


def test_a_line_of_another_version_is_refused(tmp_path: Path) -> None:
    """It is never read as something else; the message says where it is."""
    write(tmp_path, 1, [row("a_0_0")])
    path = tmp_path / "train" / "000001.jsonl"
    path.write_text(path.read_text().replace('"schema": 3', '"schema": 4'))
    with pytest.raises(DumpError, match=r"000001\.jsonl:1 is not a line of a trajectory dump: schema 4"):
        list(read_dump(tmp_path))


def older(line: dict[str, Any], schema: int, tokens: dict[str, Any] | None = None) -> dict[str, Any]:
    """A line as an earlier version wrote it."""
    segments = [{"role": "prompt", "text": line.pop("prompt")}]
    for turn in line["turns"]:
        segments.append({"role": "model", "text": turn.pop("text")} | ({"tokens": tokens} if tokens else {}))
        observation = turn.pop("observation")
        segments += [{"role": "tool", "text": observation}] * bool(observation)
        del turn["program"]
    if schema == 1:
        del line["data_source"], line["index"]
    return line | {"schema": schema, "segments": segments}


@pytest.mark.parametrize("schema", [1, 2])
def test_lines_of_earlier_versions_are_read(schema: int, tmp_path: Path) -> None:
    """A run's folder may hold all of them after an upgrade. The program is looked for in the text, and says so."""
    write(tmp_path, 1, [row("a_0_0")])
    path = tmp_path / "train" / "000001.jsonl"
    old = older(json.loads(path.read_text()), schema)
    path.write_text(json.dumps(old) + "\n" + path.read_text())
    first, second = read_dump(tmp_path)
    assert (first.data_source, first.prompt, first.response) == (None, "2 + 3?", second.response)
    assert first.texts == (replace(TEXTS[0], program="print(2+3)", program_from_text=True), TEXTS[1])
    assert second.texts == TEXTS
    assert replace(first, texts=second.texts) == second


CODES = {
    "fenced": ("Text\n```py\nx = 1\n```", "x = 1"),
    "the last of two": ("```python\na\n```\n```python\nb\n```\n```output", "b"),
    "a call": (
        '<tool_call>\n{"name": "code_interpreter", "arguments": {"code": "print(1)"}}\n</tool_call>',
        "print(1)",
    ),
    "a call that is broken": ("<tool_call>\n{}\n</tool_call>", ""),
    "no code": ("I think it is 5.", ""),
}


@pytest.mark.parametrize(("text", "code"), CODES.values(), ids=CODES)
def test_the_program_of_an_earlier_versions_turn(text: str, code: str, tmp_path: Path) -> None:
    """In the three formats of the turn rules; tokens stay with their text."""
    tokens = {"lengths": [len(text)], "log_probs": [-0.5]}
    write(tmp_path, 1, [row("a_0_0", FAULT)])
    path = tmp_path / "train" / "000001.jsonl"
    line = json.loads(path.read_text())
    line["turns"][0] |= {"text": text, "observation": "", "observation_tokens": 0}
    path.write_text(json.dumps(older(line, 2, tokens)) + "\n")
    (found,) = read_dump(tmp_path)
    assert found.texts == (TurnText(text, code, "", SampledTokens((len(text),), (-0.5,)), program_from_text=True),)


def test_an_empty_folder_is_no_dump(tmp_path: Path) -> None:
    """The message says how to get one."""
    with pytest.raises(FileNotFoundError, match=r"tir\.dump_dir"):
        list(read_dump(tmp_path))


ODD = {
    "numpy number": (np.float32(0.5), 0.5),
    "numpy array": (np.array(["5", "five"]), ["5", "five"]),
    "an object": (Fate, repr(Fate)),
    "half a character": ("\ud83d", "\ud83d"),
    "nothing": (None, None),
}


@pytest.mark.parametrize(("value", "expected"), ODD.values(), ids=ODD)
def test_what_data_sets_and_rewards_hold_is_written(value: Any, expected: Any, tmp_path: Path) -> None:
    """A ground truth or a part of a reward of the user's own ends no run."""
    write(tmp_path, 1, [row("a_0_0", ground_truth=value, reward_extra={"own": value})])
    (found,) = read_dump(tmp_path)
    assert (found.ground_truth, found.reward_extra) == (expected, {"own": expected})


LONG = [row(f"a_{number}_0", ground_truth="x" * 100_000) for number in range(3)]
"""A step of about 0.3 MiB."""


def size(folder: Path) -> int:
    """Bytes of a dump."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_the_oldest_steps_make_room(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Three such steps fit into a MiB: of ten the last three are left, one warning is given, and nothing else goes."""
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "notes.jsonl").write_text("mine")
    dump = TrajectoryDump(tmp_path, 1)
    for step in range(1, 11):
        dump.write("train", step, LONG, plan(tuple(row.key for row in LONG)))
        dump.wait()
        assert size(tmp_path) <= 2**20
    assert [found.step for found in read_dump(tmp_path)] == [8] * 3 + [9] * 3 + [10] * 3
    assert caplog.text.count("has reached tir.dump_max_mb=1: the oldest steps are deleted") == 1
    assert (tmp_path / "train" / "notes.jsonl").read_text() == "mine"


def test_steps_of_an_earlier_run_count(tmp_path: Path) -> None:
    """The bound is the folder's: what a run before left is the oldest."""
    for step in (5, 6, 7):
        write(tmp_path, step, LONG, 1)
    write(tmp_path, 1, LONG, 1)
    assert sorted({found.step for found in read_dump(tmp_path)}) == [1, 6, 7]


def test_a_step_that_grows_does_not_make_room_of_itself(tmp_path: Path) -> None:
    """Its file may be the oldest; the others go first."""
    for step in (1, 2, 3, 1):
        write(tmp_path, step, LONG, 1)
    assert [found.step for found in read_dump(tmp_path)] == [1] * 6 + [3] * 3


def test_a_step_larger_than_the_bound_is_cut(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What does not fit is left out with a warning, whole lines only."""
    many = [row(f"b_{number}_0", ground_truth="x" * 100_000) for number in range(30)]
    write(tmp_path, 1, LONG, 1)
    write(tmp_path, 2, many, 1)
    assert size(tmp_path) <= 2**20
    found = list(read_dump(tmp_path))
    assert {item.step for item in found} == {2}
    assert 8 <= len(found) <= 10
    assert "trajectories of a step that is larger than that are left out" in caplog.text


def test_without_a_bound_everything_stays(tmp_path: Path) -> None:
    """`tir.dump_max_mb: null` is the user's own word."""
    for step in range(1, 6):
        write(tmp_path, step, LONG, None)
    assert len(list(read_dump(tmp_path))) == 15


def test_a_folder_that_cannot_be_written_costs_the_dump_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The error is logged and the training goes on; once there is room again, so does the dump."""
    (tmp_path / "dump").write_text("a file where the folder should be")
    dump = write(tmp_path / "dump", 3, [row("a_0_0")])
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "step 000003 was not dumped whole" in caplog.text
    (tmp_path / "dump").unlink()
    dump.write("train", 4, [row("a_0_0")], plan(("a_0_0",)))
    dump.wait()
    assert [found.step for found in read_dump(tmp_path / "dump")] == [4]


def test_the_step_does_not_wait_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`write` returns while a thread writes; the next one waits for it, so that steps do not pile up."""
    go, order = threading.Event(), []
    append = TrajectoryDump._append

    def slow(self: TrajectoryDump, path: Path, lines: Any) -> None:
        go.wait(20)
        append(self, path, lines)
        order.append(path.stem)

    monkeypatch.setattr(TrajectoryDump, "_append", slow)
    dump = TrajectoryDump(tmp_path, None)
    dump.write("train", 1, [row("a_0_0")], plan(("a_0_0",)))
    assert order == []
    go.set()
    dump.write("train", 2, [row("b_0_0")], plan(("b_0_0",)))
    assert order[:1] == ["000001"]
    dump.wait()
    assert order == ["000001", "000002"]
