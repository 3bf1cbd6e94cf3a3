"""What the agent loop says of a turn's tokens, and of what only the dump needs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf
from verl.experimental.agent_loop.agent_loop import AgentLoopOutput, DictConfigWrap

from tir_tools.demo.tokenizer import train_tokenizer
from verl_tir.metrics.log_probs import reduce_log_probs
from verl_tir.rollout.agent_loop import TirAgentLoop
from verl_tir.trajectory import StopReason, Trajectory, TurnText

LOG_PROBS = [-0.5, -2.0, -0.25]


class Engine:
    """Samples three tokens and then the end of the message, with log-probabilities where they are asked for."""

    def __init__(self, tokenizer: Any) -> None:
        self.ids = [*tokenizer.encode("abc", add_special_tokens=False)[:2], tokenizer.eos_token_id]

    async def generate(self, *, sampling_params: dict[str, Any], **kwargs: Any) -> Any:
        wanted = LOG_PROBS if sampling_params["logprobs"] else None
        return SimpleNamespace(token_ids=self.ids, log_probs=wanted, stop_reason="completed", extra_fields={})


async def roll_out(monkeypatch: pytest.MonkeyPatch, *, log_probs: bool = True, **tir: Any) -> AgentLoopOutput:
    """One trajectory of the agent loop as verl builds it."""
    tokenizer = train_tokenizer(seed=0)
    # Nothing is sent there: the trajectory holds no code.
    tir = {"recipe": "simpletir", "prompt": {"chat_template": False}, "sandbox": {"endpoints": ["http://a:1"]}, **tir}
    rollout = {"prompt_length": 4096, "response_length": 64, "calculate_log_probs": log_probs}
    config = OmegaConf.create({"tir": tir, "actor_rollout_ref": {"rollout": rollout}})
    monkeypatch.setattr(TirAgentLoop, "_shared", None)

    loop = TirAgentLoop(
        trainer_config=DictConfigWrap(config),
        server_manager=Engine(tokenizer),
        tokenizer=tokenizer,
        processor=None,
        dataset_cls=None,
        data_config=DictConfigWrap(OmegaConf.create({})),
    )
    try:
        return await loop.run(
            {"logprobs": log_probs},
            raw_prompt=[{"role": "user", "content": "2 + 3?"}],
            reward_model={"ground_truth": "5"},
            data_source="sums",
        )
    finally:
        await (await loop.shared.sandbox()).client.close()


async def test_a_turn_carries_its_log_probabilities(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reduced, those of the tokens that were kept."""
    output = await roll_out(monkeypatch)
    (turn,) = Trajectory.from_record(output.extra_fields["tir"]).turns
    assert turn.log_probs == reduce_log_probs(LOG_PROBS)
    assert output.response_logprobs == LOG_PROBS


async def test_log_probabilities_that_were_not_asked_for_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """With `calculate_log_probs=false` the tokens are not taken for certain, and verl gets none."""
    output = await roll_out(monkeypatch, log_probs=False)
    trajectory = Trajectory.from_record(output.extra_fields["tir"])
    assert (trajectory.stop_reason, trajectory.turns[0].log_probs) == (StopReason.VOID, None)
    assert output.response_logprobs is None


@pytest.mark.parametrize("folder", [None, "/tmp/dump"])
async def test_what_only_the_dump_needs_is_there_only_for_it(
    folder: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Text, ground truth and benchmark travel through storage when there is a dump to hold them."""
    record = (await roll_out(monkeypatch, dump_dir=folder)).extra_fields["tir"]
    assert record.get("ground_truth") == (None if folder is None else "5")
    assert record.get("data_source") == (None if folder is None else "sums")
    assert {"prompt", "texts"} & record.keys() == (set() if folder is None else {"prompt", "texts"})


async def test_tokens_are_dumped_where_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn's text then says which character is which token's and how probable it was."""
    plain = (await roll_out(monkeypatch, dump_dir="/tmp/dump")).extra_fields["tir"]
    assert [said.keys() for said in plain["texts"]] == [{"text", "program", "observation"}]
    record = (await roll_out(monkeypatch, dump_dir="/tmp/dump", dump_token_log_probs=True)).extra_fields["tir"]
    assert record["prompt"] == plain["prompt"] == "2 + 3?\n"
    (said,) = map(TurnText.from_record, record["texts"])
    assert (said.program, said.observation) == (None, "")
    assert said.tokens.log_probs == tuple(LOG_PROBS)
    assert sum(said.tokens.lengths) == len(said.text)
    assert said.tokens.lengths[-1] == len("<|endoftext|>") or said.text.endswith("<|im_end|>")
    assert [said.to_record()] == record["texts"]
