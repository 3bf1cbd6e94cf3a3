"""verl's entry point (`verl.plugins`): makes `+platform=cpu` work in every process that imports verl, or stops it.

verl logs a plugin's load error at DEBUG and continues, and would then look for a GPU. So nothing may fail here quietly:
where the CPU was asked for, whatever goes wrong ends the process with `SystemExit`, which verl's `except Exception`
does not catch.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Mapping, Sequence
from importlib.resources import files

logger = logging.getLogger(__name__)

_CONFIG = "verl_cpu.config"
_SELECTION = re.compile(r"^\+{0,2}platform(?:@[^=]*)?=(.+)$")


def platform_selected(argv: Sequence[str]) -> str | None:
    """The platform that a Hydra command line selects, as in `+platform=cpu`, or None."""
    options = [match[1] for match in map(_SELECTION.match, argv[1:]) if match]
    return options[-1] if options else None


def act(argv: Sequence[str], environ: Mapping[str, str]) -> None:
    """Make the config group `platform` visible to Hydra and, where the CPU is asked for, have verl run on it.

    Asked for it is by a selection on the command line, or by verl's own variable VERL_PLATFORM as in Ray's workers.

    Raises:
        SystemExit: a platform was asked for, and some part of this plugin cannot act.
    """
    chosen = platform_selected(argv)
    on_cpu = "cpu" in (chosen, environ.get("VERL_PLATFORM"))
    try:
        if on_cpu:
            import verl_cpu

            verl_cpu.activate()
        _register_group(chosen)
        if chosen == "cpu":
            _register_memory_check()
    except BaseException as error:
        if not isinstance(error, Exception):
            raise
        if chosen is None and not on_cpu:
            logger.warning("the plugin verl_cpu could not load and stays out of this run", exc_info=error)
            return
        message = (
            f"verl_cpu: platform={chosen or 'cpu'} was asked for, but the plugin cannot act in process {os.getpid()}: "
            f"{type(error).__name__}: {error}"
        )
        # A Ray worker's exit message does not reach the driver, its stderr does.
        logger.critical(message, exc_info=error)
        raise SystemExit(message) from error


def _register_group(chosen: str | None) -> None:
    """Raises `RuntimeError` where a platform is chosen and the group is not there: Hydra would add a plain new key."""
    from hydra.core.config_search_path import ConfigSearchPath
    from hydra.core.plugins import Plugins
    from hydra.plugins.search_path_plugin import SearchPathPlugin

    from verl_cpu.model_size import register_resolvers

    class PlatformSearchPath(SearchPathPlugin):
        def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
            search_path.append(provider="verl_cpu", path=f"pkg://{_CONFIG}")

    package = files("verl_cpu")
    if chosen is not None and not package.joinpath("config", "platform").is_dir():
        raise RuntimeError(
            f"the installation in {package} is broken, it has no config group platform in the package {_CONFIG}: "
            "pip install --force-reinstall verl-tir, or for a checkout pip install -e . in it, and keep it off "
            "PYTHONPATH"
        )
    Plugins.instance().register(PlatformSearchPath)
    # The group's yaml asks by them, in every process that reads it.
    register_resolvers()


def _register_memory_check() -> None:
    """Have this process's launch checked by `CheckMemory` before it starts."""
    import hydra.conf  # noqa: F401  # Hydra's own configuration enters the store with it.
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    node = store.load("hydra/config.yaml").node
    node.callbacks.verl_cpu = {"_target_": "verl_cpu.memory.CheckMemory"}
    store.store(group="hydra", name="config", node=node, provider="verl_cpu")


act(sys.argv, os.environ)
