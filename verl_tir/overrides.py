"""A launch's Hydra overrides: what they select of the plugin's config groups, and the configuration composed from them.

The standard library only when it is imported, as `plugin` must not fail to load.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig

RECIPE_VARIABLE = "VERL_TIR"
"""Environment variable that carries the selected recipe from the driver to every Ray worker."""

GROUPS = ("tir", "ablation")
"""The config groups that the plugin brings."""

_SELECTION = re.compile(rf"^\+{{0,2}}({'|'.join(GROUPS)})(?:@[^=]*)?=(.+)$")


class ComposeError(ValueError):
    """Hydra does not take the overrides; the message is its own."""


def selected(group: str, argv: Sequence[str]) -> str | None:
    """The option of a config group, one of `GROUPS`, that a Hydra command line selects, or None."""
    options = [match[2] for match in map(_SELECTION.match, argv[1:]) if match and match[1] == group]
    return options[-1] if options else None


def without(group: str, overrides: Sequence[str]) -> tuple[str, ...]:
    """The overrides that select nothing of a config group: Hydra takes a selection once."""
    return tuple(word for word in overrides if selected(group, ["", word]) is None)


def load_verl(overrides: Sequence[str]) -> None:
    """Import verl, which loads its plugins as in a launch with these overrides: they read them from the command line.

    Raises:
        SystemExit: a plugin cannot act here; the message says why.
    """
    command_line, sys.argv = sys.argv, ["main_ppo", *overrides]
    try:
        import verl  # noqa: F401
    finally:
        sys.argv = command_line


def compose_launch(overrides: Sequence[str]) -> DictConfig:
    """The configuration of a launch, as verl's launch command composes it; `load_verl` comes first.

    Raises:
        ComposeError: an override is wrong.
    """
    from hydra import compose, initialize_config_module
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        with initialize_config_module("verl.trainer.config", version_base=None):
            return compose("ppo_trainer", overrides=list(overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise ComposeError(str(error)) from None
