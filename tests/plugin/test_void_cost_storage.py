"""Cut rows in a real TransferQueue: what verl reads of them, and that no other row's advantage changes by a bit."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import transfer_queue as tq
from omegaconf import OmegaConf
from stored_groups import clear, transfer_queue
from transfer_queue import KVBatchMeta
from verl.protocol import DataProto
from verl.trainer.ppo.padding_utils import construct_minimal_padding_template
from verl.trainer.ppo.v1.utils import compute_advantage_for_multi_trajectories
from verl.utils.tensordict_utils import list_of_dict_to_tensordict
from verl.workers.utils.padding import response_from_nested, response_to_nested

from verl_tir.sampler.cut import RowLengths
from verl_tir.sampler.loss_plan import LossPlan
from verl_tir.sampler.storage import cut_rows, mask_rows
from verl_tir.sampler.verl_buffer import build_sampler
from verl_tir.trajectory import StopReason, Trajectory, Turn, TurnEnd

TWO = RowLengths(prompt=1, response=1)
TAGS = {"status": "success", "global_steps": 1, "min_global_steps": 1, "max_global_steps": 1}


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


def stored_row(uid: str, prompt: int, response: int, reward: float, **more: Any) -> dict[str, Any]:
    """A row as verl's agent loop worker stores it, with every kind of field that verl knows."""
    tokens = prompt + response
    scores = torch.zeros(response)
    scores[-1] = reward
    ids = torch.arange(100, 100 + tokens)
    return {
        "uid": uid,
        "prompts": ids[:prompt],
        "responses": ids[prompt:],
        "response_mask": torch.ones(response, dtype=torch.int64),
        "loss_mask": torch.ones(response, dtype=torch.int64),
        "rm_scores": scores,
        "rollout_log_probs": torch.full((response,), -0.7),
        "input_ids": ids,
        "position_ids": torch.arange(tokens),
        "routed_experts": torch.ones(tokens, 2, 3, dtype=torch.int16),
        "teacher_ids": torch.ones(tokens, 9, dtype=torch.int64),
        "teacher_logprobs": torch.full((tokens, 9), -1.5),
        "multi_modal_inputs": {"pixel_values": torch.ones(2, 3)},
        "num_turns": 2,
        "dummy_tensor": torch.zeros(1, dtype=torch.uint8),
        "extra_fields": {"reward_extra_info": {}},
        **more,
    }


def put(rows: dict[str, dict[str, Any]]) -> KVBatchMeta:
    """Store the rows and return them as the batch that verl's replay buffer makes of them."""
    tags = []
    for row in rows.values():
        prompt, response = len(row["prompts"]), len(row["responses"])
        tags.append(TAGS | {"prompt_len": prompt, "response_len": response, "seq_len": prompt + response})
    keys = list(rows)
    tq.kv_batch_put(keys=keys, partition_id="train", fields=list_of_dict_to_tensordict(list(rows.values())), tags=tags)
    return KVBatchMeta(partition_id="train", keys=keys, tags=tags, fields=None, extra_info={"temperature": 1.0})


def read(key: str) -> Any:
    return tq.kv_batch_get(keys=[key], partition_id="train")[0]


def test_every_field_of_a_cut_row_has_its_new_length() -> None:
    """One prompt token and one response token, no mask, the reward at the end, and no image without its placeholder."""
    batch = put({"a_0_0": stored_row("a", 5, 7, 0.3), "a_1_0": stored_row("a", 5, 9, 1.0)})
    cut = cut_rows(batch, ["a_0_0"], {"a_0_0": 0.3}, TWO)
    row = read("a_0_0")
    assert {name: row[name].tolist() for name in ("prompts", "responses", "input_ids", "position_ids")} == {
        "prompts": [111],
        "responses": [111],
        "input_ids": [111, 111],
        "position_ids": [0, 1],
    }
    assert row["response_mask"].tolist() == row["loss_mask"].tolist() == [0]
    assert torch.equal(row["rm_scores"], torch.tensor([0.3]))
    assert row["rollout_log_probs"].tolist() == [0.0]
    assert row["routed_experts"].shape == (2, 2, 3)
    assert row["routed_experts"].dtype == torch.int16
    assert row["teacher_ids"].shape == row["teacher_logprobs"].shape == (2, 9)
    assert row["multi_modal_inputs"] == {}
    assert (row["uid"], int(row["num_turns"]), row["dummy_tensor"].tolist()) == ("a", 2, [0])
    assert (cut.rows, cut.tokens, cut.uncut_rows) == (1, 10, 0)


