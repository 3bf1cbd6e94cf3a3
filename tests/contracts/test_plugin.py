"""What is relied on in verl and vLLM, pinned: an upgrade that breaks one of these fails here, with the reason."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hydra._internal.callbacks import Callbacks
from omegaconf import OmegaConf
from transfer_queue import KVBatchMeta
from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopOutput, _agent_loop_registry
from verl.experimental.reward_loop.reward_manager.naive import NaiveRewardManager
from verl.protocol import DataProto
from verl.trainer.ppo.core_algos import agg_loss, compute_grpo_outcome_advantage
from verl.trainer.ppo.padding_utils import construct_minimal_padding_template
from verl.trainer.ppo.rollout_corr_helper import compute_rollout_correction_and_rejection_mask
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer, ReplayBufferAsync
from verl.trainer.ppo.v1.trainer_base import PPOTrainer
from verl.utils.tensordict_utils import list_of_dict_to_tensordict
from verl.workers.rollout.llm_server import LLMServerClient
from verl.workers.rollout.replica import TokenOutput


def test_grpo_counts_the_reward_of_a_row_whose_mask_is_all_zero() -> None:
    """A masked void trajectory stays in its group's mean and standard deviation, and has no advantage itself."""
    rewards = torch.tensor([[0.0, 1.0], [0.0, 0.0], [0.0, 1.0]])
    mask = torch.tensor([[1, 1], [0, 0], [1, 1]])
    advantages, _ = compute_grpo_outcome_advantage(rewards, mask, index=np.array(["a", "a", "a"]))
    spread = torch.tensor([1.0, 0.0, 1.0]).std()
    expected = (1 - 2 / 3) / (spread + 1e-6)
    torch.testing.assert_close(advantages, torch.tensor([[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]]) * expected)


def test_grpo_gives_the_only_row_of_a_group_its_bare_reward() -> None:
    """Why a group of fewer than two sound rows leaves the batch."""
    rewards, mask = torch.tensor([[0.0, 1.0]]), torch.ones(1, 2)
    advantages, _ = compute_grpo_outcome_advantage(rewards, mask, index=np.array(["a"]))
    torch.testing.assert_close(advantages, torch.ones(1, 2))


def test_token_mean_loss_of_a_mini_batch_without_loss_tokens_is_nan() -> None:
    """Why rows beyond a mini-batch keep one token of `loss_mask`: 0/0, unless one token is counted."""
    slopes, nothing = torch.ones(2, 3), torch.zeros(2, 3)
    assert agg_loss(slopes, nothing, "token-mean", batch_num_tokens=torch.tensor(0.0)).isnan()
    assert agg_loss(slopes, nothing, "token-mean", batch_num_tokens=1) == 0


def test_rollout_correction_raises_on_a_batch_without_tokens() -> None:
    """Why a batch that is void throughout keeps one row."""
    zeros = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="at least one valid token"):
        compute_rollout_correction_and_rejection_mask(zeros, zeros, zeros)


def test_synthetic_padding_rows_have_empty_masks() -> None:
    """The void rule counts them as empty when it keeps mini-batches from having no loss token."""
    row = {"position_ids": torch.arange(4), "uid": "a"}
    sample, _ = construct_minimal_padding_template(row, {}, eos_token_id=1)
    assert sample["response_mask"].tolist() == sample["loss_mask"].tolist() == [0]
    assert sample["rm_scores"].tolist() == [0.0]


@pytest.mark.parametrize("mode", ["sync", "colocate_async"])
def test_verl_builds_our_sampler_through_its_configuration(mode: str) -> None:
    """The custom sampler gets the arguments that it takes, and is verl's replay buffer of the trainer mode."""
    sampler = {
        "custom_sampler": {"path": "pkg://verl_tir.sampler.verl_buffer", "name": "build_sampler"},
        "sampler_kwargs": {"tir": {"recipe": "simpletir"}, "rollout_n": 8, "ppo_mini_batch_size": 4, "refill": True}
        | {"max_response_tokens": 8, "max_model_len": None},
        "max_off_policy_threshold": 8,
        "max_off_policy_strategy": "drop",
    }
    config = OmegaConf.create({"trainer": {"v1": {"trainer_mode": mode, "sampler": sampler}}})
    trainer = SimpleNamespace(config=config, trainer_mode=mode, _add_prompts_to_generate=lambda n: n)
    built = PPOTrainer._build_replay_buffer(trainer)
    assert isinstance(built, ReplayBuffer if mode == "sync" else ReplayBufferAsync)
    assert built.poll_interval == 0.2
    assert built._mini_batch_rows == 32


