"""verl's entry point (`verl.plugins`): makes `+tir=...` work in every process that imports verl, or stops the launch.

verl logs a plugin's load error at DEBUG and goes on; `+tir=simpletir` is then a plain new key and vanilla GRPO trains
with exit code 0. So nothing may fail here quietly: this module needs the standard library only, and whatever goes
wrong behind it ends the process with `SystemExit`, which verl's `except Exception` does not catch.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from types import TracebackType

from verl_tir.selection import PLATFORM_VARIABLE, RECIPE_VARIABLE, selected

logger = logging.getLogger(__name__)


class StopLaunch:
    """Turns any error inside it into the end of the process, with the cause on stderr, where a recipe was asked for."""

    def __init__(self, recipe: str | None) -> None:
        self.recipe = recipe

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        if self.recipe is None:
            logger.warning("the verl-tir plugin could not load and stays out of this run", exc_info=error)
            return True
        message = (
            f"verl-tir: tir={self.recipe} was asked for, but the plugin cannot act in process {os.getpid()}: "
            f"{type(error).__name__}: {error}\n"
            "Stopped, because verl would train without it. Check with: verl-tir doctor"
        )
        # A Ray worker's exit message does not reach the driver, its stderr does.
        logger.critical(message, exc_info=error)
        raise SystemExit(message) from error


def activate(argv: Sequence[str], environ: Mapping[str, str]) -> None:
    """Register what this process needs.

    Raises:
        SystemExit: a recipe was asked for and some part of the plugin cannot load.
    """
    recipe = selected("tir", argv) or environ.get(RECIPE_VARIABLE) or None
    with StopLaunch(recipe):
        if "cpu" in (selected("platform", argv), environ.get(PLATFORM_VARIABLE)):
            from verl_tir import cpu

            cpu.activate()

        from verl_tir import launch

        launch.register_search_path()
        if recipe is not None:
            launch.check_versions()
            # Importing it registers the agent loop under its name.
            import verl_tir.rollout.agent_loop  # noqa: F401

            os.environ[RECIPE_VARIABLE] = recipe


activate(sys.argv, os.environ)
