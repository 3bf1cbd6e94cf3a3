"""The worked examples of "add a gate" and "add a method" run as they are printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from finished_rows import finished_row
from hydra.utils import instantiate
from verl.trainer.ppo.core_algos import get_policy_loss_fn
from verl.workers.config import FSDPActorConfig

from verl_tir.sampler.loss_plan import LossRule

DOCS = Path(__file__).parents[2] / "docs"


def _block(document: str, language: str) -> str:
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", (DOCS / document).read_text(), re.MULTILINE | re.DOTALL)
    return block


def test_the_gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It admits a group by the mean of the rewards that the baseline has."""
    (tmp_path / "my_gate.py").write_text(_block("add-a-gate.md", "python"))
    monkeypatch.syspath_prepend(tmp_path)
    import my_gate

    gate = my_gate.FloorGate(0.2, LossRule())
    assert (gate.name, gate.setting) == ("floor", "tir.filter.reward_floor=0.2")
    good, bad = finished_row("a_0_0", reward=1.0), finished_row("a_1_0", reward=0.0)
    assert gate.admit([good, bad])
    assert not gate.admit([bad, bad])
    assert not gate.admit([finished_row("a_2_0", reward=1.0, aborted=True)])


def test_the_policy_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its class is what the yaml names, registers the loss, and `tir` computes it over the masked rows."""
    (tmp_path / "my_loss.py").write_text(_block("add-a-method.md", "python"))
    monkeypatch.syspath_prepend(tmp_path)
    node: dict[str, Any] = yaml.safe_load(_block("add-a-method.md", "yaml"))
    loss = instantiate(node["actor_rollout_ref"]["actor"]["policy_loss"])
    assert loss.loss_mode == "tir"
    config = FSDPActorConfig(policy_loss=loss, strategy="fsdp2", rollout_n=2, use_dynamic_bsz=True)
    config.global_batch_info.update({"dp_size": 1, "batch_num_tokens": 3, "global_batch_size": 2})
    value, metrics = get_policy_loss_fn("tir")(
        old_log_prob=torch.tensor([[-1.0, -2.0], [-1.0, -1.0]]),
        log_prob=torch.tensor([[-1.0, -2.0], [-1.0, -1.0]]),
        advantages=torch.tensor([[1.0, 1.0], [-1.0, -1.0]]),
        response_mask=torch.tensor([[True, True], [True, False]]),
        loss_agg_mode="token-mean",
        config=config,
    )
    assert value.item() == pytest.approx((1.0 + 2.0 - 1.0) / 3)
    assert metrics == {"actor/importance_ratio_max": 1.0}


def test_an_advantage_is_found_by_name(tmp_path: Path) -> None:
    """verl imports the modules of `VERL_USE_EXTERNAL_MODULES`, and what they register is there."""
    (tmp_path / "my_advantage.py").write_text(
        "from verl.trainer.ppo.core_algos import register_adv_est\n"
        "@register_adv_est('mine')\ndef mine(token_level_rewards, response_mask, **kwargs):\n"
        "    return token_level_rewards, token_level_rewards\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", "from verl.trainer.ppo.core_algos import get_adv_estimator_fn as f; f('mine')"],
        env=os.environ | {"PYTHONPATH": str(tmp_path), "VERL_USE_EXTERNAL_MODULES": "my_advantage"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
