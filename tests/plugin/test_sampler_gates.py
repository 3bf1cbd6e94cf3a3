"""Gates, refill and rules against a real TransferQueue: what the trainer gets, and what was rolled out for it."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transfer_queue as tq
from stored_groups import (
    ABORTED,
    BAD,
    GOOD,
    LATE,
    LATE_GOOD,
    UNDECIDED,
    VOID,
    Refill,
    Response,
    build,
    clear,
    put_group,
    put_prompt,
    stored,
    transfer_queue,
)
from verl.trainer.ppo.core_algos import compute_grpo_outcome_advantage

from verl_tir.dump.reader import read_dump
from verl_tir.dump.writer import TrajectoryDump
from verl_tir.sampler.gates import NoVerdictError
from verl_tir.sampler.run_limits import DataCannotFillBatchError, OutageError

MODES = ["sync", "colocate_async", "separate_async"]
TAIL = [1, 1, 0, 0, 1, 1, 1]


@pytest.fixture(scope="module", autouse=True)
def queue() -> Iterator[None]:
    with transfer_queue():
        yield


@pytest.fixture(autouse=True)
def empty() -> Iterator[None]:
    """Every test begins with nothing stored."""
    yield
    clear()


def groups_of(batch: Any) -> set[str]:
    return {key.split("_")[0] for key in batch.keys}


# id: a group that goes, settings, its gate
REFUSED = {
    "no spread": ([GOOD, GOOD], {}, "zero_variance"),
    "no spread without the aborted": ([GOOD, GOOD, ABORTED], {"max_aborted_ratio": 0.5}, "zero_variance"),
    "too easy": ([GOOD, GOOD, BAD], {"accuracy_window": [0.1, 0.6]}, "accuracy"),
    "too few in the loss": ([GOOD, VOID, VOID], {"min_usable_rows": 2}, "few_usable"),
    "overlong": ([GOOD, LATE, LATE_GOOD], {"min_usable_rows": 2, "overlong": "mask"}, "few_usable"),
}


@pytest.mark.parametrize(("group", "filters", "gate"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("mode", MODES)
def test_a_refused_group_is_replaced(mode: str, group: list[Response], filters: dict[str, Any], gate: str) -> None:
    """Another prompt takes its place; nothing of the group stays in storage, and it is counted under its gate."""
    put_group("a", [GOOD, BAD, BAD])
    put_group("b", group)
    refill = Refill([GOOD, BAD, BAD])
    batch, metrics = build(refill, mode, rollout_n=3, **filters).sample(1, "train", 2)
    assert groups_of(batch) == {"a", "refill0x0"}
    assert not [key for key in tq.kv_list()["train"] if key.startswith("b")]
    assert refill.asked == [1]
    evicted = {name: value for name, value in metrics.items() if "evicted_groups" in name and value}
    assert evicted == {f"tir/filter/evicted_groups/{gate}/total": 1.0}
    assert metrics["tir/filter/refills/total"] == 1.0
    assert metrics["tir/filter/failed_groups/total"] == 0.0


@pytest.mark.parametrize(("allowed", "alarms"), [(0.01, 1), (0.5, 0)])
def test_undecided_answers_leave_the_batch_with_an_alarm(
    allowed: float, alarms: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Above the allowed share the log has an error with share, key, example and remedy; the run goes on without them.

    They are no fault of the sandbox: its own share, far below, stops nothing.
    """
    put_group("a", [GOOD, BAD, UNDECIDED])
    put_group("b", [GOOD, BAD, BAD])
    sampler = build(rollout_n=3, max_undecided_ratio=allowed, max_aborted_ratio=0.01)
    batch, metrics = sampler.sample(1, "train", 2)
    assert sorted(batch.keys) == ["a_0_0", "a_1_0", "b_0_0", "b_1_0", "b_2_0"]
    assert metrics["tir/reward/undecided_ratio"] == pytest.approx(1 / 6)
    assert metrics["tir/aborted_ratio"] == 0.0
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == alarms
    for error in errors:
        assert "1 of 6 answers" in error
        for part in ("0.167", "tir.filter.max_undecided_ratio=0.01", "a_2_0: '9^{9^{9^9}}'", "reward_kwargs.timeout"):
            assert part in error


