"""The launch command of the demo: verl's own, with the recipe, the CPU platform and the sizes of a toy."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox_server import IsolationPolicy
from tir_tools.demo.folder import Origin, RunFolder
from verl_tir.overrides import selected

_ISOLATION_KEY = "tir.sandbox.isolation"


LEARNING_RATE = 1.5e-4
PROMPTS, SAMPLES = 16, 8
"""Problems of a step, and trajectories of each."""
TEST_EVERY, SAVE_EVERY = 5, 10
"""Steps between validations, and between checkpoints. What a run resumes from has been validated."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much text a problem and its response take, in tokens of the tiny model."""

    max_prompt_length: int
    max_response_length: int


TOY = Sizes(max_prompt_length=64, max_response_length=112)
TOOL_MESSAGES = Sizes(max_prompt_length=64, max_response_length=288)
"""For the toy's problems where a call is JSON and its result a message."""
REAL = Sizes(max_prompt_length=3072, max_response_length=256)
"""For real problems: the tiny tokenizer needs about one token per character or two."""


def isolation_of(overrides: Sequence[str]) -> IsolationPolicy:
    """What the demo asks of the sandbox: the toy's programs are harmless, so the best that can be had, unless an
    override says otherwise.

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
    run: RunFolder, *, origin: Origin, model: Path, train: Path, val: Path, endpoint: str, steps: int, sizes: Sizes
) -> list[str]:
    """verl's trainer on `PROMPTS` x `SAMPLES` a step; what is not named is the recipe's or verl's."""
    overrides = {
        "+tir": origin.recipe,
        "+platform": "cpu",
        # The tiny model knows no English; its warm start taught it the format, so no instructions are put before it.
        "tir.prompt.template": "none",
        "tir.prompt.chat_template": True,
        "tir.rollout.max_turn_tokens": sizes.max_response_length,
        "tir.sandbox.endpoints": f"[{endpoint}]",
        "tir.sandbox.run_timeout": 1.0,
        # Groups of so small a model often agree: replacing them would cost most of the demo's time.
        "tir.filter.min_reward_std": "null",
        _ISOLATION_KEY: IsolationPolicy.BEST_EFFORT,
        "tir.dump_dir": run.trajectories,
        "tir.dump_token_log_probs": True,
        "data.train_files": train,
        "data.val_files": val,
        "data.train_batch_size": PROMPTS,
        "data.seed": origin.seed,
        "data.max_prompt_length": sizes.max_prompt_length,
        "data.max_response_length": sizes.max_response_length,
        "actor_rollout_ref.model.path": model,
        "actor_rollout_ref.actor.ppo_mini_batch_size": PROMPTS,
        "actor_rollout_ref.actor.optim.lr": LEARNING_RATE,
        "actor_rollout_ref.rollout.n": SAMPLES,
        "actor_rollout_ref.rollout.seed": origin.seed,
        "actor_rollout_ref.rollout.val_kwargs.temperature": 0.0,
        "actor_rollout_ref.rollout.val_kwargs.do_sample": False,
        "trainer.logger": "[console,file]",
        "trainer.project_name": "verl_tir_demo",
        "trainer.experiment_name": run.path.name,
        "trainer.total_training_steps": steps,
        "trainer.total_epochs": 1000,
        "trainer.test_freq": TEST_EVERY,
        "trainer.save_freq": SAVE_EVERY,
        "trainer.max_actor_ckpt_to_keep": 1,
        "trainer.default_local_dir": run.checkpoints,
        "hydra.run.dir": run.path / "hydra",
    }
    if origin.recipe == "torl":
        # The paper's one call does not do for problems that take two.
        overrides["tir.rollout.max_tool_calls"] = 3
    words = [f"{key}={value}" for key, value in overrides.items()]
    return [sys.executable, "-m", "verl.trainer.main_ppo", *words, *origin.overrides]
