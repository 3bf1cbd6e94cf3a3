"""Stock verl's `colocate_async` on two FSDP ranks and two vLLM replicas; killed after a checkpoint and resumed.

Judged, as in `test_e2e`, by what was recorded inside verl's processes.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from arithmetic import split, transcripts
from recordings import EngineCalls, Update, updates
from transformers import AutoModelForCausalLM

from tir_tools.evaluation.checkpoint import CheckpointKind, find_checkpoint
from tir_tools.evaluation.launch import MergeError, merged

if TYPE_CHECKING:
    from conftest import RunVerl, VerlRun

pytestmark = pytest.mark.e2e

RANKS, PROMPTS, SAMPLES = 2, 4, 4
SAVED, LAST = 5, 7
"""Steps: of the checkpoint behind which the first run is killed, and the last one of the second run."""
AHEAD = 7
"""Prompts that are rolled out ahead: almost two batches, so that soon a sample waits while others are running."""
FETCHED = AHEAD + PROMPTS * SAVED
"""Prompts that the data loader has given when the checkpoint is written."""
MINI_BATCHES = PROMPTS
"""Optimiser steps of a batch: one for each prompt, two rows for each rank, so that a rank's rows may all be void."""


@dataclass(frozen=True)
class Runs:
    """The killed run and the one that resumed it."""

    first: VerlRun
    second: VerlRun
    dump: list[dict[str, Any]]
    """Trajectories of the steps that count: those of the first run up to its checkpoint, and the second's."""

    def both(self, kind: str) -> list[dict[str, Any]]:
        return self.first.records(kind) + self.second.records(kind)

    def updates(self) -> list[Update]:
        return updates(self.first.record_folder)[: SAVED * MINI_BATCHES] + updates(self.second.record_folder)

    def items(self) -> dict[tuple[int, ...], dict[str, Any]]:
        """Rolled-out trajectories by their ids; equal ids are equal in all that is looked up here."""
        return {tuple(item["prompt"] + item["response"]): item for item in self.both("rolled_out")}


@pytest.fixture(scope="module")
def runs(run_verl: RunVerl) -> Runs:
    """Some steps, a kill, and some more steps."""
    # No problem comes twice, and there are no more than needed: the fewer, the better the model knows them.
    problems, _ = split(seed=0, train=FETCHED + PROMPTS * (LAST - SAVED), validation=1)
    overrides = {
        "trainer.v1.trainer_mode": "colocate_async",
        "trainer.v1.colocate_async.num_warmup_batches": AHEAD / PROMPTS,
        "trainer.n_gpus_per_node": RANKS,
        "trainer.save_freq": SAVED,
        "trainer.total_training_steps": LAST,
        "data.train_batch_size": PROMPTS,
        "data.shuffle": False,
        "actor_rollout_ref.actor.ppo_mini_batch_size": PROMPTS // MINI_BATCHES,
        "actor_rollout_ref.rollout.n": SAMPLES,
        # One request at a time on each replica: never are all of them done at once.
        "actor_rollout_ref.rollout.max_num_seqs": 1,
    }
    stream = transcripts(0, itertools.cycle(problems))
    first = run_verl(problems, stream, overrides, kill_when=saved, slow_engine=True)
    assert saved(first.folder), first.log[-6000:]
    killed = first.dump
    second = run_verl(problems, stream, overrides, after=first, slow_engine=True)
    assert second.status == 0, second.log[-6000:]
    resumed = second.dump[len(killed) :]
    return Runs(first, second, [line for line in killed if line["step"] <= SAVED] + resumed)


def saved(folder: Path) -> bool:
    """Whether the checkpoint is complete."""
    latest = folder / "checkpoints" / "latest_checkpointed_iteration.txt"
    return latest.exists() and latest.read_text() == str(SAVED)


def test_the_second_run_goes_on_at_the_checkpoint(runs: Runs) -> None:
    """Steps and metrics continue, and nothing that is logged is not a number."""
    steps = [metrics["training/global_step"] for metrics in runs.first.metrics]
    # verl writes a step's checkpoint before its metrics.
    assert steps in (list(range(1, SAVED)), list(range(1, SAVED + 1)))
    assert [metrics["training/global_step"] for metrics in runs.second.metrics] == list(range(SAVED + 1, LAST + 1))
    for metrics in runs.second.metrics:
        assert not [name for name, value in metrics.items() if isinstance(value, float) and not math.isfinite(value)]
    assert len(runs.updates()) == LAST * MINI_BATCHES