def test_rows_that_stay_are_untouched() -> None:
    """Not a field of another row changes."""
    rows = {"a_0_0": stored_row("a", 5, 7, 0.3), "a_1_0": stored_row("a", 5, 9, 1.0)}
    before = {name: value for name, value in rows["a_1_0"].items() if isinstance(value, torch.Tensor)}
    cut_rows(put(rows), ["a_0_0"], {"a_0_0": 0.3}, TWO)
    row = read("a_1_0")
    assert all(torch.equal(row[name], value) for name, value in before.items())
    assert row["multi_modal_inputs"]["pixel_values"].shape == (2, 3)


def test_tags_say_the_new_lengths_in_the_batch_and_in_storage() -> None:
    """verl balances ranks by the batch's tags; what else the tags and the batch carry stays."""
    batch = put({"a_0_0": stored_row("a", 5, 7, 0.0), "a_1_0": stored_row("a", 5, 9, 1.0)})
    cut = cut_rows(batch, ["a_0_0"], {"a_0_0": 0.0}, TWO)
    short = TAGS | {"prompt_len": 1, "response_len": 1, "seq_len": 2}
    assert cut.batch.keys == ["a_0_0", "a_1_0"]
    assert cut.batch.tags == [short, batch.tags[1]]
    assert cut.batch.extra_info == {"temperature": 1.0}
    assert tq.kv_list()["train"] == {"a_0_0": short, "a_1_0": batch.tags[1]}


def test_positions_in_several_dimensions() -> None:
    """Models with rotary positions in four dimensions keep all four."""
    positions = torch.arange(12).expand(4, 12).clone()
    rows = {"a_0_0": stored_row("a", 5, 7, 0.0, position_ids=positions)}
    cut_rows(put(rows), ["a_0_0"], {"a_0_0": 0.0}, TWO)
    assert read("a_0_0")["position_ids"].tolist() == [[0, 1]] * 4


def test_a_row_of_verls_padding_length() -> None:
    """As other engines need it; rows that are shorter than it keep their tokens and count for nothing."""
    batch = put({"a_0_0": stored_row("a", 100, 90, 1.0), "a_1_0": stored_row("a", 100, 20, 1.0)})
    cut = cut_rows(batch, ["a_0_0", "a_1_0"], dict.fromkeys(batch.keys, 1.0), RowLengths(127, 1))
    assert (cut.rows, cut.tokens, cut.uncut_rows) == (1, 62, 0)
    assert (len(read("a_0_0")["prompts"]), len(read("a_0_0")["input_ids"])) == (127, 128)
    assert len(read("a_1_0")["input_ids"]) == 120


def test_a_field_that_is_not_known_keeps_the_rows_whole(caplog: pytest.LogCaptureFixture) -> None:
    """A row whose fields disagree would break the step; it costs what it cost, which is said and counted."""
    batch = put(
        {
            "a_0_0": stored_row("a", 5, 7, 0.0, novel=torch.ones(12)),
            "a_1_0": stored_row("a", 5, 9, 1.0, novel=torch.ones(14)),
        }
    )
    with caplog.at_level(logging.WARNING):
        cut = cut_rows(batch, ["a_0_0", "a_1_0"], dict.fromkeys(batch.keys, 0.0), TWO)
    assert (cut.rows, cut.tokens, cut.uncut_rows) == (0, 0, 2)
    assert cut.batch is batch
    assert len(read("a_0_0")["input_ids"]) == 12
    assert "2 masked rows keep their tokens" in caplog.text
    assert "novel" in caplog.text


def test_verl_can_read_and_pad_a_batch_that_begins_with_a_cut_row() -> None:
    """verl makes its padding rows of the batch's first one, and reads nested tensors also where all rows are cut."""
    batch = put({"a_0_0": stored_row("a", 5, 7, 0.0), "a_1_0": stored_row("a", 5, 9, 1.0)})
    cut = cut_rows(batch, batch.keys, dict.fromkeys(batch.keys, 0.0), TWO)
    data = tq.kv_batch_get(keys=cut.batch.keys, partition_id="train", select_fields=["input_ids", "responses"])
    assert data["input_ids"].offsets().tolist() == [0, 2, 4]
    assert data["responses"].offsets().tolist() == [0, 1, 2]
    padding, tag = construct_minimal_padding_template(dict(read("a_0_0").items()), cut.batch.tags[0], 2)
    assert len(padding["input_ids"]) == len(padding["position_ids"]) == tag["seq_len"]
    assert len(padding["routed_experts"]) == len(padding["teacher_ids"]) == tag["seq_len"]


