"""Keys of verl's configuration that its V1 trainer takes and does not read, and those that it reads instead.

verl moves the first three sections to their new places in `migrate_legacy_reward_impl`, which `main_ppo` does not call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

_STEPS = "tool_config.precision_debugger.steps"

READ_INSTEAD = {
    "custom_reward_function": "reward.custom_reward_function",
    "sandbox_fusion": "reward.sandbox_fusion",
    "reward_model": "reward.reward_model",
    "reward_model.num_workers": "reward.num_workers",
    "reward_model.reward_manager": "reward.reward_manager.name",
    "reward_model.reward_loop_source": "reward.reward_manager.source",
    "reward_model.reward_loop_module_path": "reward.reward_manager.module.path",
    "reward_model.reward_loop_class_name": "reward.reward_manager.module.name",
    "reward_model.reward_kwargs": "+reward.reward_kwargs",
    "reward_model.model": None,
    "reward_model.model.path": "reward.reward_model.model_path",
    "data.reward_fn_key": None,
    "actor_rollout_ref.actor.profiler." + _STEPS: "global_profiler.steps",
    "actor_rollout_ref.ref.profiler." + _STEPS: "global_profiler.steps",
    "actor_rollout_ref.rollout.profiler." + _STEPS: "global_profiler.steps",
    "critic.profiler." + _STEPS: "global_profiler.steps",
    "global_profiler.global_" + _STEPS: "global_profiler.steps",
}
"""What is not read, a key or all of a section, and where it is read instead; None for nowhere."""

_DEFAULTS = {"data.reward_fn_key": "data_source"}
"""Values that nobody has set; of the others null."""


def legacy_problems(config: Mapping[str, object]) -> list[str]:
    """A line for each key that is set and has no effect.

    Args:
        config: verl's composed configuration as plain containers.
    """
    problems = []
    for key, value in _leaves(config):
        section = next((name for name in _sections(key) if name in READ_INSTEAD), None)
        if section is None or value == _DEFAULTS.get(key):
            continue
        new = READ_INSTEAD[section]
        advice = "remove it" if new is None else f"set {new}{key.removeprefix(section)} instead"
        problems.append(f"{key}={value!r}: verl's V1 trainer takes this key and does not read it; {advice}")
    return problems


def _leaves(node: Mapping[str, object], path: str = "") -> Iterator[tuple[str, object]]:
    for name, value in node.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


def _sections(key: str) -> Iterator[str]:
    """The key itself, and the sections that it is in, from the innermost."""
    while key:
        yield key
        key = key.rpartition(".")[0]