def test_a_batch_of_undecided_answers_is_not_blamed_on_the_sandbox() -> None:
    """Where nothing else is left, the run stops and says which bound to raise."""
    put_group("a", [UNDECIDED, UNDECIDED])
    with pytest.raises(OutageError, match=r"undecided.*reward_kwargs\.timeout") as caught:
        build(Refill(*[[UNDECIDED, UNDECIDED]] * 30), max_refills=2).sample(1, "train", 1)
    assert "doctor" not in str(caught.value)


def test_what_was_sampled_is_measured_before_the_gates() -> None:
    """The mean reward of the batch is that of what the gates let through; the one of all that was sampled is beside."""
    put_group("a", [GOOD, BAD])
    put_group("b", [BAD, BAD])
    _, metrics = build(Refill([GOOD, VOID])).sample(1, "train", 2)
    assert metrics["tir/filter/sampled/reward_mean"] == pytest.approx(2 / 6)
    assert metrics["tir/filter/sampled/void_ratio"] == pytest.approx(1 / 6)


def test_groups_are_replaced_while_others_run() -> None:
    """The refill of a refused group does not wait for the group that is still running, nor one refill for another."""
    put_group("a", [GOOD, GOOD])
    put_group("b", [BAD, BAD])
    put_prompt("slow", "running")
    refilled = threading.Event()

    class Watched(Refill):
        def __call__(self, prompts: int) -> int:
            done = super().__call__(prompts)
            refilled.set()
            return done

    refill = Watched([GOOD, BAD], [GOOD, BAD])
    buffer = build(refill)
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(buffer.sample(1, "train", 3)))
    thread.start()
    assert refilled.wait(30)
    assert thread.is_alive()
    put_group("slow", [GOOD, BAD])
    thread.join(30)
    assert groups_of(results[0][0]) == {"slow", "refill0x0", "refill0x1"}
    # Both that finished together were asked for at once.
    assert refill.asked == [2]


