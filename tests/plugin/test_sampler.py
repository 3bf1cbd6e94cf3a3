"""The sampler against a real TransferQueue: what is in storage after it has applied the void rule."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
import transfer_queue as tq
from omegaconf import OmegaConf
from stored_groups import clear, transfer_queue
from verl.utils.tensordict_utils import list_of_dict_to_tensordict

from verl_tir.sampler.run_limits import FailedRolloutsError, OutageError
from verl_tir.sampler.verl_buffer import build_sampler
from verl_tir.trajectory import Outcome, StopReason, Trajectory, Turn, TurnEnd


@pytest.fixture(scope="module")
def storage() -> Iterator[None]:
    """One queue for the file."""
    with transfer_queue():
        yield


@pytest.fixture(autouse=True)
def empty(storage: None) -> Iterator[None]:
    """Every test begins with nothing stored."""
    yield
    clear()


def trajectory(reason: StopReason, fault: str | None = None) -> Trajectory:
    """A trajectory of one turn of three model tokens."""
    turn = Turn(
        end=TurnEnd.EOS,
        model_tokens=3,
        observation_tokens=0,
        discarded_tokens=0,
        has_code=False,
        has_answer=reason is StopReason.ANSWER,
        outcome=Outcome.FAULT if fault else None,
        observation_truncated=False,
        generate_seconds=0.1,
        tool_seconds=0.0,
    )
    return Trajectory((turn,), reason, fault=fault)


def put_group(
    uid: str, rows: list[tuple[StopReason, float]], status: str = "finished", partition: str = "train"
) -> None:
    """Store a prompt and its trajectories as verl's agent loop does."""
    tq.kv_put(
        key=uid, partition_id=partition, fields=None, tag={"is_prompt": True, "status": status, "global_steps": 1}
    )
    for session, (reason, reward) in enumerate(rows):
        fault = "SandboxUnreachable: no" if reason is StopReason.SANDBOX_FAULT else None
        fields = {
            "response_mask": torch.ones(3, dtype=torch.int64),
            "loss_mask": torch.ones(3, dtype=torch.int64),
            "rm_scores": torch.tensor([0.0, 0.0, reward]),
            "extra_fields": {"tir": trajectory(reason, fault).to_record(), "reward_extra_info": {}},
        }
        tq.kv_batch_put(
            keys=[f"{uid}_{session}_0"],
            partition_id=partition,
            fields=list_of_dict_to_tensordict([fields]),
            tags=[{"status": "success", "response_len": 3, "seq_len": 5, "global_steps": 1}],
        )


def sampler(rollout_n: int = 2, refill_fn: Any = None, mode: str = "sync", **filters: Any) -> Any:
    """verl's way of building it."""
    rules = {"poll_seconds": 0.05, "min_reward_std": None, **filters.pop("filter", {})}
    tir = {"recipe": "simpletir", "filter": rules, **filters}
    settings = {
        "tir": tir,
        "rollout_n": rollout_n,
        "ppo_mini_batch_size": 2,
        "refill": refill_fn is not None,
        "max_response_tokens": 8,
        "max_model_len": None,
    }
    return build_sampler(
        trainer_mode=mode,
        trainer_config=OmegaConf.create({}),
        max_off_policy_threshold=8,
        max_off_policy_strategy="drop",
        sampler_kwargs=OmegaConf.create(settings),
        refill_fn=refill_fn,
    )


def stored(keys: list[str], partition: str = "train") -> dict[str, tuple[list[int], list[int], list[float]]]:
    """Each row's response mask, loss mask and reward as they are in storage."""
    data = tq.kv_batch_get(keys=keys, partition_id=partition, select_fields=["response_mask", "loss_mask", "rm_scores"])
    columns = (data["response_mask"], data["loss_mask"], data["rm_scores"])
    return {key: tuple(column[i].tolist() for column in columns) for i, key in enumerate(keys)}


ANSWER, VOID, FAULT = StopReason.ANSWER, StopReason.VOID, StopReason.SANDBOX_FAULT


