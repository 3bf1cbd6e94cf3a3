"""What a launch needs: the recipes on Hydra's search path, supported versions, and settings that can work together."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from importlib.resources import files
from typing import Any, cast

import hydra.conf  # noqa: F401  # Hydra's own configuration enters the store with it.
from hydra import compose, initialize_config_module
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from packaging.specifiers import SpecifierSet

from verl_tir.config import TirConfig, TirConfigError, default_settings
from verl_tir.legacy_keys import legacy_problems
from verl_tir.methods.advantage_estimators import estimator_problems
from verl_tir.overrides import RECIPE_VARIABLE, selected
from verl_tir.sampler.config import FilterConfig

logger = logging.getLogger(__name__)

SUPPORTED_VERL = SpecifierSet(">=0.9.1,<0.10", prereleases=True)

_REQUIRED = {
    "trainer.use_v1": (True, "the sampler and the agent loop are those of verl's V1 trainer"),
    "actor_rollout_ref.rollout.name": ("vllm", "turns end at vLLM's stop strings"),
    "actor_rollout_ref.rollout.agent.default_agent_loop": ("tir", "another loop would train without the tool"),
    "trainer.v1.sampler.custom_sampler.path": (
        "pkg://verl_tir.sampler.verl_buffer",
        "another sampler would train on void and aborted trajectories",
    ),
    "actor_rollout_ref.rollout.multi_turn.enable": (False, "it belongs to verl's own tool loop"),
}
"""Keys that a recipe sets, or needs as they are by default, and what goes wrong otherwise."""

_REWARD_MANAGERS = ("naive", "limited", "remote")
"""verl's reward managers that hand the rollout's record to the reward function; with the others it would look for the
answer in a text that holds the tool's output."""

_RECIPES = "verl_tir.recipes"

_WORKER_VARIABLE = f"ray_kwargs.ray_init.runtime_env.env_vars.{RECIPE_VARIABLE}"

_STOPPED = "verl-tir: the launch was stopped, nothing was started:"


class ComposeError(ValueError):
    """Hydra does not take the overrides; the message is its own."""


class RecipeSearchPath(SearchPathPlugin):
    """Puts the recipes on Hydra's search path, after verl's own configuration."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        search_path.append(provider="verl-tir", path=f"pkg://{_RECIPES}")


def register() -> None:
    """Make the plugin's config groups visible to Hydra, and have every launch of this process checked.

    The callback is set here and not by the recipes: what has to be noticed is also that there is none.
    """
    register_groups()
    store = ConfigStore.instance()
    node = store.load("hydra/config.yaml").node
    node.callbacks.tir = {"_target_": "verl_tir.launch.ValidateLaunch"}
    store.store(group="hydra", name="config", node=node, provider="verl-tir")


def register_groups() -> None:
    """Make the plugin's config groups visible to Hydra, and the defaults of all settings as `tir/settings`.

    The recipes inherit from it, so that every key can be overridden and is shown, and each default stands in TirConfig.
    """
    Plugins.instance().register(RecipeSearchPath)
    ConfigStore.instance().store(group="tir", name="settings", node=default_settings(), provider="verl-tir")


def check_groups(groups: Iterable[str]) -> None:
    """Raise `RuntimeError` for a config group that is not there: Hydra would take `+GROUP=OPTION` for a plain new key.

    An option that is not there is Hydra's own error.
    """
    for group in groups:
        try:
            found = files(_RECIPES).joinpath(group).is_dir()
        except ModuleNotFoundError:
            found = False
        if not found:
            raise RuntimeError(
                f"the installation in {files('verl_tir')} is broken, it has no config group {group} in the package "
                f"{_RECIPES}: pip install --force-reinstall verl-tir, or for a checkout pip install -e . in it, and "
                "keep it off PYTHONPATH"
            )


def check_versions() -> None:
    """Raise `RuntimeError` for a verl that this plugin was not written for."""
    installed = version("verl")
    if installed not in SUPPORTED_VERL:
        raise RuntimeError(f"verl {installed} is installed, verl-tir needs verl{SUPPORTED_VERL}")


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
    try:
        with initialize_config_module("verl.trainer.config", version_base=None):
            return compose("ppo_trainer", overrides=list(overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise ComposeError(str(error)) from None


class ValidateLaunch(Callback):
    """A Hydra callback, set by `register`: checks the composed configuration before Ray starts."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Stop a launch that asks for the plugin if its settings are wrong.

        Raises:
            SystemExit: with one line per wrong key, or with the error that kept the check from its end. Hydra turns
                other exceptions of a callback into warnings, and continues.
        """
        if "tir" not in config and selected("tir", sys.argv) is None:
            return
        try:
            recipe = validate(config)
        except TirConfigError as error:
            raise SystemExit(f"{_STOPPED}\n{error}") from None
        except BaseException as error:
            if not isinstance(error, Exception):
                raise
            # Whatever it is, Hydra would start an unchecked launch.
            raise SystemExit(f"{_STOPPED}\nit cannot be checked: {type(error).__name__}: {error}") from error
        os.environ[RECIPE_VARIABLE] = recipe

    on_job_start = on_run_start
    """The only one that Hydra calls in a multirun (`-m`), for each of its jobs."""


def validate(config: DictConfig) -> str:
    """Check the `tir:` node and the verl keys it depends on; return the recipe's name.

    Raises:
        TirConfigError: one line per wrong key.
    """
    node = OmegaConf.select(config, "tir")
    tir = TirConfig.from_node(OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node)
    problems = []
    for key, (wanted, why) in _REQUIRED.items():
        value = OmegaConf.select(config, key)
        if value != wanted:
            problems.append(f"{key}={value!r}: tir={tir.recipe} needs {wanted!r}, because {why}")
    if OmegaConf.select(config, _WORKER_VARIABLE) != tir.recipe:
        problems.append(
            f"{_WORKER_VARIABLE}: Ray's workers learn from it that the plugin has to be active; "
            f"the recipe's yaml has to set it to {tir.recipe!r}"
        )
    if OmegaConf.select(config, "platform") is not None:
        problems.append(
            f"platform={config.platform!r}: the config group was not found, and Hydra added a plain new key, for verl "
            "did not load the plugin verl_cpu. Unset VERL_USE_EXTERNAL_PLUGINS or add cpu to it, or install again: "
            "pip install --force-reinstall verl-tir, for a checkout pip install --no-deps -e . in it"
        )
    problems += legacy_problems(cast(Mapping[str, object], OmegaConf.to_container(config)))
    problems += _reward_problems(config)
    problems += _filter_problems(config, tir.filter)
    if tir.dump_token_log_probs and not config.actor_rollout_ref.rollout.calculate_log_probs:
        problems.append(
            "tir.dump_token_log_probs=True: it needs the log-probabilities of the rollout; set "
            "actor_rollout_ref.rollout.calculate_log_probs=true"
        )
    problems += estimator_problems(config)
    actor = config.actor_rollout_ref.actor
    if (
        tir.filter.cut_masked_rows
        and actor.loss_agg_mode == "seq-mean-token-sum-norm"
        and actor.loss_scale_factor is None
    ):
        problems.append(
            f"actor_rollout_ref.actor.loss_agg_mode={actor.loss_agg_mode}: without actor_rollout_ref.actor."
            "loss_scale_factor verl divides the loss by the width of the widest row that happens to be in the "
            "micro-batch, which changes when masked rows are cut: set actor_rollout_ref.actor.loss_scale_factor="
            f"{config.data.max_response_length}, or tir.filter.cut_masked_rows=false"
        )
    if problems:
        raise TirConfigError("\n".join(problems))
    return tir.recipe


def _reward_problems(config: DictConfig) -> list[str]:
    """Settings that our reward function would refuse or not be asked with; another's are its own matter."""
    # Not needed where nothing is launched, as in Ray's workers.
    from verl_tir.methods.response_worth import REWARD_KWARGS
    from verl_tir.reward import RewardSettings

    function, manager = config.reward.custom_reward_function, config.reward.reward_manager
    if function.path != "pkg://verl_tir.reward":
        return []
    problems = []
    if function.name != "compute_score":
        problems.append(f"reward.custom_reward_function.name={function.name!r}: {function.path} has compute_score only")
    if manager.source == "register" and manager.name not in _REWARD_MANAGERS:
        problems.append(
            f"reward.reward_manager.name={manager.name!r}: it does not hand the rollout's answer to the reward; "
            f"allowed: {', '.join(_REWARD_MANAGERS)}"
        )
    kwargs = cast(dict[str, Any], OmegaConf.to_container(function, resolve=True)).get("reward_kwargs", {})
    if not isinstance(kwargs, Mapping):
        return [*problems, f"{REWARD_KWARGS}={kwargs!r}: give a mapping of keys to values, or leave it out"]
    try:
        RewardSettings.from_kwargs(kwargs)
    except ValueError as error:
        problems.append(str(error))
    return problems


