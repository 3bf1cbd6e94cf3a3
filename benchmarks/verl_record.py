"""What verl's engine does in one training step, recorded from the outside."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial, wraps
from typing import Any

import torch


@dataclass
class StepRecord:
    """What one step did."""

    metrics: dict[str, Any]
    rows: dict[str, dict[str, torch.Tensor]]
    """By key, the fields that the step wrote for the row."""
    gradients: list[list[torch.Tensor]] = field(default_factory=list)
    """For each optimiser step, of each parameter, before clipping."""
    slopes: dict[tuple[int, ...], list[torch.Tensor]] = field(default_factory=dict)
    """By a row's tokens: for each of its optimiser steps, the loss's slope at each token's log-probability."""
    tokens: dict[str, int] = field(default_factory=dict)
    """Tokens that passed through the model, by stage; padding of micro-batches included."""
    seconds: dict[str, float] = field(default_factory=dict)
    """CPU time of the thread that computes, by stage."""


@contextmanager
def watch(engine: Any, record: StepRecord, slopes: bool) -> Iterator[None]:
    """Record what the engine does inside the block."""
    forward_step, optimizer_step, forward_backward = (
        engine.forward_step,
        engine.optimizer_step,
        engine.forward_backward_batch,
    )

    def batch(data: Any, loss_function: Callable[..., Any], forward_only: bool = False) -> Any:
        # TransferQueue's client sets more threads, which wait for each other by spinning.
        torch.set_num_threads(1)
        started = time.thread_time()
        output = forward_backward(data, loss_function, forward_only=forward_only)
        stage = "old_log_prob" if forward_only else "update"
        record.seconds[stage] = record.seconds.get(stage, 0.0) + time.thread_time() - started
        return output

    def step(micro_batch: Any, loss_function: Any, forward_only: bool) -> Any:
        lengths = micro_batch["input_ids"].offsets().diff()
        packed = micro_batch["use_remove_padding"]
        stage = "old_log_prob" if forward_only else "update"
        passed = int(lengths.sum() if packed else lengths.max() * len(lengths))
        record.tokens[stage] = record.tokens.get(stage, 0) + passed
        function = partial(_sloping, loss_function, record) if slopes and not forward_only else loss_function
        return forward_step(micro_batch, loss_function=function, forward_only=forward_only)

    @wraps(optimizer_step)
    def optimise() -> Any:
        record.gradients.append([parameter.grad.full_tensor().clone() for parameter in engine.module.parameters()])
        return optimizer_step()

    engine.forward_step, engine.optimizer_step, engine.forward_backward_batch = step, optimise, batch
    try:
        yield
    finally:
        del engine.forward_step, engine.optimizer_step, engine.forward_backward_batch


def _sloping(loss_function: Any, record: StepRecord, *, model_output: Any, data: Any, **kwargs: Any) -> Any:
    """The loss, and once more on a leaf for its slope at every token's log-probability."""
    nested = model_output["log_probs"]
    leaf = nested.values().detach().clone().requires_grad_()
    again = torch.nested.nested_tensor_from_jagged(leaf, offsets=nested.offsets())
    probe, _ = loss_function(model_output={**model_output, "log_probs": again}, data=data, **kwargs)
    (found,) = torch.autograd.grad(probe, leaf)
    for ids, slope in zip(data["input_ids"].unbind(), found.split(nested.offsets().diff().tolist()), strict=True):
        record.slopes.setdefault(tuple(ids.tolist()), []).append(slope)
    return loss_function(model_output=model_output, data=data, **kwargs)