def test_void_rows_are_masked_in_storage_and_keep_their_reward() -> None:
    """The trainer reads zeros in both masks and the reward as it was; other rows are untouched."""
    put_group("a", [(ANSWER, 1.0), (VOID, 0.0)])
    put_group("b", [(ANSWER, 0.0), (ANSWER, 1.0)])
    batch, metrics = sampler().sample(1, "train", 2)
    assert stored(sorted(batch.keys)) == {
        "a_0_0": ([1, 1, 1], [1, 1, 1], [0.0, 0.0, 1.0]),
        "a_1_0": ([0, 0, 0], [0, 0, 0], [0.0, 0.0, 0.0]),
        "b_0_0": ([1, 1, 1], [1, 1, 1], [0.0, 0.0, 0.0]),
        "b_1_0": ([1, 1, 1], [1, 1, 1], [0.0, 0.0, 1.0]),
    }
    assert (metrics["tir/void_ratio"], metrics["tir/filter/masked_rows/total"]) == (0.25, 1.0)


def test_policy_off_masks_nothing_and_still_measures() -> None:
    """The ablation without the filter trains on void rows; their share is logged all the same."""
    put_group("a", [(ANSWER, 1.0), (VOID, 0.0)])
    batch, metrics = sampler(filter={"void": "off"}).sample(1, "train", 1)
    assert all(row[0] == [1, 1, 1] for row in stored(batch.keys).values())
    assert metrics["tir/void_ratio"] == 0.5


def test_a_wholly_void_batch_keeps_one_row() -> None:
    """One row keeps its mask, so that verl does not raise, and it is counted."""
    put_group("a", [(VOID, 0.0), (VOID, 0.0)])
    put_group("b", [(VOID, 0.0), (VOID, 0.0)])
    batch, metrics = sampler().sample(1, "train", 2)
    masks = [row[0] for row in stored(batch.keys).values()]
    assert sorted(map(sum, masks)) == [0, 0, 0, 3]
    assert metrics["tir/filter/updates_without_signal/total"] == 1.0


def test_aborted_rows_leave_batch_storage_and_baseline() -> None:
    """A sandbox fault is neither a loss nor a reward of zero in the group's mean; a group of one row goes with it."""
    put_group("a", [(ANSWER, 1.0), (ANSWER, 0.0), (FAULT, 0.0)])
    put_group("b", [(ANSWER, 1.0), (FAULT, 0.0), (FAULT, 0.0)])
    batch, metrics = sampler(rollout_n=3, filter={"max_aborted_ratio": 0.5}).sample(1, "train", 2)
    assert sorted(batch.keys) == ["a_0_0", "a_1_0"]
    assert sorted(tq.kv_list()["train"]) == ["a_0_0", "a_1_0"]
    assert [tag["response_len"] for tag in batch.tags] == [3, 3]
    assert (metrics["tir/filter/dropped_rows/total"], metrics["tir/aborted_ratio"]) == (4.0, 0.5)


def test_an_outage_stops_the_run_and_names_the_fault() -> None:
    """More aborted trajectories than allowed end the run; training on the rest would favour those without code."""
    put_group("a", [(ANSWER, 1.0), (FAULT, 0.0)])
    with pytest.raises(OutageError, match=r"1 of the batch's 2 .*sandbox_fault.*SandboxUnreachable: no.*doctor"):
        sampler().sample(1, "train", 1)


def test_a_batch_without_a_single_whole_group_stops_the_run() -> None:
    """An allowed share of aborted trajectories can still leave every group without a baseline."""
    put_group("a", [(ANSWER, 1.0), (FAULT, 0.0)])
    with pytest.raises(OutageError, match="no prompt group"):
        sampler(filter={"max_aborted_ratio": 0.5}).sample(1, "train", 1)


def test_agent_loops_that_raise_stop_the_run() -> None:
    """A group whose loop raised is an error of the installation or the code, and is not trained around."""
    put_group("a", [(ANSWER, 1.0), (ANSWER, 0.0)])
    put_group("b", [], status="failure")
    with pytest.raises(FailedRolloutsError, match="1 of 2 prompt groups raised"):
        sampler().sample(1, "train", 2)


def test_agent_loops_that_all_raise_stop_the_run_with_the_same_words() -> None:
    """Also where verl itself would raise about trajectories that cannot be materialised."""
    put_group("b", [], status="failure")
    with pytest.raises(FailedRolloutsError, match="not installed on that worker's node"):
        sampler().sample(1, "train", 1)


def test_a_few_failed_groups_may_be_allowed() -> None:
    """Below the configured share the run goes on with the others, counted."""
    put_group("a", [(ANSWER, 1.0), (ANSWER, 0.0)])
    put_group("b", [], status="failure")
    batch, metrics = sampler(filter={"max_failed_groups": 0.5}).sample(1, "train", 2)
    assert len(batch.keys) == 2
    assert metrics["tir/filter/failed_groups/total"] == 1.0