def test_each_group_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks come several times a second: what has been read is not read again, by them or for the batch."""
    from verl_tir.sampler import verl_buffer

    read: list[str] = []
    original = verl_buffer.read_rows

    def recording(keys: list[str], *more: Any, **budget: Any) -> Any:
        read.extend(keys)
        return original(keys, *more, **budget)

    monkeypatch.setattr(verl_buffer, "read_rows", recording)
    put_group("a", [GOOD, BAD])
    put_prompt("b", "running")
    buffer = build(Refill())
    thread = threading.Thread(target=buffer.sample, args=(1, "train", 2))
    thread.start()
    time.sleep(0.3)
    put_group("b", [BAD, GOOD])
    thread.join(30)
    assert sorted(read) == ["a_0_0", "a_1_0", "b_0_0", "b_1_0"]


@pytest.mark.parametrize("mode", MODES)
def test_data_that_cannot_fill_a_batch_stops_the_run(mode: str) -> None:
    """The bound counts evicted groups per prompt, all gates together; the message has the counts and the keys."""
    put_group("a", [BAD, BAD])
    put_group("b", [GOOD, BAD])
    refill = Refill(*itertools.repeat([BAD, BAD], 20))
    message = (
        r"(?s)5 prompt groups were evicted for one batch of 2, .*max_refills=2 per prompt.*zero_variance 5"
        r".*mean reward of what was evicted: 0\..*tir\.filter\.min_reward_std=0\.001"
    )
    with pytest.raises(DataCannotFillBatchError, match=message):
        build(refill, mode, max_refills=2).sample(1, "train", 2)
    assert sum(refill.asked) == 4


def test_the_bound_is_of_each_batch() -> None:
    """What an earlier batch used up is not counted against the next."""
    buffer = build(Refill([GOOD, BAD], [GOOD, BAD]), max_refills=1)
    for step, name in enumerate(("a", "b"), start=1):
        put_group(name, [BAD, BAD], step=step)
        _, metrics = buffer.sample(step, "train", 1)
        assert metrics["tir/filter/evicted_groups/zero_variance/total"] == 1.0


def test_a_reward_without_verdicts_stops_the_run() -> None:
    """With a custom reward that does not say `correct`, the accuracy window cannot act and says so."""
    put_group("a", [replace(GOOD, correct=None), replace(BAD, correct=None)])
    with pytest.raises(NoVerdictError, match="`correct`"):
        build(Refill(), accuracy_window=[0.1, 0.9]).sample(1, "train", 1)


def test_validation_has_no_gates() -> None:
    """Groups that agree are what validation is full of."""
    put_group("a", [GOOD, GOOD])
    refill = Refill()
    # Validation's rows lie in a partition of their own, which the helpers do not fill.
    assert build(refill)._terminal_eviction_reasons(1, "val")[2] == set()


@pytest.mark.parametrize("mode", MODES)
def test_a_batch_void_throughout_is_rolled_out_anew(mode: str) -> None:
    """No gate refuses these groups, but not one of their rows would train: other prompts are asked for."""
    put_group("a", [VOID, VOID])
    put_group("b", [VOID, VOID])
    refill = Refill([GOOD, VOID], [VOID, VOID])
    batch, metrics = build(refill, mode, min_reward_std=None).sample(1, "train", 2)
    assert groups_of(batch) == {"refill0x0", "refill0x1"}
    assert refill.asked == [2]
    assert metrics["tir/filter/evicted_groups/untrainable/total"] == 2.0
    assert metrics["tir/filter/updates_without_signal/total"] == 0.0


def test_one_row_that_trains_is_enough() -> None:
    """Nothing is rolled out anew for a batch in which some group still trains."""
    put_group("a", [VOID, VOID])
    put_group("b", [VOID, GOOD])
    refill = Refill()
    batch, metrics = build(refill, min_reward_std=None).sample(1, "train", 2)
    assert groups_of(batch) == {"a", "b"}
    assert (refill.asked, metrics["tir/filter/masked_rows/void/total"]) == ([], 3.0)


def test_the_same_groups_are_chosen_each_time() -> None:
    """What was found trainable is what is taken: groups of one age have an order."""
    buffer = build()
    for names in itertools.permutations("cab"):
        assert buffer._select_prompt_uids("train", dict.fromkeys(names).keys(), 2)[0] == ["a", "b"]


@pytest.mark.parametrize("mode", MODES)
def test_beyond_the_bound_the_update_is_skipped(mode: str) -> None:
    """A model that is void throughout does not stop the run: zero gradient, and counted."""
    put_group("a", [VOID, VOID])
    refill = Refill([VOID, VOID], [VOID, VOID])
    batch, metrics = build(refill, mode, min_reward_std=None, max_refills=2).sample(1, "train", 1)
    assert refill.asked == [1, 1]
    assert metrics["tir/filter/updates_without_signal/total"] == 1.0
    assert sorted(sum(row.response_mask) for row in stored(batch.keys).values()) == [0, 5]


def test_a_skipped_update_has_no_advantage_whatever_the_rewards() -> None:
    """The row that keeps its mask is set apart from its group, in which rewards may differ."""
    put_group("a", [LATE_GOOD, replace(LATE, reward=-1.0)])
    batch, metrics = build(None, min_reward_std=None, overlong="mask").sample(1, "train", 1)
    rows = list(stored(batch.keys).values())
    assert metrics["tir/filter/updates_without_signal/total"] == 1.0
    assert metrics["tir/filter/masked_rows/overlong/total"] == 2.0
    width = max(len(row.response_mask) for row in rows)
    mask = torch.tensor([row.response_mask for row in rows])
    rewards = torch.zeros(len(rows), width)
    rewards[:, -1] = torch.tensor([row.reward for row in rows])
    advantages, _ = compute_grpo_outcome_advantage(rewards, mask, index=np.array([row.uid for row in rows]))
    assert mask.any()
    assert not advantages.any()


def test_overlong_rows_are_masked_and_keep_their_reward() -> None:
    """Judged by their own budget; the reward stays in the baseline."""
    put_group("a", [GOOD, LATE, LATE_GOOD])
    batch, metrics = build(rollout_n=3, min_reward_std=None, overlong="mask").sample(1, "train", 1)
    rows = stored(batch.keys)
    assert [sum(rows[f"a_{i}_0"].response_mask) for i in range(3)] == [5, 0, 0]
    assert [rows[f"a_{i}_0"].reward for i in range(3)] == [1.0, 0.0, 1.0]
    assert {row.uid for row in rows.values()} == {"a"}
    assert metrics["tir/filter/masked_rows/overlong/total"] == 2.0
    assert metrics["tir/filter/masked_rows/void/total"] == 0.0


def test_overlong_rows_train_by_default() -> None:
    """Nothing is masked that was not asked for."""
    put_group("a", [GOOD, LATE])
    batch, metrics = build(min_reward_std=None).sample(1, "train", 1)
    assert all(sum(row.response_mask) for row in stored(batch.keys).values())
    assert metrics["tir/filter/masked_rows/total"] == 0.0


def test_a_suffix_leaves_the_loss() -> None:
    """Of a void trajectory what came before its void turn trains; both masks lose the rest, the reward stays."""
    put_group("a", [GOOD, VOID])
    batch, metrics = build(void="suffix").sample(1, "train", 1)
    rows = stored(batch.keys)
    assert rows["a_1_0"].response_mask == rows["a_1_0"].loss_mask == [1, 1, 0, 0, 0, 0, 0]
    assert rows["a_0_0"].response_mask == rows["a_0_0"].loss_mask == TAIL
    assert rows["a_1_0"].uid == "a"
    assert (metrics["tir/filter/trimmed_rows/total"], metrics["tir/filter/trimmed_tokens/total"]) == (1.0, 3.0)
    assert metrics["tir/filter/masked_rows/total"] == 0.0


def test_improbable_tokens_leave_the_loss() -> None:
    """Tokens below the bound leave both masks; their share of the tokens in the loss is logged."""
    unlikely = (0.5, 0.001, 0.0001, 1.0, 0.02, 0.009, 1.0)
    put_group("a", [replace(GOOD, log_probs=unlikely), BAD])
    batch, metrics = build(min_token_probability=0.01).sample(1, "train", 1)
    rows = stored(batch.keys)
    assert rows["a_0_0"].response_mask == rows["a_0_0"].loss_mask == [1, 0, 0, 0, 1, 0, 1]
    assert rows["a_1_0"].response_mask == TAIL
    assert metrics["tir/filter/low_probability_ratio"] == pytest.approx(2 / 10)


def test_a_row_of_improbable_tokens_only_is_masked() -> None:
    """Nothing of it is left, so it counts as empty where mini-batches are kept from having no token."""
    put_group("a", [replace(GOOD, log_probs=(1e-4,) * 7), BAD])
    put_group("b", [GOOD, BAD])
    batch, metrics = build(min_token_probability=0.01).sample(1, "train", 2)
    assert sum(stored(batch.keys)["a_0_0"].response_mask) == 0
    assert metrics["tir/filter/masked_rows/empty/total"] == 1.0


def test_a_batch_of_improbable_tokens_only_does_not_reach_verl_empty() -> None:
    """One row keeps its tokens, set apart."""
    put_group("a", [replace(GOOD, log_probs=(1e-4,) * 7), replace(BAD, log_probs=(1e-4,) * 7)])
    batch, metrics = build(min_token_probability=0.01).sample(1, "train", 1)
    assert sorted(sum(row.response_mask) for row in stored(batch.keys).values()) == [0, 5]
    assert metrics["tir/filter/updates_without_signal/total"] == 1.0


def test_void_rows_can_leave_the_baseline() -> None:
    """They leave batch and storage; the gates judge the rewards that are left."""
    put_group("a", [GOOD, BAD, VOID])
    put_group("b", [GOOD, GOOD, VOID])
    refill = Refill([GOOD, BAD, BAD])
    batch, metrics = build(refill, rollout_n=3, void_in_baseline=False).sample(1, "train", 2)
    assert sorted(key for key in batch.keys if key.startswith("a")) == ["a_0_0", "a_1_0"]
    assert "a_2_0" not in tq.kv_list()["train"]
    assert metrics["tir/filter/evicted_groups/zero_variance/total"] == 1.0
    assert metrics["tir/void_ratio"] > 0


# id: group, settings, tokens of `loss_mask`, which token-mean divides by
DENOMINATORS = {
    "all train": ([GOOD, BAD], {}, 10),
    "masked rows are not counted": ([GOOD, VOID], {}, 5),
    "void rows that train are": ([GOOD, VOID], {"void": "off"}, 10),
    "of a suffix what trains": ([GOOD, VOID], {"void": "suffix"}, 7),
    "improbable tokens are not": ([replace(GOOD, log_probs=(0.001,)), BAD], {"min_token_probability": 0.01}, 9),
    "overlong rows are not": ([GOOD, LATE], {"overlong": "mask"}, 5),
    "rows out of the baseline are gone": ([GOOD, BAD, VOID], {"void_in_baseline": False}, 10),
}


@pytest.mark.parametrize(("group", "filters", "tokens"), DENOMINATORS.values(), ids=DENOMINATORS)
def test_what_verl_divides_by(group: list[Response], filters: dict[str, Any], tokens: int) -> None:
    """verl's `batch_num_tokens` is the sum of `loss_mask`: the tokens that train, no others."""
    put_group("a", group)
    batch, _ = build(rollout_n=len(group), **filters).sample(1, "train", 1)
    rows = stored(batch.keys).values()
    assert sum(sum(row.loss_mask) for row in rows) == tokens
    assert sum(sum(row.response_mask) for row in rows) == tokens


