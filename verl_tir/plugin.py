"""verl's entry point (`verl.plugins`): makes `+tir=...` work in every process that imports verl, or stops the launch.

verl logs a plugin's load error at DEBUG and continues; `+tir=simpletir` is then a plain new key and vanilla GRPO trains
with exit code 0. So nothing may fail here quietly: this module needs the standard library only, and whatever goes
wrong after it ends the process with `SystemExit`, which verl's `except Exception` does not catch.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from types import TracebackType

from verl_tir.overrides import GROUPS, RECIPE_VARIABLE, selected

logger = logging.getLogger(__name__)


class StopLaunch:
    """Turns any error inside it into the end of the process, with the cause on stderr, where a part was asked for."""

    def __init__(self, asked: str | None) -> None:
        """`asked` is what was asked for, as in `tir=simpletir`; None for nothing."""
        self.asked = asked

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        if self.asked is None:
            logger.warning("the verl-tir plugin could not load and stays out of this run", exc_info=error)
            return True
        message = (
            f"verl-tir: {self.asked} was asked for, but the plugin cannot act in process {os.getpid()}: "
            f"{type(error).__name__}: {error}\n"
            "Stopped, because verl would train without it. Check with: verl-tir doctor"
        )
        # A Ray worker's exit message does not reach the driver, its stderr does.
        logger.critical(message, exc_info=error)
        raise SystemExit(message) from error


def activate(argv: Sequence[str], environ: Mapping[str, str]) -> None:
    """Register what this process needs.

    Raises:
        SystemExit: a recipe or an ablation was asked for, and some part of the plugin cannot load.
    """
    choices = {group: option for group in GROUPS if (option := selected(group, argv))}
    recipe = choices.get("tir") or environ.get(RECIPE_VARIABLE) or None
    # The recipe first: it is what a message should speak of.
    asked = ({"tir": recipe} if recipe else {}) | choices
    with StopLaunch(next((f"{group}={option}" for group, option in asked.items()), None)):
        from verl_tir import launch

        launch.check_groups(choices)
        launch.register()
        if recipe is not None:
            launch.check_versions()
            # Importing it registers the agent loop under its name.
            import verl_tir.rollout.agent_loop  # noqa: F401

            os.environ[RECIPE_VARIABLE] = recipe


activate(sys.argv, os.environ)