def test_validation_masks_nothing_and_drops_what_says_nothing() -> None:
    """In validation a void row is a result like any other; an aborted one is none, and a lone row is as good."""
    put_group("a", [(VOID, 0.0), (FAULT, 0.0)], partition="val")
    batch, _ = sampler(filter={"max_aborted_ratio": 0.5}).sample(1, "val", 1)
    assert list(stored(batch.keys, "val").values()) == [([1, 1, 1], [1, 1, 1], [0.0, 0.0, 0.0])]


def dumped(buffer: Any, step: int, folder: Path) -> list[dict[str, Any]]:
    """What a step with one prompt leaves in the dump."""
    buffer.sample(step, "train", 1)
    buffer.dump.wait()
    return [json.loads(line) for line in (folder / "train" / f"{step:06}.jsonl").read_text().splitlines()]


def test_the_dump_says_what_became_of_each_trajectory(tmp_path: Path) -> None:
    """One JSON line per trajectory, with its step, reward, fate and record."""
    put_group("a", [(ANSWER, 1.0), (VOID, 0.0)])
    lines = dumped(sampler(dump_dir=str(tmp_path / "dump")), 7, tmp_path / "dump")
    by_key = {line["key"]: line for line in lines}
    assert (by_key["a_0_0"]["fate"], by_key["a_0_0"]["reward"], by_key["a_0_0"]["step"]) == ("train", 1.0, 7)
    assert (by_key["a_1_0"]["fate"], by_key["a_1_0"]["stop_reason"]) == ("mask", "void")


@pytest.mark.parametrize("mode", ["sync", "colocate_async"])
def test_validation_is_dumped_prompt_by_prompt(tmp_path: Path, mode: str) -> None:
    """What has finished is written while other prompts still run, each trajectory once; nothing stays for the next."""
    folder = tmp_path / "dump"
    buffer = sampler(mode=mode, dump_dir=str(folder), filter={"max_aborted_ratio": 0.5})

    def keys() -> list[str]:
        files = sorted(folder.glob("val/*.jsonl"))
        return [json.loads(line)["key"] for file in files for line in file.read_text().splitlines()]

    put_group("a", [(ANSWER, 1.0), (FAULT, 0.0)], partition="val")
    put_group("b", [], status="running", partition="val")
    with ThreadPoolExecutor(1) as pool:
        validation = pool.submit(buffer.sample, 0, "val", 2)
        deadline = time.monotonic() + 20
        while len(keys()) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert sorted(keys()) == ["a_0_0", "a_1_0"]
        assert not validation.done()
        put_group("b", [(VOID, 0.0)], partition="val")
        batch, _ = validation.result(20)
    assert sorted(batch.keys) == ["a_0_0", "b_0_0"]
    lines = [json.loads(line) for line in (folder / "val" / "000000.jsonl").read_text().splitlines()]
    assert {line["key"]: line["fate"] for line in lines} == {"a_0_0": "train", "a_1_0": "drop", "b_0_0": "train"}
    tq.kv_clear(partition_id="val", keys=list(batch.keys))
    put_group("a", [(ANSWER, 1.0)], partition="val")
    buffer.sample(3, "val", 1)
    assert keys() == ["a_0_0", "a_1_0", "b_0_0", "a_0_0"]


class Refill:
    """verl's refill function: rolls out as many further prompts as are asked for, with the rows that are given."""

    def __init__(self, *groups: list[tuple[StopReason, float]]) -> None:
        self.groups = list(groups)
        self.asked: list[int] = []

    def __call__(self, prompts: int) -> int:
        for number in range(prompts):
            put_group(f"refill{len(self.asked)}x{number}", self.groups.pop(0))
        self.asked.append(prompts)
        return prompts


SOUND = [(ANSWER, 1.0), (ANSWER, 0.0), (ANSWER, 0.0), (VOID, 0.0)]
ABORTED = [(ANSWER, 1.0), (FAULT, 0.0), (FAULT, 0.0), (FAULT, 0.0)]