def test_replay_buffer_interface() -> None:
    """The names that the sampler overrides and reads."""
    parameters = list(inspect.signature(ReplayBuffer.sample).parameters)
    assert parameters == ["self", "global_steps", "partition_id", "batch_size"]
    reasons = list(inspect.signature(ReplayBuffer._terminal_eviction_reasons).parameters)
    assert reasons == ["self", "global_steps", "partition_id"]
    evict = list(inspect.signature(ReplayBuffer._evict_terminal_groups).parameters)
    assert evict == ["self", "global_steps", "partition_id", "eviction_reasons"]
    assert "poll_interval" in inspect.signature(ReplayBuffer.__init__).parameters
    assert "self.failure_keys" in inspect.getsource(ReplayBuffer.__init__)
    assert ReplayBuffer._metrics_prefix("train") == "training"
    batch = KVBatchMeta(partition_id="train", keys=["a_0_0"], tags=[{"response_len": 1}], fields=None, extra_info={})
    assert (batch.keys, batch.tags[0]["response_len"]) == (["a_0_0"], 1)


def test_agent_loop_output_keeps_our_record() -> None:
    """`extra_fields` given to the constructor reach storage; the reward lands on the last token."""
    output = AgentLoopOutput(
        prompt_ids=[1],
        response_ids=[2, 3],
        response_mask=[1, 0],
        response_logprobs=[-0.5, 0.0],
        reward_score=1.0,
        num_turns=2,
        metrics={"generate_sequences": 1.0, "tool_calls": 2.0},
        extra_fields={"tir": {"stop_reason": "answer"}},
    )
    stored = output.as_dict()
    assert stored["extra_fields"]["tir"] == {"stop_reason": "answer"}
    assert stored["rm_scores"].tolist() == [0.0, 1.0]
    assert stored["rollout_log_probs"].tolist() == [-0.5, 0.0]


def test_agent_loop_base_interface() -> None:
    """What the loop finds on itself, and the registry it enters."""
    source = inspect.getsource(AgentLoopBase.__init__)
    for name in ("config", "rollout_config", "server_manager", "tokenizer", "continuous_token_builder"):
        assert f"self.{name} = " in source
    assert _agent_loop_registry_names() >= {"tir", "single_turn_agent"}


def _agent_loop_registry_names() -> set[str]:
    import verl_tir.rollout.agent_loop  # noqa: F401

    return set(_agent_loop_registry)


def test_engine_client_interface() -> None:
    """Token in, token out; sampling parameters pass through to vLLM."""
    parameters = inspect.signature(LLMServerClient.generate).parameters
    assert {"request_id", "prompt_ids", "sampling_params"} <= set(parameters)
    assert {"token_ids", "log_probs", "stop_reason", "extra_fields"} <= set(TokenOutput.model_fields)


def test_vllm_accepts_the_sampling_parameters() -> None:
    """Stop strings, kept in the output, and a token limit."""
    from vllm import SamplingParams

    parameters = SamplingParams(stop=["\n```\n"], include_stop_str_in_output=True, max_tokens=5, logprobs=0)
    assert parameters.stop == ["\n```\n"]
    assert parameters.detokenize, "stop strings need the text"


def test_vllm_packs_weights_where_the_cpu_hook_replaces_it() -> None:
    """The hook's target exists with the arguments that it takes, and its callers look it up when they call."""
    from vllm.model_executor.layers import linear, utils

    assert list(inspect.signature(utils.dispatch_cpu_unquantized_gemm).parameters) == ["layer", "remove_weight"]
    source = inspect.getsource(linear.UnquantizedLinearMethod.process_weights_after_loading)
    assert "from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm" in source


