"""What `verl-tir eval` relies on in verl, pinned: an upgrade that breaks one of these fails here."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import pytest
from verl.model_merger.base_model_merger import parse_args
from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopWorkerTQ
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer, ReplayBufferAsync
from verl.trainer.ppo.v1.trainer_base import PPOTrainer
from verl.utils.dataset.rl_dataset import RLHFDataset

from tir_tools.evaluation.command import merge_command


def test_a_rows_own_number_of_samples_decides() -> None:
    """In validation `__rollout_n__` goes before `val_kwargs.n`, so that a run can take just what is missing."""
    worker = AgentLoopWorkerTQ.__ray_metadata__.modified_class
    assert 'prompt.pop("__rollout_n__"' in inspect.getsource(worker._run_prompt)
    assert 'batch_dict.get(\n                "__rollout_n__"' in inspect.getsource(PPOTrainer._validate)


def test_validation_can_be_all_that_is_done() -> None:
    """`trainer.val_only` returns behind the first validation, which goes through the sampler batch by batch."""
    source = inspect.getsource(PPOTrainer.fit)
    before, _, behind = source.partition('"val_only"')
    assert "self._validate()" in before
    assert behind.index("return") < behind.index("on_train_begin")
    assert 'partition_id="val", batch_size=len(batch)' in inspect.getsource(PPOTrainer._validate)


def test_validation_is_looked_at_while_it_runs() -> None:
    """Both replay buffers ask for what must go at each poll, of whatever partition: there the dump is written."""
    for waiting in (ReplayBuffer.sample, ReplayBufferAsync.wait_for_sampleable):
        source = inspect.getsource(waiting)
        assert source.index("while True") < source.index("self._terminal_eviction_reasons(global_steps, partition_id)")


def test_the_index_of_a_row_reaches_the_rollout() -> None:
    """By it a trajectory is known again in the dump."""
    assert 'row_dict["index"] = index' in inspect.getsource(RLHFDataset.__getitem__)


def test_the_merger_takes_our_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its arguments, as verl itself reads them."""
    command = merge_command(Path("/a/actor"), Path("/b"), trust_remote_code=True)
    assert command[1:3] == ["-m", "verl.model_merger"]
    monkeypatch.setattr(sys, "argv", command[2:])
    read = parse_args()
    assert (read.operation, read.backend, read.local_dir, read.target_dir) == ("merge", "fsdp", "/a/actor", "/b")
    assert read.trust_remote_code
