"""One training step of stock verl in this process: stored rows in, sampler, log-probabilities, advantages, update.

The step is `PPOTrainer._step_once` itself, on a real TransferQueue and verl's own worker with its FSDP2 engine; only
Ray's worker groups and the rollout engine are left out. What the rollout would have stored is given as
`StoredTrajectory` and written by verl's agent loop worker.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

# The platform has to be known before verl's engine is imported.
os.environ |= {"VERL_PLATFORM": "cpu", "VERL_TIR": "simpletir"}

import ray
import torch
import transfer_queue as tq
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf
from transfer_queue import KVBatchMeta
from transformers import Qwen2Config, Qwen2ForCausalLM
from verl.experimental.agent_loop import AgentLoopOutput
from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopWorkerTQ
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync
from verl.utils.config import omega_conf_to_dataclass
from verl.utils.model import compute_position_id_with_mask
from verl.workers.engine_workers import ActorRolloutRefWorker
from verl.workers.utils.losses import ppo_loss
from verl_record import StepRecord, watch

from tir_tools.demo.tokenizer import train_tokenizer
from verl_tir.trajectory import StopReason, Trajectory, Turn, TurnEnd

EOS = 2
VOCABULARY = 340
"""So few that a random model's log-probabilities are about those that the stored trajectories claim."""


@dataclass(frozen=True)
class StoredTrajectory:
    """A finished trajectory as the rollout stores it."""

    group: str
    session: int
    prompt: list[int]
    response: list[int]
    mask: list[int]
    log_probs: list[float]
    """Of the rollout engine."""
    reward: float
    void: bool

    @property
    def key(self) -> str:
        return f"{self.group}_{self.session}_0"

    def output(self) -> AgentLoopOutput:
        """What the agent loop returns for it."""
        turn = Turn(
            end=TurnEnd.EOS,
            model_tokens=sum(self.mask),
            observation_tokens=len(self.mask) - sum(self.mask),
            discarded_tokens=0,
            has_code=False,
            has_answer=not self.void,
            outcome=None,
            observation_truncated=False,
            generate_seconds=0.0,
            tool_seconds=0.0,
        )
        trajectory = Trajectory((turn,), StopReason.VOID if self.void else StopReason.ANSWER)
        return AgentLoopOutput(
            prompt_ids=self.prompt,
            response_ids=self.response,
            response_mask=self.mask,
            response_logprobs=self.log_probs,
            reward_score=self.reward,
            num_turns=2,
            metrics={"generate_sequences": 0.0, "tool_calls": 0.0},
            extra_fields={
                "tir": trajectory.to_record(),
                "reward_extra_info": {},
                "min_global_steps": 1,
                "max_global_steps": 1,
                "turn_scores": [],
                "tool_rewards": [],
            },
        )


def write_model(folder: Path, *, hidden: int, layers: int, seed: int) -> None:
    """A random Qwen2 that knows the first tokens of the demo's tokenizer."""
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=32768,
        tie_word_embeddings=True,
        # Larger than usual, so that log-probabilities differ between tokens as in a trained model.
        initializer_range=0.1,
        eos_token_id=EOS,
        dtype="float32",
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    train_tokenizer(0).save_pretrained(folder)


def launch_config(overrides: Mapping[str, Any]) -> DictConfig:
    """verl's composed configuration with the recipe and the CPU platform."""
    settings: dict[str, Any] = {
        "+tir": "simpletir",
        "+platform": "cpu",
        "trainer.logger": "[]",
        # What is compared is equal to rounding.
        "actor_rollout_ref.rollout.dtype": "float32",
    }
    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose("ppo_trainer", [f"{key}={value}" for key, value in (settings | dict(overrides)).items()])


@contextmanager
def transfer_queue() -> Iterator[None]:
    """A TransferQueue of its own on a small local Ray."""
    ray.init(address="local", num_cpus=8, include_dashboard=False, log_to_driver=False)
    tq.init(
        OmegaConf.create({"backend": {"SimpleStorage": {"num_data_storage_units": 1, "total_storage_size": 100_000}}})
    )
    try:
        yield
    finally:
        tq.close()
        ray.shutdown()


class _Worker:
    """verl's worker in place of a worker group of one."""

    def __init__(self, config: DictConfig, role: str) -> None:
        self.worker = ActorRolloutRefWorker(config=config.actor_rollout_ref, role=role)
        self.worker.init_model()
        self._dispatch_info = {"actor": [0]}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.worker, name)


