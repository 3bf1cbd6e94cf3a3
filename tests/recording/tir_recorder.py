"""Writes down what the engine sampled and what the trainer trained, in the processes where it happens.

Imported by verl in every process of the run (VERL_USE_EXTERNAL_MODULES); each event is a file of its own.
"""

from __future__ import annotations

import itertools
import json
import os
from functools import wraps
from pathlib import Path
from typing import Any

import torch

# isort: off
# verl imports external modules before its plugins, and its FSDP engine asks for the platform when it is imported.
import verl_cpu.plugin  # noqa: F401
import verl_tir.plugin  # noqa: F401
from verl.experimental.agent_loop.agent_loop import AgentLoopOutput, AgentLoopWorker
from verl.workers.engine.fsdp.transformer_impl import FSDPEngine, FSDPEngineWithLMHead, FSDPEngineWithValueHead
from verl.workers.rollout.llm_server import LLMServerClient
# isort: on

_FOLDER = Path(os.environ["TIR_RECORD_FOLDER"])
_count = itertools.count()


def _write(kind: str, event: dict[str, Any]) -> None:
    path = _FOLDER / f"{kind}-{os.getpid()}-{next(_count):06}.json"
    # A process may be killed while it writes.
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(event))
    unfinished.rename(path)


_generate = LLMServerClient.generate


@wraps(_generate)
async def _recording_generate(self: Any, request_id: str, **kwargs: Any) -> Any:
    prompt_ids = list(kwargs["prompt_ids"])
    output = await _generate(self, request_id, **kwargs)
    _write(
        "sampled",
        {
            "context": prompt_ids,
            "ids": list(output.token_ids),
            # An aborted request that had not begun has none.
            "log_probs": list(output.log_probs or []),
            "aborted": output.stop_reason == "aborted",
            "version": output.extra_fields["global_steps"],
        },
    )
    return output


_run_agent_loop = AgentLoopWorker._run_agent_loop


@wraps(_run_agent_loop)
async def _recording_run_agent_loop(self: Any, *args: Any, **kwargs: Any) -> Any:
    _write("begun", {"uid": kwargs["uid"], "index": int(kwargs["index"]), "step": int(kwargs["global_steps"])})
    return await _run_agent_loop(self, *args, **kwargs)


_as_dict = AgentLoopOutput.as_dict


@wraps(_as_dict)
def _recording_as_dict(self: Any) -> dict[str, Any]:
    _write(
        "rolled_out",
        {
            "prompt": list(self.prompt_ids),
            "response": list(self.response_ids),
            "mask": list(self.response_mask),
            "log_probs": list(self.response_logprobs),
            "reward": self.reward_score,
            "step": self.extra_fields["min_global_steps"],
            "last_step": self.extra_fields["max_global_steps"],
            "tir": self.extra_fields["tir"],
        },
    )
    return _as_dict(self)


_prepare_model_inputs = FSDPEngineWithLMHead.prepare_model_inputs


@wraps(_prepare_model_inputs)
def _counting_prepare_model_inputs(self: Any, micro_batch: Any) -> Any:
    model_inputs, output_args = _prepare_model_inputs(self, micro_batch)
    self.tokens_for_recorder = model_inputs["input_ids"].numel()
    return model_inputs, output_args


_forward_step = FSDPEngineWithLMHead.forward_step


@wraps(_forward_step)
def _recording_forward_step(self: Any, micro_batch: Any, loss_function: Any, forward_only: bool) -> Any:
    if forward_only:
        return _forward_step(self, micro_batch, loss_function=loss_function, forward_only=forward_only)
    if isinstance(self, FSDPEngineWithValueHead):
        names = ("input_ids", "response_mask", "values", "returns")
        _write("valued", {name: [row.tolist() for row in micro_batch[name].unbind()] for name in names})
        return _forward_step(self, micro_batch, loss_function=loss_function, forward_only=forward_only)

    def recording_loss(*, model_output: Any, data: Any, **kwargs: Any) -> Any:
        # The same loss once more on a leaf, for its slope at every token's log-probability.
        nested = model_output["log_probs"]
        leaf = nested.values().detach().clone().requires_grad_()
        again = torch.nested.nested_tensor_from_jagged(leaf, offsets=nested.offsets())
        probe, _ = loss_function(model_output={**model_output, "log_probs": again}, data=data, **kwargs)
        (slopes,) = torch.autograd.grad(probe, leaf)
        lengths = nested.offsets().diff().tolist()
        loss, metrics = loss_function(model_output=model_output, data=data, **kwargs)
        # Tokens that go through the model: what rows share goes once.
        _write("computed", {"tokens": self.tokens_for_recorder, "of": data["input_ids"].offsets()[-1].item()})
        _write(
            "trained",
            {
                "input_ids": [row.tolist() for row in data["input_ids"].unbind()],
                "response_mask": [row.tolist() for row in data["response_mask"].unbind()],
                "loss_mask": [row.tolist() for row in data["loss_mask"].unbind()],
                "advantages": [row.tolist() for row in data["advantages"].unbind()],
                "loss": loss.item(),
                # Per sequence position: entry t belongs to token t + 1.
                "slopes": [row.tolist() for row in slopes.split(lengths)],
            },
        )
        return loss, metrics

    return _forward_step(self, micro_batch, loss_function=recording_loss, forward_only=forward_only)


_optimizer_step = FSDPEngine.optimizer_step


@wraps(_optimizer_step)
def _recording_optimizer_step(self: Any) -> Any:
    before = [parameter.detach().to_local().clone() for parameter in self.module.parameters()]
    grad_norm = _optimizer_step(self)
    after = [parameter.detach().to_local() for parameter in self.module.parameters()]
    # A rank may have no part of a small parameter.
    pairs = [(new, old) for new, old in zip(after, before, strict=True) if new.numel()]
    change = max((new - old).abs().max().item() for new, old in pairs)
    kind = "critic" if isinstance(self, FSDPEngineWithValueHead) else "updated"
    _write(kind, {"largest_change": change, "grad_norm": float(grad_norm)})
    return grad_norm


AgentLoopWorker._run_agent_loop = _recording_run_agent_loop
AgentLoopOutput.as_dict = _recording_as_dict
LLMServerClient.generate = _recording_generate
FSDPEngineWithLMHead.prepare_model_inputs = _counting_prepare_model_inputs
FSDPEngineWithLMHead.forward_step = _recording_forward_step
FSDPEngine.optimizer_step = _recording_optimizer_step