@pytest.mark.parametrize("mode", ["sync", "colocate_async", "separate_async"])
def test_a_group_with_too_few_sound_rows_is_replaced(mode: str) -> None:
    """Another prompt is rolled out in its place; nothing of the group is trained on, and it is counted."""
    put_group("a", SOUND)
    put_group("b", ABORTED)
    refill = Refill(SOUND)
    batch, metrics = sampler(4, refill, mode, filter={"max_aborted_ratio": 0.5}).sample(1, "train", 2)
    assert {key.rsplit("_", 2)[0] for key in batch.keys} == {"a", "refill0x0"}
    assert len(batch.keys) == 8
    assert not [key for key in tq.kv_list()["train"] if key.startswith("b")]
    assert refill.asked == [1]
    assert metrics["tir/filter/evicted_groups/unsound/total"] == 1.0
    assert metrics["tir/filter/dropped_rows/total"] == 4.0
    assert metrics["tir/filter/failed_groups/total"] == 0.0
    assert "training/rollout_failure/evicted_samples" not in metrics


def test_a_group_with_enough_sound_rows_stays_without_the_others() -> None:
    """Half of the group is enough by default; the aborted rows leave it, and nothing is rolled out anew."""
    put_group("a", [(ANSWER, 1.0), (ANSWER, 0.0), (FAULT, 0.0), (FAULT, 0.0)])
    put_group("b", SOUND)
    refill = Refill()
    batch, metrics = sampler(4, refill, filter={"max_aborted_ratio": 0.5}).sample(1, "train", 2)
    assert sorted(batch.keys) == ["a_0_0", "a_1_0", "b_0_0", "b_1_0", "b_2_0", "b_3_0"]
    assert (refill.asked, metrics["tir/filter/evicted_groups/unsound/total"]) == ([], 0.0)


def test_replacements_are_looked_at_too() -> None:
    """A replacement that is aborted as well is replaced in its turn; the next batch starts counting anew."""
    put_group("a", ABORTED)
    buffer = sampler(4, Refill(ABORTED, SOUND), filter={"max_aborted_ratio": 1.0})
    batch, metrics = buffer.sample(1, "train", 1)
    assert {key.rsplit("_", 2)[0] for key in batch.keys} == {"refill1x0"}
    assert metrics["tir/filter/evicted_groups/unsound/total"] == 2.0
    put_group("c", SOUND)
    _, metrics = buffer.sample(2, "train", 1)
    assert metrics["tir/filter/evicted_groups/unsound/total"] == 0.0


def test_a_dead_sandbox_stops_the_run_before_its_groups_are_rolled_out_again() -> None:
    """The allowed share counts what was evicted, so that a run does not go on replacing."""
    put_group("a", ABORTED)
    put_group("b", ABORTED)
    refill = Refill()
    with pytest.raises(OutageError, match=r"6 of the batch's 8 .*SandboxUnreachable: no"):
        sampler(4, refill).sample(1, "train", 2)
    assert refill.asked == []


def test_replacing_has_an_end_even_if_any_share_may_be_aborted() -> None:
    """With the share at 1 the run still stops, after four groups per prompt of the batch."""
    put_group("a", ABORTED)
    refill = Refill(*[ABORTED] * 10)
    with pytest.raises(OutageError):
        sampler(4, refill, filter={"max_aborted_ratio": 1.0, "max_refills": 4}).sample(1, "train", 1)
    assert len(refill.asked) == 4


def test_agent_loops_that_raise_are_not_replaced_for_ever() -> None:
    """With refills on, a loop that raises is still an error of the installation or the code."""
    put_group("a", [], status="failure")
    refill = Refill(SOUND)
    with pytest.raises(FailedRolloutsError, match="1 of 1 prompt groups raised"):
        sampler(4, refill).sample(1, "train", 1)
    assert refill.asked == []


def test_a_few_raising_agent_loops_are_replaced_and_counted() -> None:
    """Below the allowed share their prompts are replaced like those of aborted groups."""
    put_group("a", [], status="failure")
    put_group("b", SOUND)
    batch, metrics = sampler(4, Refill(SOUND), filter={"max_failed_groups": 0.5}).sample(1, "train", 2)
    assert len(batch.keys) == 8
    assert (metrics["tir/filter/failed_groups/total"], metrics["tir/filter/evicted_groups/unsound/total"]) == (1.0, 0.0)


def test_the_dump_holds_the_evicted_groups_too(tmp_path: Path) -> None:
    """What was thrown away can be read afterwards."""
    put_group("a", ABORTED)
    buffer = sampler(4, Refill(SOUND), filter={"max_aborted_ratio": 1.0}, dump_dir=str(tmp_path))
    lines = dumped(buffer, 1, tmp_path)
    assert {line["key"]: (line["fate"], line["reason"]) for line in lines}["a_1_0"] == ("evicted", "unsound")
    assert len(lines) == 8
