"""Keeps the log-probabilities of a training step's tokens, the engine's and the trainer's, where they are computed.

verl imports it in every process of a run (VERL_USE_EXTERNAL_MODULES); `log_prob_mismatch.py` reads what it keeps.
"""

from __future__ import annotations

import json
import os
from functools import wraps
from pathlib import Path
from typing import Any

# isort: off
# verl imports external modules before its plugins, and its FSDP engine asks for the platform when it is imported.
import verl_cpu.plugin  # noqa: F401
import verl_tir.plugin  # noqa: F401
from verl.experimental.agent_loop.agent_loop import AgentLoopOutput
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead
# isort: on

_FOLDER = Path(os.environ["TIR_LOG_PROB_FOLDER"])


def _keep(kind: str, row: dict[str, Any]) -> None:
    with (_FOLDER / f"{kind}-{os.getpid()}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


_as_dict, _forward_step = AgentLoopOutput.as_dict, FSDPEngineWithLMHead.forward_step


@wraps(_as_dict)
def _keeping_as_dict(self: Any) -> dict[str, Any]:
    turns = [
        {name: turn[name] for name in ("model_tokens", "observation_tokens", "has_code", "has_answer")}
        for turn in self.extra_fields["tir"]["turns"]
    ]
    row = {"prompt": self.prompt_ids, "response": self.response_ids, "log_probs": self.response_logprobs}
    _keep("engine", {name: list(values) for name, values in row.items()} | {"turns": turns})
    return _as_dict(self)


@wraps(_forward_step)
def _keeping_forward_step(self: Any, micro_batch: Any, loss_function: Any, forward_only: bool) -> Any:
    loss, output = _forward_step(self, micro_batch, loss_function=loss_function, forward_only=forward_only)
    if forward_only:
        found = output["model_output"]["log_probs"]
        for ids, values in zip(micro_batch["input_ids"].unbind(), found.unbind(), strict=True):
            # Entry t belongs to token t + 1.
            _keep("trainer", {"ids": ids.tolist(), "log_probs": values.float().tolist()})
    return loss, output


AgentLoopOutput.as_dict = _keeping_as_dict
FSDPEngineWithLMHead.forward_step = _keeping_forward_step
