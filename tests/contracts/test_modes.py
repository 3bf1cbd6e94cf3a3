"""What is relied on in verl's asynchronous trainers, pinned: an upgrade that breaks one of these fails here."""

from __future__ import annotations

import asyncio
import inspect
from types import SimpleNamespace
from typing import Any

import pytest
from verl.checkpoint_engine.base import CheckpointEngine, CheckpointEngineManager
from verl.experimental.separation.engine_workers import DetachActorWorker
from verl.trainer.ppo.v1.replay_buffer import ReplayBufferAsync
from verl.trainer.ppo.v1.utils import MetricsAggregator
from verl.workers.config import CheckpointEngineConfig
from verl.workers.rollout.llm_server import FullyAsyncLLMServerClient, LLMServerClient
from verl.workers.rollout.replica import TokenOutput

from verl_tir.rollout.agent_loop import _Versions


def answer(ids: list[int], version: int, reason: str) -> TokenOutput:
    """What the engine gives for one request."""
    return TokenOutput(
        token_ids=ids,
        log_probs=[-0.5 * value for value in ids] or None,
        stop_reason=reason,
        extra_fields={"global_steps": version},
    )


async def ask(
    monkeypatch: pytest.MonkeyPatch, answers: list[TokenOutput], max_tokens: int
) -> tuple[TokenOutput, list[tuple[list[int], int]]]:
    """One call of verl's client, and what it asked the engine for: the ids that it continued, and how many tokens."""
    asked: list[tuple[list[int], int]] = []

    async def generate(self: Any, request_id: str, *, prompt_ids: list[int], sampling_params: Any, **_: Any) -> Any:
        asked.append((list(prompt_ids), sampling_params["max_tokens"]))
        return answers[len(asked) - 1]

    async def no_wait(seconds: float) -> None:
        return None

    monkeypatch.setattr(LLMServerClient, "generate", generate)
    monkeypatch.setattr(asyncio, "sleep", no_wait)
    client = FullyAsyncLLMServerClient(config=SimpleNamespace())
    output = await client.generate("r", prompt_ids=[1, 2], sampling_params={"max_tokens": max_tokens})
    return output, asked


async def test_the_client_resumes_aborted_requests_and_the_loop_sees_one_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Why an abort at a weight update ends no trajectory: `aborted` does not come through."""
    answers = [answer([], 3, "aborted"), answer([7, 8], 3, "aborted"), answer([9], 4, "completed")]
    output, asked = await ask(monkeypatch, answers, max_tokens=10)
    assert asked == [([1, 2], 10), ([1, 2], 10), ([1, 2, 7, 8], 8)]
    assert (output.token_ids, output.log_probs) == ([7, 8, 9], [-3.5, -4.0, -4.5])
    assert output.stop_reason == "completed"
    versions = _Versions()
    versions.update(output.extra_fields)
    assert (versions.first, versions.last) == (3, 4)
    versions.update({"min_global_steps": 5, "max_global_steps": 6})
    assert (versions.first, versions.last) == (3, 6)


async def test_a_resumed_request_ends_at_the_limit_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the abort came with the last token: the turn then has its full length and is not aborted."""
    output, asked = await ask(monkeypatch, [answer([7, 8], 3, "aborted")], max_tokens=2)
    assert (len(asked), output.token_ids, output.stop_reason) == (1, [7, 8], "length")


def test_waiting_is_a_method_of_its_own_that_sampling_uses() -> None:
    """The sampler sets there what the allowed shares are shares of."""
    parameters = list(inspect.signature(ReplayBufferAsync.wait_for_sampleable).parameters)
    assert parameters == ["self", "global_steps", "partition_id", "target_count"]
    assert "self.wait_for_sampleable(global_steps, partition_id, batch_size)" in inspect.getsource(
        ReplayBufferAsync.sample
    )


def test_verls_trainers_join_the_samples_of_a_step_by_name() -> None:
    """What the documentation says of `separate_async`: totals are summed, extremes kept, all else is averaged."""
    aggregator = MetricsAggregator()
    for rows in (2.0, 4.0):
        names = ("tir/filter/masked_rows/total", "tir/turns/max", "tir/turns/mean")
        aggregator.add_step_metrics(dict.fromkeys(names, rows), sample_count=8)
    assert list(aggregator.get_aggregated_metrics().values()) == [6.0, 4.0, 3.0]


def test_checkpoint_engine_interface() -> None:
    """What an engine of another backend has to be, and the key through which verl imports it."""
    abstract = {"prepare", "build_topology", "init_process_group", "finalize", "send_weights", "receive_weights"}
    assert CheckpointEngine.__abstractmethods__ == abstract
    assert CheckpointEngine.wire_format == "named_tensors"
    assert CheckpointEngineConfig().custom_backend_module is None
    source = inspect.getsource(CheckpointEngineManager.__init__)
    assert source.index("import_external_libs") < source.index("CheckpointEngineRegistry.get")


def test_the_save_to_replace_is_looked_up_when_it_is_needed() -> None:
    """The worker imports verl's sharded save by name, but only in the call, so that a replacement counts."""
    source = inspect.getsource(DetachActorWorker._get_strategy_handlers)
    assert "fsdp2_sharded_save_to_cpu," in source
