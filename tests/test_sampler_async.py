"""The sampler of verl's asynchronous trainer modes against a real TransferQueue: stale groups, waiting, checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
import transfer_queue as tq
from omegaconf import OmegaConf
from verl.utils.tensordict_utils import list_of_dict_to_tensordict

from verl_tir.filters.sampler import FailedRolloutsError, TirReplayBufferAsync, build_sampler
from verl_tir.trajectory import StopReason, Trajectory, Turn, TurnEnd

SAMPLES = 2


@pytest.fixture(scope="module")
def storage() -> Iterator[None]:
    """A TransferQueue of its own on a small local Ray."""
    ray.init(num_cpus=8, include_dashboard=False, log_to_driver=False)
    tq.init(OmegaConf.create({"backend": {"SimpleStorage": {"num_data_storage_units": 1, "total_storage_size": 1000}}}))
    yield
    tq.close()
    ray.shutdown()


@pytest.fixture(autouse=True)
def empty(storage: None) -> Iterator[None]:
    """Every test begins with nothing stored."""
    yield
    clear()


def clear() -> None:
    for partition, keys in (tq.kv_list() or {}).items():
        if keys:
            tq.kv_clear(partition_id=partition, keys=list(keys))


def put_prompt(uid: str, step: int, status: str) -> None:
    """Store a prompt without trajectories, as verl's trainer does in step `step`."""
    tag = {"is_prompt": True, "status": status, "global_steps": step}
    tq.kv_put(key=uid, partition_id="train", fields=None, tag=tag)


def put_group(uid: str, step: int = 1, void: bool = False) -> None:
    """Store a finished prompt and its trajectories; the first answers, the others are void if `void`."""
    put_prompt(uid, step, "finished")
    for session in range(SAMPLES):
        reason = StopReason.VOID if void and session else StopReason.ANSWER
        turn = Turn(TurnEnd.EOS, 3, 0, 0, False, reason is StopReason.ANSWER, None, False, 0.1, 0.0)
        fields = {
            "response_mask": torch.ones(3, dtype=torch.int64),
            "loss_mask": torch.ones(3, dtype=torch.int64),
            "rm_scores": torch.tensor([0.0, 0.0, float(session == 0)]),
            "extra_fields": {"tir": Trajectory((turn,), reason).to_record(), "reward_extra_info": {}},
        }
        tq.kv_batch_put(
            keys=[f"{uid}_{session}_0"],
            partition_id="train",
            fields=list_of_dict_to_tensordict([fields]),
            tags=[{"status": "success", "response_len": 3, "seq_len": 5, "global_steps": step}],
        )


class Refill:
    """verl's refill function: rolls out as many further prompts as are asked for."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.asked: list[int] = []

    def __call__(self, prompts: int) -> int:
        for number in range(prompts):
            put_group(f"refill{len(self.asked)}x{number}", self.step)
        self.asked.append(prompts)
        return prompts


def sampler(refill_fn: Any, mode: str = "colocate_async", threshold: int = 8, **filters: Any) -> TirReplayBufferAsync:
    """verl's way of building it."""
    settings = {
        "tir": {"recipe": "simpletir", "filter": {"poll_seconds": 0.05, **filters}},
        "rollout_n": SAMPLES,
        "ppo_mini_batch_size": 2,
        "refill": True,
    }
    return build_sampler(
        trainer_mode=mode,
        trainer_config=OmegaConf.create({}),
        max_off_policy_threshold=threshold,
        max_off_policy_strategy="drop",
        sampler_kwargs=OmegaConf.create(settings),
        refill_fn=refill_fn,
    )


def groups(batch: Any) -> set[str]:
    return {key.rsplit("_", 2)[0] for key in batch.keys}


@pytest.mark.parametrize("mode", ["colocate_async", "separate_async"])
def test_a_stale_group_is_replaced_by_exactly_one(mode: str) -> None:
    """It counts as verl counts it, as stale and not as failed, and leaves nothing behind here or in storage."""
    put_group("stale", step=1)
    put_group("fresh", step=3, void=True)
    refill = Refill(step=4)
    buffer = sampler(refill, mode, threshold=2)
    batch, metrics = buffer.sample(4, "train", 2)
    assert groups(batch) == {"fresh", "refill0x0"}
    assert refill.asked == [1]
    assert metrics["training/off_policy/evicted_samples"] == 1
    assert metrics["tir/filter/failed_groups"] == metrics["tir/filter/evicted_groups/unsound"] == 0.0
    assert (metrics["tir/trajectories"], metrics["tir/filter/masked_rows"]) == (4.0, 1.0)
    assert not [key for key in tq.kv_list()["train"] if key.startswith("stale")]
    put_group("next", step=5)
    batch, metrics = buffer.sample(5, "train", 1)
    assert groups(batch) == {"next"}
    assert "training/off_policy/evicted_samples" not in metrics


def test_groups_that_are_left_over_are_sampled_next_and_oldest_first() -> None:
    """What a step does not take stays, also in what the sampler has read of it."""
    for uid, step in (("c", 3), ("a", 1), ("b", 2)):
        put_group(uid, step, void=True)
    buffer = sampler(Refill(step=3))
    first, _ = buffer.sample(3, "train", 2)
    second, metrics = buffer.sample(4, "train", 1)
    assert (groups(first), groups(second)) == ({"a", "b"}, {"c"})
    assert metrics["tir/filter/masked_rows"] == 1.0


def test_waiting_before_the_first_sample_allows_the_shares_of_what_is_waited_for() -> None:
    """verl waits outside of `sample` where it lends the trainer's accelerators to the rollout."""
    put_prompt("raised", 1, "failure")
    put_group("a")
    refill = Refill(step=1)
    buffer = sampler(refill, "separate_async", max_failed_groups=0.5)
    found, _ = buffer.wait_for_sampleable(1, "train", 2)
    assert found == {"a", "refill0x0"}
    put_prompt("raised too", 1, "failure")
    put_prompt("and this", 1, "failure")
    with pytest.raises(FailedRolloutsError, match="3 of 4 prompt groups raised"):
        buffer.wait_for_sampleable(1, "train", 4)


def test_a_restored_queue_is_sampled_as_the_one_that_was_saved(tmp_path: Path) -> None:
    """Finished groups come back with their records; rows of the batch in training, saved too, are not trained again."""
    put_group("trained")
    put_group("finished", void=True)
    put_prompt("running", 1, "running")
    batch, _ = sampler(Refill(step=1)).sample(1, "train", 1)
    (trained,) = groups(batch)
    (left,) = {"trained", "finished"} - {trained}
    tq.save_checkpoint(tmp_path / "transfer_queue")
    clear()
    tq.load_checkpoint(tmp_path / "transfer_queue")
    assert {key for key, tag in tq.kv_list()["train"].items() if tag.get("is_prompt")} == {left, "running"}
    refill = Refill(step=2)
    batch, metrics = sampler(refill).sample(2, "train", 1)
    assert groups(batch) == {left}
    assert (refill.asked, metrics["tir/trajectories"]) == ([], 2.0)
