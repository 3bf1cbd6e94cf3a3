"""A launch's configuration, composed in this process as verl's launch command would compose it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from verl_tir.selection import PLATFORM_VARIABLE, RECIPE_VARIABLE, selected

if TYPE_CHECKING:
    from omegaconf import DictConfig


class ComposeError(ValueError):
    """Hydra does not take the overrides; the message is its own."""


def load_verl(recipe: str, overrides: Sequence[str]) -> None:
    """Import verl, which loads the plugin as in a launch with these overrides.

    Raises:
        SystemExit: the plugin cannot act here; the message says why.
    """
    os.environ[RECIPE_VARIABLE] = recipe
    platform = selected("platform", ["", *overrides])
    if platform is not None:
        os.environ[PLATFORM_VARIABLE] = platform
    import verl  # noqa: F401


def compose_launch(overrides: Sequence[str]) -> DictConfig:
    """The configuration of a launch; `load_verl` comes first.

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
