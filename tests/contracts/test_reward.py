"""What the reward relies on in verl: trajectories are scored one by one, while others are still rolled out."""

from __future__ import annotations

import asyncio
import inspect
from types import SimpleNamespace
from typing import Any

import numpy as np
import ray
import torch
from omegaconf import OmegaConf
from verl import DataProto
from verl.experimental.agent_loop.agent_loop import AgentLoopWorker
from verl.experimental.reward_loop.reward_loop import RewardLoopManager, RewardLoopWorker
from verl.experimental.reward_loop.reward_manager.naive import NaiveRewardManager


def row(truth: str) -> DataProto:
    """One trajectory, as an agent loop hands it to a reward worker."""
    return DataProto.from_dict(
        tensors={"responses": torch.ones(1, 2, dtype=torch.long), "attention_mask": torch.ones(1, 4, dtype=torch.long)},
        non_tensors={
            "data_source": np.array(["x"], dtype=object),
            "reward_model": np.array([{"ground_truth": truth}], dtype=object),
        },
    )


async def test_a_slow_score_holds_up_no_other_of_its_worker() -> None:
    """verl's reward worker is an actor with coroutines: it takes a second trajectory while the first one waits."""
    assert inspect.iscoroutinefunction(RewardLoopWorker.compute_score)

    async def run() -> list[float]:
        second_is_there = asyncio.Event()

        async def compute_score(data_source: str, solution_str: str, ground_truth: str, extra_info: dict) -> float:
            if ground_truth == "slow":
                await asyncio.wait_for(second_is_there.wait(), 10)
            else:
                second_is_there.set()
            return float(ground_truth == "slow")

        worker = object.__new__(RewardLoopWorker)
        worker.config = OmegaConf.create({"reward": {"custom_reward_function": {"path": "x"}}})
        tokenizer = SimpleNamespace(decode=lambda ids, skip_special_tokens: "text")
        worker.reward_manager = NaiveRewardManager(OmegaConf.create({}), tokenizer, compute_score)
        both = await asyncio.gather(worker.compute_score(row("slow")), worker.compute_score(row("fast")))
        return [result["reward_score"] for result in both]

    assert await run() == [1.0, 0.0]


async def test_a_trajectory_is_scored_while_others_are_rolled_out() -> None:
    """The agent-loop worker awaits each trajectory's own score; another one's generation goes on meanwhile."""

    async def run() -> list[str]:
        order, generated = [], asyncio.Event()

        async def remote(data: DataProto) -> dict[str, Any]:
            await asyncio.wait_for(generated.wait(), 10)
            order.append("scored")
            return {"reward_score": 1.0, "reward_extra_info": {"undecided": 0.0}}

        async def generate() -> None:
            order.append("generated")
            generated.set()

        loop_worker = SimpleNamespace(
            reward_loop_worker_handles=[SimpleNamespace(compute_score=SimpleNamespace(remote=remote))],
            _compute_multi_modal_inputs=lambda output, input_ids: {},
            _compute_position_ids=lambda input_ids, *_: torch.zeros_like(input_ids),
            _get_mm_processor_kwargs=lambda audios: {},
        )
        output = SimpleNamespace(
            reward_score=None,
            prompt_ids=[1],
            response_ids=[2, 3],
            mm_processor_kwargs=None,
            multi_modal_data={},
            num_turns=2,
            extra_fields={},
            metrics=SimpleNamespace(),
        )
        await asyncio.gather(AgentLoopWorker._compute_score(loop_worker, [output], {}), generate())
        assert output.reward_score == 1.0
        assert output.extra_fields["reward_extra_info"] == {"undecided": 0.0}
        return order

    assert await run() == ["generated", "scored"]


def test_a_reward_actor_that_dies_stays_dead() -> None:
    """verl starts its reward workers without restarts: docs/reward.md says what follows from that."""
    source = inspect.getsource(RewardLoopManager)
    assert "ray.remote(RewardLoopWorker)" in source
    assert "max_restarts" not in source
    assert ray.remote(RewardLoopWorker)._default_options.get("max_restarts", 0) == 0
