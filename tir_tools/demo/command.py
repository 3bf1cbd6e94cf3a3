"""The launch command of the demo: verl's own, with the recipe, the CPU platform and the sizes of a small model."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from sandbox_server import IsolationPolicy
from tir_tools.demo.folder import Origin, RunFolder
from tir_tools.demo.training_plan import TrainingPlan
from verl_tir.overrides import selected

_ISOLATION_KEY = "tir.sandbox.isolation"


def isolation_of(overrides: Sequence[str]) -> IsolationPolicy:
    """What the demo asks of the sandbox: the best that can be had, so that it also runs in a container without
    privileges, unless an override says otherwise.

    Raises:
        ValueError: the override's value is none.
    """
    pairs = (word.lstrip("+").partition("=") for word in overrides)
    chosen = [value for key, _, value in pairs if key == _ISOLATION_KEY]
    return IsolationPolicy(chosen[-1]) if chosen else IsolationPolicy.BEST_EFFORT


def recipe_of(overrides: Sequence[str], default: str) -> str:
    """The recipe that an override selects, `+tir=torl` for one; `default` where none does."""
    return selected("tir", ["", *overrides]) or default


def launch_command(
    run: RunFolder,
    *,
    origin: Origin,
    model: Path,
    train: Path,
    val: Path,
    endpoint: str,
    steps: int,
    plan: TrainingPlan,
) -> list[str]:
    """verl's trainer on `plan`'s problems and samples a step; what is not named is the recipe's or verl's."""
    overrides = {
        "+tir": origin.recipe,
        "+platform": "cpu",
        "tir.prompt.template": plan.template,
        "tir.prompt.chat_template": None if plan.template is None else True,
        "tir.rollout.max_turn_tokens": plan.max_turn_tokens,
        "tir.sandbox.endpoints": f"[{endpoint}]",
        "tir.sandbox.run_timeout": plan.run_timeout,
        "tir.filter.min_reward_std": "null" if plan.max_refills is None else None,
        "tir.filter.max_refills": plan.max_refills,
        "algorithm.rollout_correction.bypass_mode": plan.bypass_log_probs or None,
        _ISOLATION_KEY: IsolationPolicy.BEST_EFFORT,
        "tir.dump_dir": run.trajectories,
        "tir.dump_token_log_probs": True,
        "data.train_files": train,
        "data.val_files": val,
        "data.train_batch_size": plan.prompts,
        "data.seed": origin.seed,
        "data.max_prompt_length": plan.max_prompt_length,
        "data.max_response_length": plan.max_response_length,
        "actor_rollout_ref.model.path": model,
        "actor_rollout_ref.actor.ppo_mini_batch_size": plan.prompts,
        "actor_rollout_ref.actor.optim.lr": plan.learning_rate,
        "actor_rollout_ref.rollout.n": plan.samples,
        "actor_rollout_ref.rollout.temperature": plan.temperature,
        "actor_rollout_ref.rollout.dtype": plan.rollout_dtype,
        "actor_rollout_ref.rollout.seed": origin.seed,
        "actor_rollout_ref.rollout.val_kwargs.temperature": 0.0,
        "actor_rollout_ref.rollout.val_kwargs.do_sample": False,
        "trainer.logger": "[console,file]",
        "trainer.project_name": "verl_tir_demo",
        "trainer.experiment_name": run.path.name,
        "trainer.total_training_steps": steps,
        "trainer.total_epochs": 1000,
        "trainer.test_freq": plan.test_every,
        "trainer.save_freq": plan.save_every,
        "trainer.max_actor_ckpt_to_keep": 1,
        "trainer.default_local_dir": run.checkpoints,
        "hydra.run.dir": run.path / "hydra",
        "tir.rollout.max_tool_calls": plan.max_tool_calls,
    }
    words = [f"{key}={value}" for key, value in overrides.items() if value is not None]
    return [sys.executable, "-m", "verl.trainer.main_ppo", *words, *origin.overrides]
