"""The launch command of an evaluation: verl's trainer, asked for nothing but its validation."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tir_tools.evaluation.protocol import Preset
from verl_tir.overrides import selected, without

DUMP = "trajectories"
"""Folder of the trajectory dump, in the evaluation's."""

_BATCH_TRAJECTORIES = 4096
"""verl holds a batch of validation in memory, padded; and waits for the last of it before the next begins."""

_OWNED = {
    "data.val_files": "--data",
    "data.train_files": "--data",
    "actor_rollout_ref.model.path": "the checkpoint",
    "actor_rollout_ref.rollout.val_kwargs.n": "--samples",
    "actor_rollout_ref.rollout.seed": "--seed",
    "tir.dump_dir": "--output",
    "tir.dump_max_mb": "--output",
    "trainer.val_only": "verl-tir eval",
    "trainer.val_before_train": "verl-tir eval",
    "trainer.resume_mode": "the checkpoint",
    "data.val_max_samples": "--data",
}
"""Keys that the evaluation sets itself, and what sets them."""

_OVERRIDE = re.compile(r"^(?:\+{0,2}|~)[A-Za-z_][\w.@/-]*=")


class OverrideError(ValueError):
    """What follows the command is not an override that an evaluation can take."""


def check_overrides(overrides: Sequence[str]) -> None:
    """Refuse what Hydra would refuse or misread after the start, and what the evaluation sets itself.

    Raises:
        OverrideError: names the word and what to write.
    """
    for word in overrides:
        if not _OVERRIDE.match(word):
            raise OverrideError(f"{word}: neither an option of verl-tir eval nor an override of verl's (key=value)")
        key = word.lstrip("+~").partition("=")[0]
        if key in _OWNED:
            raise OverrideError(f"{word}: {_OWNED[key]} sets {key}; leave it out")


def recipe_for(preset: Preset, chosen: str | None, overrides: Sequence[str]) -> str:
    """The recipe that is evaluated with: `--recipe`, `+tir=NAME`, or the protocol's own.

    Raises:
        OverrideError: the first two differ.
    """
    named = selected("tir", ["", *overrides])
    if chosen is not None and named is not None and chosen != named:
        raise OverrideError(f"--recipe {chosen} and +tir={named}: name one recipe")
    return chosen or named or preset.recipe


def eval_overrides(
    *,
    preset: Preset,
    recipe: str,
    samples: int,
    seed: int,
    model: str,
    problems: Path,
    folder: Path,
    overrides: Sequence[str],
) -> list[str]:
    """Hydra's overrides, the user's last.

    Args:
        preset: of the protocol.
        recipe: as `+tir=NAME`.
        samples: of each problem.
        seed: of the engine.
        model: folder or hub name of the weights.
        problems: the file that verl validates on.
        folder: the evaluation's.
        overrides: the user's.
    """
    own: Mapping[str, object] = {
        "+tir": recipe,
        **preset.overrides(),
        "tir.dump_dir": quoted(folder / DUMP),
        "tir.dump_max_mb": "null",
        "data.val_files": quoted(problems),
        # verl reads training data before it validates, and trains on none of it.
        "data.train_files": quoted(problems),
        "data.val_batch_size": max(1, _BATCH_TRAJECTORIES // samples),
        "actor_rollout_ref.model.path": quoted(model),
        "actor_rollout_ref.actor.use_dynamic_bsz": True,
        "actor_rollout_ref.rollout.val_kwargs.n": samples,
        "actor_rollout_ref.rollout.seed": seed,
        "trainer.val_only": True,
        "trainer.val_before_train": True,
        "trainer.resume_mode": "disable",
        "trainer.total_training_steps": 1,
        "trainer.logger": "[console]",
        "trainer.project_name": "verl_tir_eval",
        "trainer.default_local_dir": quoted(folder / "verl"),
        "hydra.run.dir": quoted(folder / "hydra"),
    }
    return [*(f"{key}={value}" for key, value in own.items()), *without("tir", overrides)]


def launch_command(overrides: Sequence[str]) -> list[str]:
    """verl's own launch command."""
    return [sys.executable, "-m", "verl.trainer.main_ppo", *overrides]


def merge_command(shards: Path, target: Path, *, trust_remote_code: bool) -> list[str]:
    """verl's own command that merges FSDP shards into a Hugging Face folder."""
    command = [sys.executable, "-m", "verl.model_merger", "merge", "--backend", "fsdp"]
    command += ["--local_dir", str(shards), "--target_dir", str(target)]
    return [*command, "--trust-remote-code"] if trust_remote_code else command


def quoted(value: object) -> str:
    """A value as Hydra reads it whole, whatever characters are in it."""
    text = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"