class _OtherPolicy:
    """The actor with other weights, as a reference whose loss has a gradient.

    verl gives its own reference model pinned memory, which there is none of without an accelerator.
    """

    def __init__(self, actor: _Worker) -> None:
        self._actor = actor

    def compute_ref_log_prob(self, batch: KVBatchMeta) -> KVBatchMeta:
        """Write the other policy's `log_probs` for the batch."""
        parameters = list(self._actor.worker.actor.engine.module.parameters())
        own = [parameter.detach().clone() for parameter in parameters]
        with torch.no_grad():
            for parameter in parameters:
                parameter.mul_(0.9)
            output = self._actor.compute_log_prob(batch)
            for parameter, values in zip(parameters, own, strict=True):
                parameter.copy_(values)
        return output


class LocalTrainer(PPOTrainerSync):
    """verl's synchronous trainer whose workers are in this process and whose rollout is what `store` is given."""

    def __init__(self, config: DictConfig) -> None:
        _single_rank()
        super().__init__(config)
        self.global_steps = 1
        self.tokenizer = SimpleNamespace(eos_token_id=EOS)
        self.reward_loop_manager = SimpleNamespace(reward_loop_worker_handles=[])
        self.resource_pool_manager = SimpleNamespace(get_n_gpus=lambda: 1)
        self.ref_in_actor = False
        self.distillation_config = None
        self.actor_rollout_wg = _Worker(config, "actor")
        self.ref_policy_wg = _OtherPolicy(self.actor_rollout_wg) if self.use_reference_policy else None
        self.engine = self.actor_rollout_wg.worker.actor.engine
        self._start = [parameter.detach().clone() for parameter in self.engine.module.parameters()]

    def on_sample_end(self) -> None:
        """There is no engine to put to sleep."""

    def on_step_end(self) -> None:
        """There is no engine to update."""

    def reconfigure(self, overrides: Sequence[str]) -> None:
        """Other settings of the losses, the micro-batches and the sampler for the same worker."""
        self.config = OmegaConf.merge(self.config, OmegaConf.from_dotlist(list(overrides)))
        actor = self.config.actor_rollout_ref.actor
        engine = self.engine.engine_config
        engine.use_dynamic_bsz = actor.use_dynamic_bsz
        engine.max_token_len_per_gpu = engine.infer_max_token_len_per_gpu = actor.ppo_max_token_len_per_gpu
        engine.micro_batch_size_per_gpu = engine.infer_micro_batch_size_per_gpu = actor.ppo_micro_batch_size_per_gpu
        self.actor_rollout_wg.worker.actor.set_loss_fn(partial(ppo_loss, config=omega_conf_to_dataclass(actor)))
        self.replay_buffer = self._build_replay_buffer()

    def train(self, rows: Sequence[StoredTrajectory], *, slopes: bool = False) -> StepRecord:
        """One step from the first weights on these rows, which are whole groups."""
        self._rewind()
        store(rows)
        record = StepRecord({}, {})
        groups = len({row.group for row in rows})
        timing: dict[str, float] = {}
        with watch(self.engine, record, slopes):
            batch = self._step_once(record.metrics, timing, groups)
        self._compute_metrics(batch, record.metrics, timing | {"step": sum(timing.values())}, 1, 0)
        written = ["old_log_probs", "advantages", "response_mask", "loss_mask", "rm_scores", "responses"]
        written += ["rollout_is_weights"] if self.config.algorithm.rollout_correction.rollout_is else []
        data = tq.kv_batch_get(keys=batch.keys, partition_id="train", select_fields=written)
        for index, key in enumerate(batch.keys):
            record.rows[key] = {name: data[name][index] for name in written}
        for partition, keys in tq.kv_list().items():
            tq.kv_clear(partition_id=partition, keys=list(keys))
        return record

    def _rewind(self) -> None:
        for parameter, start in zip(self.engine.module.parameters(), self._start, strict=True):
            parameter.data.copy_(start)
        self.engine.optimizer.state.clear()


def store(rows: Sequence[StoredTrajectory]) -> None:
    """Put the rows and their prompts where verl's agent loop worker puts them."""
    put = AgentLoopWorkerTQ.__ray_metadata__.modified_class._agent_loop_postprocess

    async def nothing(*_: Any, **__: Any) -> None:
        return None

    worker = SimpleNamespace(
        _compute_score=nothing,
        _compute_teacher_logprobs=nothing,
        _compute_multi_modal_inputs=lambda *_: {},
        _compute_position_ids=lambda ids, mask, _: compute_position_id_with_mask(mask),
    )
    for group in dict.fromkeys(row.group for row in rows):
        tq.kv_put(
            key=group,
            partition_id="train",
            fields=None,
            tag={"is_prompt": True, "status": "finished", "global_steps": 1},
        )

    async def put_all() -> None:
        for row in rows:
            await put(worker, row.output(), False, uid=row.group, session_id=row.session, global_steps=1)

    asyncio.run(put_all())


def _single_rank() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    alone = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    for name, value in (alone | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}).items():
        os.environ.setdefault(name, value)