def test_the_cpu_hook_raises_where_vllm_has_nothing_to_replace(monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM lets what a general plugin raises through, so the engine does not start without the hook."""
    from vllm.model_executor.layers import utils

    from verl_cpu.vllm_engine import register

    monkeypatch.setenv("VERL_PLATFORM", "cpu")
    monkeypatch.delattr(utils, "dispatch_cpu_unquantized_gemm")
    with pytest.raises(RuntimeError, match="is gone from this vLLM"):
        register()
    monkeypatch.delenv("VERL_PLATFORM")
    register()


async def test_reward_manager_hands_the_rollouts_record_to_the_reward() -> None:
    """verl's default reward manager merges the loop's `extra_fields` into `extra_info`."""
    seen: dict[str, Any] = {}

    async def compute_score(data_source: str, solution_str: str, ground_truth: str, extra_info: dict) -> float:
        seen.update(extra_info)
        return 1.0

    async def run() -> dict[str, Any]:
        tokenizer = SimpleNamespace(decode=lambda ids, skip_special_tokens: "text")
        manager = NaiveRewardManager(OmegaConf.create({}), tokenizer, compute_score)
        data = DataProto.from_dict(
            tensors={
                "responses": torch.ones(1, 2, dtype=torch.long),
                "attention_mask": torch.ones(1, 4, dtype=torch.long),
            },
            non_tensors={
                "data_source": np.array(["x"], dtype=object),
                "reward_model": np.array([{"ground_truth": "1"}], dtype=object),
                "tool_extra_fields": np.array([{"tir": {"answer": "1"}}], dtype=object),
            },
        )
        return await manager.run_single(data)

    assert (await run())["reward_score"] == 1.0
    assert seen["tir"] == {"answer": "1"}


def test_hydra_turns_a_callbacks_exception_into_a_warning() -> None:
    """Why the validation of a launch ends with SystemExit and not with an exception of its own."""
    callbacks = Callbacks()
    callbacks.callbacks = [SimpleNamespace(on_run_start=lambda **_: 1 / 0)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        callbacks.on_run_start(config=OmegaConf.create({}))
    assert "ZeroDivisionError" in str(caught[0].message)

    def stop(**_: Any) -> None:
        raise SystemExit("stopped")

    callbacks.callbacks = [SimpleNamespace(on_run_start=stop)]
    with pytest.raises(SystemExit, match="stopped"):
        callbacks.on_run_start(config=OmegaConf.create({}))


def test_rows_of_different_length_are_written_as_one_batch() -> None:
    """Masks of rows of any lengths can be overwritten in one call."""
    rows = [{"response_mask": torch.zeros(2)}, {"response_mask": torch.zeros(3)}]
    assert [row.numel() for row in list_of_dict_to_tensordict(rows)["response_mask"].unbind()] == [2, 3]


def test_cpu_platform_meets_verls_interface() -> None:
    """In a process of its own, verl runs on our platform and finds its FSDP engine and the CPU build of vLLM.

    That engine asks for memory that is not pinned, loads a critic with the attention of its configuration, takes the
    platform's log-probabilities of tokens, and transformers takes the platform's attention for `sdpa`.
    """
    program = (
        "import verl\n"
        "from importlib.metadata import version\n"
        "from verl.utils.device import get_device_id, get_device_name, get_torch_device\n"
        "from verl.workers.engine import EngineRegistry\n"
        "device = get_torch_device()\n"
        "print(get_device_name(), get_device_id(), device.memory_allocated() > 0, device.mem_get_info()[1] > 0)\n"
        "print(EngineRegistry.get_engine_cls('language_model', 'fsdp2').__name__, '+cpu' in version('vllm'))\n"
        "import inspect\n"
        "from verl.utils.model import load_valuehead_model\n"
        "from verl.workers.engine.fsdp import transformer_impl\n"
        "print(transformer_impl.CPUOffloadPolicy(pin_memory=True).pin_memory, load_valuehead_model.__module__)\n"
        "engine = inspect.getsource(transformer_impl.FSDPEngine)\n"
        "print('from verl.utils.model import load_valuehead_model' in engine)\n"
        "from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS\n"
        "print(transformer_impl.logprobs_from_logits.__module__)\n"
        "print(ALL_ATTENTION_FUNCTIONS['sdpa'].__module__)\n"
    )
    environment = {**os.environ, "VERL_PLATFORM": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.splitlines()[-6:] == [
        "cpu cpu True True",
        "FSDPEngineWithLMHead True",
        "False verl_cpu.value_model",
        "True",
        "verl_cpu.token_log_probs",
        "verl_cpu.packed_attention",
    ], done.stderr[-2000:]
