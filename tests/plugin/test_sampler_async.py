"""The sampler of verl's asynchronous trainer modes against a real TransferQueue: stale groups, waiting, checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import transfer_queue as tq
from stored_groups import BAD, GOOD, VOID, Refill, build, clear, put_group, put_prompt, transfer_queue

from verl_tir.sampler.run_limits import FailedRolloutsError

NORMAL, HALF_VOID = [GOOD, BAD], [GOOD, VOID]


@pytest.fixture(scope="module", autouse=True)
def storage() -> Iterator[None]:
    """One queue for the file."""
    with transfer_queue():
        yield


@pytest.fixture(autouse=True)
def empty(storage: None) -> Iterator[None]:
    """Every test begins with nothing stored."""
    yield
    clear()


def groups(batch: Any) -> set[str]:
    return {key.rsplit("_", 2)[0] for key in batch.keys}


@pytest.mark.parametrize("mode", ["colocate_async", "separate_async"])
def test_a_stale_group_is_replaced_by_exactly_one(mode: str) -> None:
    """It counts as verl counts it, as stale and not as failed, and leaves nothing behind here or in storage."""
    put_group("stale", NORMAL, step=1)
    put_group("fresh", HALF_VOID, step=3)
    refill = Refill(NORMAL, step=4)
    buffer = build(refill, mode, prompts=2, threshold=2)
    batch, metrics = buffer.sample(4, "train", 2)
    assert groups(batch) == {"fresh", "refill0x0"}
    assert refill.asked == [1]
    assert metrics["training/off_policy/evicted_samples"] == 1
    assert metrics["tir/filter/failed_groups/total"] == metrics["tir/filter/evicted_groups/unsound/total"] == 0.0
    assert (metrics["tir/trajectories/total"], metrics["tir/filter/masked_rows/total"]) == (4.0, 1.0)
    assert not [key for key in tq.kv_list()["train"] if key.startswith("stale")]
    put_group("next", NORMAL, step=5)
    batch, metrics = buffer.sample(5, "train", 1)
    assert groups(batch) == {"next"}
    assert "training/off_policy/evicted_samples" not in metrics


def test_groups_that_are_left_over_are_sampled_next_and_oldest_first() -> None:
    """What a step does not take stays, also in what the sampler has read of it."""
    for uid, step in (("c", 3), ("a", 1), ("b", 2)):
        put_group(uid, HALF_VOID, step=step)
    buffer = build(Refill(step=3), "colocate_async", prompts=2)
    first, _ = buffer.sample(3, "train", 2)
    second, metrics = buffer.sample(4, "train", 1)
    assert (groups(first), groups(second)) == ({"a", "b"}, {"c"})
    assert metrics["tir/filter/masked_rows/total"] == 1.0


def test_waiting_before_the_first_sample_allows_the_shares_of_what_is_waited_for() -> None:
    """verl waits outside of `sample` where it lends the trainer's accelerators to the rollout."""
    put_prompt("raised", "failure")
    put_group("a", NORMAL)
    refill = Refill(NORMAL)
    buffer = build(refill, "separate_async", prompts=2, max_failed_groups=0.5)
    found, _ = buffer.wait_for_sampleable(1, "train", 2)
    assert found == {"a", "refill0x0"}
    put_prompt("raised too", "failure")
    put_prompt("and this", "failure")
    with pytest.raises(FailedRolloutsError, match="3 of 4 prompt groups raised"):
        buffer.wait_for_sampleable(1, "train", 4)


def test_a_restored_queue_is_sampled_as_the_one_that_was_saved(tmp_path: Path) -> None:
    """Finished groups come back with their records; rows of the batch in training, saved too, are not trained again."""
    put_group("trained", NORMAL)
    put_group("finished", HALF_VOID)
    put_prompt("running", "running")
    batch, _ = build(Refill(), "colocate_async", prompts=2).sample(1, "train", 1)
    (trained,) = groups(batch)
    (left,) = {"trained", "finished"} - {trained}
    tq.save_checkpoint(tmp_path / "transfer_queue")
    clear()
    tq.load_checkpoint(tmp_path / "transfer_queue")
    assert {key for key, tag in tq.kv_list()["train"].items() if tag.get("is_prompt")} == {left, "running"}
    refill = Refill()
    batch, metrics = build(refill, "colocate_async", prompts=2).sample(2, "train", 1)
    assert groups(batch) == {left}
    assert (refill.asked, metrics["tir/trajectories/total"]) == ([], 2.0)