def _filter_problems(config: DictConfig, filters: FilterConfig) -> list[str]:
    """Settings of the filter that verl's would keep from acting."""
    problems = []
    rollout_n = config.actor_rollout_ref.rollout.n
    v1 = config.trainer.v1
    gates = {
        "min_reward_std": filters.min_reward_std,
        "accuracy_window": filters.accuracy_window,
        "min_usable_rows": filters.min_usable_rows or None,
    }
    asked = [f"tir.filter.{name}" for name, value in gates.items() if value is not None]
    if asked and v1.trainer_mode == "sync" and not v1.sampler.sync_refill_failed_groups:
        problems.append(
            f"trainer.v1.sampler.sync_refill_failed_groups=False: {', '.join(asked)} replace groups, which it forbids; "
            "set it to true, or these to null (min_usable_rows to 0)"
        )
    if filters.min_reward_std is not None and rollout_n < 2:
        problems.append(f"tir.filter.min_reward_std={filters.min_reward_std}: one sample has no spread; set it to null")
    if filters.min_usable_rows > rollout_n:
        problems.append(
            f"tir.filter.min_usable_rows={filters.min_usable_rows}: a group has "
            f"actor_rollout_ref.rollout.n={rollout_n} trajectories, so that none would ever pass"
        )
    if filters.min_token_probability is not None and not config.actor_rollout_ref.rollout.calculate_log_probs:
        problems.append(
            f"tir.filter.min_token_probability={filters.min_token_probability}: it needs the log-probabilities of the "
            "rollout; set actor_rollout_ref.rollout.calculate_log_probs=true"
        )
    policy_loss = config.actor_rollout_ref.actor.policy_loss
    if filters.max_importance_ratio is not None and (
        policy_loss.loss_mode != "tir" or policy_loss.get("max_importance_ratio") != filters.max_importance_ratio
    ):
        problems.append(
            f"tir.filter.max_importance_ratio={filters.max_importance_ratio}: the loss would not look at it; leave "
            "actor_rollout_ref.actor.policy_loss as the recipe has it, and choose the loss with its inner_loss_mode"
        )
    if OmegaConf.select(config, "algorithm.filter_groups.enable"):
        problems.append(
            "algorithm.filter_groups.enable=True: verl gives it to its own sampler only; tir.filter.min_reward_std and "
            "tir.filter.accuracy_window do its work here"
        )
    return problems