def test_a_restart_begins_where_storage_is(tmp_path: Path) -> None:
    """verl restores TransferQueue: finished groups are judged anew, refused ones replaced, and counts begin at 0."""
    put_group("a", [GOOD, BAD])
    put_group("b", [BAD, BAD])
    put_group("c", [GOOD, VOID])
    before = build(Refill([GOOD, BAD]), "colocate_async", max_refills=1)
    before.get_sampleable_count(1, "train")
    tq.save_checkpoint(tmp_path / "transfer_queue")
    clear()
    tq.load_checkpoint(tmp_path / "transfer_queue")
    refill = Refill([GOOD, VOID])
    batch, metrics = build(refill, "colocate_async", max_refills=1).sample(1, "train", 3)
    assert groups_of(batch) == {"a", "c", "refill0x0"}
    assert metrics["tir/filter/evicted_groups/zero_variance/total"] == 1.0
    rows = stored(batch.keys)
    assert (sum(rows["c_0_0"].response_mask), sum(rows["c_1_0"].response_mask)) == (5, 0)


def test_a_group_of_which_one_loop_raised_is_judged_by_what_is_left() -> None:
    """verl keeps the trajectories of the others; the failure is counted all the same."""
    put_group("a", [GOOD, BAD, BAD], status="failure")
    put_group("b", [GOOD, BAD, BAD, BAD])
    put_group("c", [GOOD], status="failure")
    filters = {"rollout_n": 4, "max_failed_groups": 1.0, "min_sound_ratio": 0.5}
    batch, metrics = build(Refill([GOOD, BAD, BAD, BAD]), **filters).sample(1, "train", 3)
    assert groups_of(batch) == {"a", "b", "refill0x0"}
    assert metrics["tir/filter/evicted_groups/unsound/total"] == 1.0
    assert metrics["tir/filter/failed_groups/total"] == 2.0


def test_the_dump_says_why(tmp_path: Path) -> None:
    """A row that is not trained on carries the gate or the cause."""
    put_group("a", [GOOD, VOID])
    put_group("b", [BAD, BAD])
    buffer = build(Refill([GOOD, BAD]))
    buffer.dump = TrajectoryDump(tmp_path, None)
    buffer.sample(1, "train", 2)
    buffer.dump.wait()
    why = {line.key: line.reason for line in read_dump(tmp_path)}
    assert (why["a_0_0"], why["a_1_0"], why["b_0_0"]) == (None, "void", "zero_variance")