def is_cut(row: dict[str, Any]) -> bool:
    """Whether it is what is left of a masked trajectory; none is as short as that by itself."""
    return len(row["input_ids"]) == 2


def uid(line: dict[str, Any]) -> str:
    return line["key"].rsplit("_", 2)[0]


def test_no_trajectory_is_trained_twice_and_no_prompt_is_lost(runs: Runs) -> None:
    """What had been fetched and not trained on is trained on by the second run, or rolled out anew for it."""
    assert all(count == 1 for count in Counter(line["key"] for line in runs.dump).values())
    groups = Counter((line["step"], uid(line)) for line in runs.dump)
    assert len(groups) == LAST * PROMPTS
    assert set(groups.values()) == {SAMPLES}
    # No problem comes twice, so its index tells the order in which the prompts were fetched.
    fetched = {event["uid"] for event in runs.first.records("begun") if event["index"] < FETCHED}
    before = {name for step, name in groups if step <= SAVED}
    after = {name for step, name in groups if step > SAVED}
    begun_again = {event["uid"] for event in runs.second.records("begun")} & fetched
    assert len(fetched) == FETCHED
    assert begun_again
    assert before <= fetched
    assert not before & (after | begun_again)
    assert fetched == before | (after & fetched) | begun_again
    restored = re.search(r"Restored (\d+) training prompt groups", runs.second.log)
    assert restored is not None
    assert int(restored[1]) == FETCHED - len(before)


def test_data_goes_on_in_verls_order(runs: Runs) -> None:
    """The first prompt that the second run fetches is the one behind the last that the checkpoint knows."""
    first = {event["uid"]: event["index"] for event in runs.first.records("begun")}
    second = {event["uid"]: event["index"] for event in runs.second.records("begun") if event["uid"] not in first}
    # Prompts of one batch begin in any order, and not all of the last may have when a run ends.
    assert set(range(FETCHED)) <= set(first.values())
    new = PROMPTS * (LAST - SAVED)
    assert set(range(FETCHED, FETCHED + PROMPTS)) <= set(second.values()) <= set(range(FETCHED, FETCHED + new))


def test_requests_cut_off_by_an_update_go_on_under_the_next_version(runs: Runs) -> None:
    """No trajectory ends with them; ids, log-probabilities and versions are those of the calls that returned them."""
    calls = EngineCalls(runs.both("sampled"))
    within_a_turn = 0
    for item in runs.both("rolled_out"):
        assert item["tir"]["stop_reason"] != "engine_abort"
        pieces = calls.behind(item)
        first, last = ({call["version"] for call in piece} for piece in (pieces[0], pieces[-1]))
        # A request may be cut off before its first token, and so count from an earlier version.
        assert item["step"] <= max(first)
        assert item["last_step"] in last
        within_a_turn += any(all(call["aborted"] for call in piece) for piece in pieces)
        if {call["version"] for piece in pieces for call in piece} == {item["step"]}:
            assert item["step"] == item["last_step"]
    assert within_a_turn > 0
    spans = [metrics["training/off_policy/trajectory_spans/max"] for metrics in runs.second.metrics]
    assert max(item["last_step"] - item["step"] + 1 for item in runs.both("rolled_out")) >= max(spans) >= 1


def test_trained_ids_are_the_sampled_ids(runs: Runs) -> None:
    """Through resumed requests, a checkpoint and both ranks."""
    items = runs.items()
    whole = [row for update in runs.updates() for row in update.rows if not is_cut(row)]
    assert whole
    for row in whole:
        assert tuple(row["input_ids"]) in items


def test_void_rows_are_masked_on_both_ranks(runs: Runs) -> None:
    """They are cut and have no loss; every other row is whole and has the mask that it was rolled out with."""
    items = runs.items()
    seen = [Counter[bool]() for _ in range(RANKS)]
    for update in runs.updates():
        for rank, rows in enumerate(update.ranks):
            for row in rows:
                seen[rank][is_cut(row)] += 1
                if is_cut(row):
                    assert row["response_mask"] == [0]
                    assert not any(row["slopes"])
                else:
                    item = items[tuple(row["input_ids"])]
                    assert item["tir"]["stop_reason"] != "void"
                    assert row["response_mask"] == item["mask"]
    # As many as there were void trajectories: the others are not cut.
    masked = sum(line["fate"] == "mask" for line in runs.dump)
    assert sum(counts[True] for counts in seen) == masked == sum(line["stop_reason"] == "void" for line in runs.dump)
    for counts in seen:
        assert counts[True] > 0
        assert counts[False] > 0