def advantages(batch: KVBatchMeta) -> dict[str, torch.Tensor]:
    """verl's own steps from stored rows to stored advantages."""
    data = tq.kv_batch_get(
        keys=batch.keys, partition_id="train", select_fields=["uid", "input_ids", "response_mask", "rm_scores"]
    )
    mask = data["response_mask"]
    # As verl takes the response's part out of what the engine returns for the whole sequence.
    assert response_from_nested(data.pop("input_ids"), mask).offsets().equal(mask.offsets())
    proto = DataProto(batch=data.to_padded_tensor())
    proto.batch["token_level_rewards"] = proto.batch["rm_scores"]
    proto.non_tensor_batch["uid"] = np.array(proto.batch.pop("uid").tolist(), dtype=object)
    done = compute_advantage_for_multi_trajectories(proto, batch_keys=batch.keys, adv_estimator="grpo")
    return dict(zip(batch.keys, response_to_nested(done.batch["advantages"], mask).unbind(), strict=True))


def test_advantages_of_the_other_rows_are_the_same_to_the_last_bit() -> None:
    """With rewards that no binary fraction is, and the void row the longest, so that the padded width changes."""
    rewards = [0.1, 0.7, -1.0, 0.3, 1 / 3, 0.2]
    rows = {f"a_{i}_0": stored_row("a", 5, 7 + i, reward) for i, reward in enumerate(rewards)}
    void = ["a_2_0", "a_5_0"]
    plan = LossPlan(tuple(rows.keys() - set(void)), tuple(void), (), (), None)

    batch = put(rows)
    mask_rows(batch, plan)
    uncut = advantages(batch)
    stored = {key: float(read(key)["rm_scores"].sum()) for key in void}
    cut = cut_rows(batch, void, stored, TWO)
    mask_rows(cut.batch, plan)
    found = advantages(cut.batch)

    for key in rows:
        if key in void:
            assert found[key].tolist() == [0.0]
        else:
            assert torch.equal(found[key], uncut[key])
            assert found[key].any()


@pytest.mark.parametrize(
    ("strategy", "switch", "tokens"),
    [("fsdp2", True, 2), ("fsdp2", False, 200), ("megatron", True, 128), (None, True, 128)],
)
def test_the_sampler_cuts_what_it_masks(strategy: str | None, switch: bool, tokens: int) -> None:
    """Down to what the training engine takes, unless it is switched off; an anchor keeps its one token of loss mask."""
    for uid in ("a", "b"):
        tq.kv_put(
            key=uid,
            partition_id="train",
            fields=None,
            tag={"is_prompt": True, "status": "finished", "global_steps": 1},
        )
    rows = {}
    for uid, void in (("a", (True, True)), ("b", (False, True))):
        for session, is_void in enumerate(void):
            turn = Turn(TurnEnd.EOS, 150, 0, 0, False, not is_void, None, False, 0.1, 0.0)
            record = Trajectory((turn,), StopReason.VOID if is_void else StopReason.ANSWER).to_record()
            extra = {"tir": record, "reward_extra_info": {}}
            rows[f"{uid}_{session}_0"] = stored_row(uid, 50, 150, 0.25 * session, extra_fields=extra)
    put(rows)
    sampler = build_sampler(
        trainer_mode="sync",
        trainer_config=OmegaConf.create({}),
        max_off_policy_threshold=8,
        max_off_policy_strategy="drop",
        sampler_kwargs=OmegaConf.create(
            {
                "tir": {"recipe": "simpletir", "filter": {"cut_masked_rows": switch}},
                "rollout_n": 2,
                "ppo_mini_batch_size": 1,
                "refill": False,
                "actor_strategy": strategy,
                "max_response_tokens": 1000,
                "max_model_len": None,
            }
        ),
        refill_fn=None,
    )
    batch, metrics = sampler.sample(1, "train", 2)
    lengths = dict(zip(batch.keys, (tag["seq_len"] for tag in batch.tags), strict=True))
    assert lengths == {"a_0_0": tokens, "a_1_0": tokens, "b_0_0": 200, "b_1_0": tokens}
    assert {key: float(read(key)["rm_scores"].sum()) for key in batch.keys} == {
        key: float(row["rm_scores"].sum()) for key, row in rows.items()
    }
    # Three of four rows are empty and a mini-batch is two rows: two of the three need their anchor.
    masked = [read(key) for key in ("a_0_0", "a_1_0", "b_1_0")]
    assert [int(row["response_mask"].sum()) for row in masked] == [0, 0, 0]
    assert sorted(int(row["loss_mask"].sum()) for row in masked) == [0, 1, 1]
    assert metrics["tir/filter/masked_rows/total"] == 3.0
    counts = [metrics.get(f"tir/filter/{name}/total") for name in ("cut_rows", "cut_tokens", "uncut_rows")]
    assert counts == ([3.0, 3.0 * (200 - tokens), 0.0] if switch else [None, None, None])
