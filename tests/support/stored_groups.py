"""Prompt groups in a real TransferQueue, as verl's agent loop stores them, and the sampler as verl builds it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
import torch
import transfer_queue as tq
from omegaconf import OmegaConf
from verl.utils.tensordict_utils import list_of_dict_to_tensordict

from verl_tir.sampler.verl_buffer import build_sampler
from verl_tir.trajectory import StopReason, Trajectory, Turn, TurnEnd

MAX_RESPONSE_TOKENS = 12


@contextmanager
def transfer_queue() -> Iterator[None]:
    """A TransferQueue of its own on a small local Ray."""
    ray.init(address="local", num_cpus=8, include_dashboard=False, log_to_driver=False)
    tq.init(OmegaConf.create({"backend": {"SimpleStorage": {"num_data_storage_units": 1, "total_storage_size": 2000}}}))
    yield
    tq.close()
    ray.shutdown()


def clear() -> None:
    """Empty it."""
    for partition, keys in (tq.kv_list() or {}).items():
        if keys:
            tq.kv_clear(partition_id=partition, keys=list(keys))


@dataclass(frozen=True)
class Response:
    """One trajectory: two turns, of code with an output and of text, unless it is cut or faulty, or a tool answers."""

    reward: float
    correct: float | None = None
    void: bool = False
    overlong: bool = False
    aborted: bool = False
    undecided: bool = False
    tool_answers: bool = False
    """The second turn is code too, whose output ends the trajectory."""
    log_probs: tuple[float, ...] = ()

    def trajectory(self) -> Trajectory:
        first = Turn(TurnEnd.CODE, 2, 2, 0, True, False, None, False, 0.1, 0.0)
        model_tokens = MAX_RESPONSE_TOKENS - 4 if self.overlong else 3
        end = TurnEnd.LENGTH if self.overlong else TurnEnd.EOS
        seen = 2 if self.tool_answers else 0
        last = Turn(end, model_tokens, seen, 0, self.tool_answers, not self.void, None, False, 0.1, 0.0)
        reason = StopReason.VOID if self.void else StopReason.ANSWER
        return Trajectory((first, last), StopReason.SANDBOX_FAULT if self.aborted else reason, "9^{9^{9^9}}")

    def mask(self) -> list[int]:
        last = self.trajectory().turns[-1]
        return [1, 1, 0, 0] + [1] * last.model_tokens + [0] * last.observation_tokens


GOOD, BAD, VOID = Response(1.0, 1.0), Response(0.0, 0.0), Response(0.0, 0.0, void=True)
ABORTED = Response(0.0, aborted=True)
UNDECIDED = Response(0.0, 0.0, undecided=True)
LATE, LATE_GOOD = Response(0.0, 0.0, overlong=True), Response(1.0, 1.0, overlong=True)


def put_prompt(uid: str, status: str, step: int = 1, partition: str = "train") -> None:
    """Store a prompt without trajectories."""
    tag = {"is_prompt": True, "status": status, "global_steps": step}
    tq.kv_put(key=uid, partition_id=partition, fields=None, tag=tag)


def put_group(
    uid: str, responses: list[Response], status: str = "finished", step: int = 1, partition: str = "train"
) -> None:
    """Store trajectories, and then, as verl's agent loop does, that their prompt is done."""
    for session, response in enumerate(responses):
        mask = torch.tensor(response.mask())
        scores = torch.zeros(len(mask))
        scores[-1] = response.reward
        log_probs = [*map(math.log, response.log_probs), *[0.0] * (len(mask) - len(response.log_probs))]
        extra = {} if response.correct is None else {"correct": response.correct, "undecided": response.undecided}
        fields = {
            "uid": uid,
            "response_mask": mask,
            "loss_mask": mask.clone(),
            "rm_scores": scores,
            "rollout_log_probs": torch.tensor(log_probs),
            "extra_fields": {"tir": response.trajectory().to_record(), "reward_extra_info": extra},
        }
        tags = {"status": "success", "response_len": len(mask), "seq_len": len(mask) + 2, "global_steps": step}
        tq.kv_batch_put(
            keys=[f"{uid}_{session}_0"],
            partition_id=partition,
            fields=list_of_dict_to_tensordict([fields]),
            tags=[tags],
        )
    put_prompt(uid, status, step, partition)


class Refill:
    """verl's refill function: rolls out as many further prompts as are asked for, with the responses given."""

    def __init__(self, *groups: list[Response], step: int = 1) -> None:
        self.groups = list(groups)
        self.step = step
        self.asked: list[int] = []

    def __call__(self, prompts: int) -> int:
        for number in range(prompts):
            put_group(f"refill{len(self.asked)}x{number}", self.groups.pop(0), step=self.step)
        self.asked.append(prompts)
        return prompts


def build(
    refill_fn: Any = None,
    mode: str = "sync",
    rollout_n: int = 2,
    prompts: int = 1,
    threshold: int = 8,
    **filters: Any,
) -> Any:
    """verl's way of building the sampler; `prompts` are those of a mini-batch, `threshold` its off-policy steps."""
    settings = {
        "tir": {"recipe": "simpletir", "filter": {"poll_seconds": 0.02, **filters}},
        "rollout_n": rollout_n,
        "ppo_mini_batch_size": prompts,
        "refill": refill_fn is not None,
        "max_response_tokens": MAX_RESPONSE_TOKENS,
        "max_model_len": None,
    }
    return build_sampler(
        trainer_mode=mode,
        trainer_config=OmegaConf.create({}),
        max_off_policy_threshold=threshold,
        max_off_policy_strategy="drop",
        sampler_kwargs=OmegaConf.create(settings),
        refill_fn=refill_fn,
    )


@dataclass(frozen=True)
class Stored:
    """A row as the trainer would read it."""

    response_mask: list[int]
    loss_mask: list[int]
    reward: float
    uid: str


def stored(keys: list[str]) -> dict[str, Stored]:
    """The rows of `keys` as they are in storage."""
    names = ["response_mask", "loss_mask", "rm_scores", "uid"]
    data = tq.kv_batch_get(keys=list(keys), partition_id="train", select_fields=names)
    columns = [list(data[name].unbind()) for name in names[:3]]
    # As verl's `_compute_advantage` reads it.
    uids = data.to_padded_tensor().pop("uid").tolist()
    return {
        key: Stored(columns[0][i].tolist(), columns[1][i].tolist(), float(columns[2][i].sum()), uids[i])
        for i, key in enumerate(keys)
    }