def test_a_ranks_rows_of_a_mini_batch_may_all_be_void(runs: Runs) -> None:
    """Whether the other rank's train or not: nothing is divided by zero, and both ranks go on with the same norm."""
    found = 0
    for update in runs.updates():
        trains = [any(any(row["response_mask"]) for row in rows) for rows in update.ranks]
        assert all(math.isfinite(norm) for norm in update.grad_norms)
        assert len(set(update.grad_norms)) == 1
        found += not all(trains)
    assert found > 0


def test_two_ranks_make_the_gradient_of_one(runs: Runs) -> None:
    """The first update with a gradient, computed again in this process from its rows and the run's first weights."""
    # Updates without one leave the weights as they are, but for a decay of a few millionths.
    first = next(update for update in runs.updates() if update.grad_norms[0] > 0)
    tokens = sum(sum(row["loss_mask"]) for row in first.rows)
    model = AutoModelForCausalLM.from_pretrained(runs.first.folder / "model", dtype=torch.float32)
    items = runs.items()
    for row in first.rows:
        if is_cut(row):
            continue
        item = items[tuple(row["input_ids"])]
        ids = torch.tensor([row["input_ids"]])
        log_probs = model(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
        response = log_probs[len(item["prompt"]) - 1 :]
        weights = torch.tensor(row["advantages"]) * torch.tensor(row["response_mask"])
        # The slope of PPO's loss where the policy is still the one that sampled.
        (-(response * weights).sum() / tokens).backward()
    norm = torch.nn.utils.get_total_norm(
        parameter.grad for parameter in model.parameters() if parameter.grad is not None
    )
    assert norm.item() == pytest.approx(first.grad_norms[0], rel=1e-3, abs=1e-6)


def test_metrics_agree_with_the_trajectories(runs: Runs) -> None:
    """The void rule and its counts are those of the dumped trajectories, in the asynchronous mode too."""
    by_step = defaultdict(list)
    for line in runs.dump:
        by_step[line["step"]].append(line)
    for metrics in runs.second.metrics:
        lines = by_step[metrics["training/global_step"]]
        void = [line for line in lines if line["stop_reason"] == "void"]
        assert metrics["tir/void_ratio"] == pytest.approx(len(void) / len(lines))
        assert metrics["tir/filter/masked_rows/total"] == sum(line["fate"] == "mask" for line in lines)
        assert {line["fate"] for line in void} <= {"mask"}


def test_the_shards_become_a_model_that_can_be_evaluated(runs: Runs, tmp_path: Path) -> None:
    """`verl-tir eval` finds both ranks' shards below the step's folder, and verl's merger puts them together, once."""
    checkpoint = find_checkpoint(str(runs.first.folder / "checkpoints" / f"global_step_{SAVED}"))
    assert checkpoint.kind is CheckpointKind.SHARDS
    folder = merged(checkpoint, tmp_path, trust_remote_code=False)
    weights = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()
    shards = [
        torch.load(Path(checkpoint.location) / f"model_world_size_{RANKS}_rank_{rank}.pt", weights_only=False)
        for rank in range(RANKS)
    ]
    name = "model.layers.1.mlp.up_proj.weight"
    whole = torch.cat([shard[name].to_local() for shard in shards])
    # The merger writes bfloat16.
    assert torch.equal(weights[name], whole.bfloat16().float())
    begun = AutoModelForCausalLM.from_pretrained(runs.first.folder / "model", dtype=torch.float32).state_dict()
    assert not torch.equal(weights[name], begun[name].bfloat16().float())
    gone = replace(checkpoint, location="/nowhere")
    assert merged(gone, tmp_path, trust_remote_code=False) == folder
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(MergeError, match=r"verl's merger ended with status 1; the end of .*merge.log"):
        merged(gone, other, trust_remote_code=False)
