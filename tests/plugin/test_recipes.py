"""Every recipe composes with verl's configuration, passes its own validation and holds its method's numbers."""

from __future__ import annotations

import functools
import inspect
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf
from templates import TEMPLATES

from verl_tir.config import TirConfig, TirConfigError, default_settings
from verl_tir.launch import validate
from verl_tir.legacy_keys import legacy_problems

ROOT = Path(__file__).parents[2]
RECIPES = sorted(path.stem for path in (ROOT / "recipes" / "tir").glob("*.yaml"))
DOCUMENT = (ROOT / "docs" / "recipes.md").read_text()
EXAMPLE = (ROOT / "docs" / "add-a-recipe.md").read_text()


@functools.cache
def _composed(*overrides: str) -> DictConfig:
    import verl  # noqa: F401 - loading its plugins puts the recipes on Hydra's search path

    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose("ppo_trainer", overrides=list(overrides))


def _tir(recipe: str) -> TirConfig:
    return TirConfig.from_node(OmegaConf.to_container(_composed(f"+tir={recipe}").tir, resolve=True))


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_name_alone_selects_everything(recipe: str) -> None:
    """The file's name, `tir.recipe` and what Ray's workers are told are one, and the launch is valid."""
    config = _composed(f"+tir={recipe}")
    assert validate(config) == recipe
    assert config.trainer.v1.sampler.sampler_kwargs.tir == config.tir


def test_simpletirs_settings_are_the_defaults() -> None:
    """Every key is there to be overridden, with the default of the code; the yaml brings its name and prompt."""
    node = OmegaConf.to_container(_composed("+tir=simpletir").tir)
    prompt = node.pop("prompt")
    assert node == {key: value for key, value in default_settings().items() if key != "prompt"} | {
        "recipe": "simpletir"
    }
    assert prompt == {
        "template": "simpletir",
        "templates": {"simpletir": TEMPLATES["simpletir"]},
        "chat_template": True,
    }
    tir = _tir("simpletir")
    assert tir == replace(TirConfig(recipe="simpletir"), prompt=tir.prompt)


def test_no_default_stands_twice() -> None:
    """What SimpleTIR's yaml says of a setting is not the default said again."""
    node = yaml.safe_load((ROOT / "recipes" / "tir" / "simpletir.yaml").read_text())
    assert node["defaults"] == ["settings@tir", "_self_"]
    defaults = OmegaConf.create(default_settings())
    for key, value in _leaves(node["tir"]):
        assert OmegaConf.select(defaults, key) != value, key


def test_settings_without_a_recipe_are_no_recipe() -> None:
    """The node that recipes inherit from is not one itself."""
    with pytest.raises(TirConfigError, match=r"^tir\.recipe: missing; select a recipe with \+tir=simpletir$"):
        validate(_composed("+tir=settings"))


@pytest.mark.parametrize("recipe", [name for name in RECIPES if name != "simpletir"])
def test_a_recipe_holds_only_what_differs(recipe: str) -> None:
    """The keys of the other recipes are SimpleTIR's with other values, so none is left behind when those change."""
    node = yaml.safe_load((ROOT / "recipes" / "tir" / f"{recipe}.yaml").read_text())
    assert node.pop("defaults") == ["simpletir", "_self_"]
    base = _composed("+tir=simpletir")
    for key, value in _leaves(node):
        assert OmegaConf.select(base, key) != value, key


def _leaves(node: dict, path: str = "") -> list[tuple[str, object]]:
    found = []
    for name, value in node.items():
        key = f"{path}.{name}".removeprefix(".")
        found += _leaves(value, key) if isinstance(value, dict) else [(key, value)]
    return found


def test_torls_numbers() -> None:
    """128 x 16, 400 and 3,072 tokens, one call, no filter, symmetric clip, greedy evaluation, 1 and -1."""
    config, tir = _composed("+tir=torl"), _tir("torl")
    rollout, actor = config.actor_rollout_ref.rollout, config.actor_rollout_ref.actor
    assert (config.data.train_batch_size, rollout.n, rollout.temperature) == (128, 16, 1.0)
    assert (config.data.max_prompt_length, config.data.max_response_length) == (400, 3072)
    assert (actor.optim.lr, actor.clip_ratio_low, actor.clip_ratio_high) == (1e-6, 0.2, 0.2)
    assert list(actor.optim.betas) == [0.9, 0.999]
    assert not actor.use_kl_loss
    assert not config.algorithm.use_kl_in_reward
    assert (rollout.val_kwargs.temperature, rollout.val_kwargs.do_sample, rollout.val_kwargs.n) == (0.0, False, 1)
    kwargs = config.reward.custom_reward_function.reward_kwargs
    assert (kwargs.correct_reward, kwargs.wrong_reward, kwargs.execution_penalty) == (1.0, -1.0, 0.0)
    assert (tir.prompt.template, tir.prompt.chat_template) == ("torl", False)
    assert (tir.rollout.turn_rule, tir.rollout.max_turns, tir.rollout.max_tool_calls) == ("torl", None, 1)
    assert (tir.observation.rule, tir.observation.max_chars) == ("torl", 256)
    assert tir.filter.void == "off"


def test_the_second_stages_numbers() -> None:
    """24k tokens and 10 turns, and nothing else differs from the first stage."""
    short, long = _composed("+tir=simpletir"), _composed("+tir=simpletir_long")
    assert (long.data.max_response_length, long.tir.rollout.max_turns) == (24576, 10)
    long = OmegaConf.merge(long, {"data": {"max_response_length": 16384}, "tir": {"rollout": {"max_turns": 5}}})
    long.tir.recipe = long.ray_kwargs.ray_init.runtime_env.env_vars.VERL_TIR = "simpletir"
    assert long == short


def test_hermes_is_simpletir_with_another_turn_rule() -> None:
    """The same training, filter and sandbox."""
    tir, other = _tir("simpletir"), _tir("hermes")
    assert (other.rollout.turn_rule, other.prompt.template) == ("hermes", "none")
    assert (other.filter, other.sandbox, other.observation) == (tir.filter, tir.sandbox, tir.observation)


@pytest.mark.parametrize("script", sorted((ROOT / "recipes").glob("*.sh")), ids=lambda path: path.name)
def test_launch_scripts_ask_for_recipes_and_keys_that_exist(script: Path, tmp_path: Path) -> None:
    """Each script, run with stand-ins for the commands, launches with overrides that verl and the recipe take."""
    for name in ("verl-tir", "python"):
        stand_in = tmp_path / name
        stand_in.write_text(f'#!/bin/bash\nprintf "%s\\n" {name} "$@" >> "{tmp_path}/calls"\n')
        stand_in.chmod(0o755)
    environment = {
        **{name: "/x" for name in ("MODEL", "TRAIN", "VAL", "CHECKPOINTS")},
        **{"SANDBOX": "ray", "STEPS_16K": "7", "STEPS_24K": "5"},
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
    }
    subprocess.run(["bash", str(script), "data.seed=3"], env=environment, check=True, timeout=60)
    launches = [
        words.split("\n")[2:-1] for words in re.split(r"^python\n", (tmp_path / "calls").read_text(), flags=re.M)[1:]
    ]
    launches = [[word for word in words if word != "verl-tir"] for words in launches]
    stages = ["simpletir", "simpletir_long"] if "curriculum" in script.name else [script.name.split("_")[0]]
    for words, recipe in zip(launches, stages, strict=True):
        overrides = [word for word in words[: next((i for i, w in enumerate(words) if w == "doctor"), None)]]
        config = _composed(*overrides)
        assert validate(config) == recipe
        assert config.data.seed == 3
        longest = config.data.max_prompt_length + config.data.max_response_length
        assert config.actor_rollout_ref.actor.ppo_max_token_len_per_gpu >= longest
    if "curriculum" in script.name:
        assert config.trainer.total_training_steps == 12


def _block(language: str) -> str:
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", EXAMPLE, re.MULTILINE | re.DOTALL)
    return block


def test_the_documents_own_method_runs(tmp_path: Path) -> None:
    """The worked example as it is printed: its rule runs a conversation, its recipe composes into a valid launch."""
    (tmp_path / "my_rules.py").write_text(_block("python"))
    (tmp_path / "conf" / "tir").mkdir(parents=True)
    (tmp_path / "conf" / "tir" / "retool.yaml").write_text(_block("yaml"))
    program = """
import asyncio
from verl_tir.rollout.turn_rule import resolve_turn_rule
from scripted_world import EOS, World, decode
from verl_tir.rollout.observation import ProgramRun
from verl_tir.trajectory import Outcome
from tir_tools.report.behaviours import behaviours
rule = resolve_turn_rule("my_rules:CODE_TAGS")
world = World(f"So <code>\\nx\\n</code>It is \\\\boxed{{5}}{EOS}", [ProgramRun(Outcome.SUCCESS, "5", "", 0)], rule=rule)
conversation = asyncio.run(world.talk())
print(conversation.trajectory.stop_reason, conversation.trajectory.answer, world.programs)
print(repr(decode(conversation.tokens.ids)))
programs = ["print(6*7)", "print(sum([7]*6))", "print(42+1)"]
runs = [ProgramRun(Outcome.SUCCESS, output, "", 0) for output in ("42", "42", "43")]
script = "".join(f"<code>{program}</code>" for program in programs)
conversation = asyncio.run(World(f"{script}\\\\boxed{{43}}{EOS}", runs, rule=rule).talk())
texts = conversation.texts(decode)
seen = sorted(map(str, behaviours(conversation.trajectory, "What?", texts)))
print([said.program for said in texts[:3]] == programs, seen)
"""
    path = os.pathsep.join([str(tmp_path), str(ROOT / "tests" / "support")])
    done = _python(["-c", program], path, tmp_path)
    assert done.stdout.splitlines() == [
        "answer 5 ['x']",
        r"'So <code>\nx\n</code>\n<interpreter>\n5\n</interpreter>\nIt is \\boxed{5}\x00'",
        "True ['answer calculated', 'cross-check', 'progressive']",
    ]
    launch = ["-m", "verl.trainer.main_ppo", "--config-dir", "conf", "+tir=retool", "--cfg", "job"]
    output = _python(launch, path, tmp_path).stdout
    config = OmegaConf.create(yaml.safe_load(output[output.index("actor_rollout_ref:") :]))
    sys.path.insert(0, str(tmp_path))
    try:
        assert validate(config) == "retool"
    finally:
        sys.path.remove(str(tmp_path))
    assert (config.tir.rollout.turn_rule, config.tir.rollout.max_turns) == ("my_rules:CODE_TAGS", 8)


def _python(arguments: list[str], path: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def test_every_recipe_and_rule_is_in_the_document() -> None:
    """And none that does not exist."""
    table = DOCUMENT.partition("## The parts")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == ["simpletir", "simpletir_long", "torl", "hermes"]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(RECIPES)


KWARGS = "+reward.custom_reward_function.reward_kwargs"
REFUSED = {
    "an unknown key of the reward": ([f"{KWARGS}.corect_reward=1"], "reward_kwargs: unknown key corect_reward: "),
    "a wrong answer worth as much as a right one": ([f"{KWARGS}.wrong_reward=1"], "below correct_reward=1.0"),
    "text for a number": ([f"{KWARGS}.correct_reward=high"], "reward_kwargs.correct_reward='high': give a number"),
    "no time to compare": ([f"{KWARGS}.timeout=0"], "reward_kwargs.timeout=0 (seconds for one comparison) must be"),
    "no worker": ([f"{KWARGS}.workers=0"], "reward_kwargs.workers=0 must be a whole number from 1"),
    "too little memory": ([f"{KWARGS}.memory_limit_mb=8"], "reward_kwargs.memory_limit_mb=8 must be at least 256"),
    "an argument of verl's": ([f"{KWARGS}.ground_truth=5"], "reward_kwargs: unknown key ground_truth: "),
    "settings that are none": ([f"{KWARGS}=5"], "reward_kwargs=5: give a mapping"),
    "another function of ours": (["reward.custom_reward_function.name=score"], "has compute_score only"),
}
"""Overrides of a launch, and what the check says of them."""


@pytest.mark.parametrize(("overrides", "said"), REFUSED.values(), ids=REFUSED)
def test_what_the_reward_would_refuse_stops_the_launch(overrides: list[str], said: str) -> None:
    """Not at the first scoring, when the engine is up, but before anything starts, and so in `verl-tir doctor` too."""
    with pytest.raises(TirConfigError, match=re.escape(said)):
        validate(_composed("+tir=simpletir", *overrides))


def test_a_reward_of_the_users_own_takes_what_it_likes() -> None:
    """Its settings are its own matter."""
    function = "reward.custom_reward_function"
    own = [f"{function}.path=/mine.py", f"{function}.name=score", f"{KWARGS}.weight=2"]
    assert validate(_composed("+tir=simpletir", *own)) == "simpletir"


LEGACY = {
    "reward_model.reward_manager=naive": "reward.reward_manager.name",
    "reward_model.num_workers=4": "reward.num_workers",
    "reward_model.enable=False": "reward.reward_model.enable",
    "reward_model.reward_loop_source=register": "reward.reward_manager.source",
    "reward_model.reward_loop_class_name=Mine": "reward.reward_manager.module.name",
    "reward_model.model.path=/x": "reward.reward_model.model_path",
    "reward_model.model.trust_remote_code=true": None,
    "reward_model.rollout.name=vllm": "reward.reward_model.rollout.name",
    "+reward_model.reward_kwargs.max_resp_len=5": "+reward.reward_kwargs.max_resp_len",
    "custom_reward_function.path=/mine.py": "reward.custom_reward_function.path",
    "custom_reward_function.name=score": "reward.custom_reward_function.name",
    "+custom_reward_function.reward_kwargs.wrong_reward=-1": "reward.custom_reward_function.reward_kwargs.wrong_reward",
    "sandbox_fusion.url=http://10.0.0.5:8080": "reward.sandbox_fusion.url",
    "data.reward_fn_key=source": None,
    "actor_rollout_ref.actor.profiler.tool_config.precision_debugger.steps=[1]": "global_profiler.steps",
}
"""Overrides that verl takes and does not read, and the keys to set instead."""


def test_a_key_that_nobody_reads_stops_the_launch() -> None:
    """What the user has set would have no effect, without a word; a line for each says which key has."""
    with pytest.raises(TirConfigError) as error:
        validate(_composed("+tir=simpletir", *LEGACY))
    lines = str(error.value).splitlines()
    assert len(lines) == len(LEGACY)
    for override, new in LEGACY.items():
        key = override.split("=")[0].lstrip("+")
        (line,) = [line for line in lines if line.startswith(f"{key}=")]
        assert line.endswith("remove it" if new is None else f"set {new} instead")


def test_what_verl_moves_is_known_here_and_read_at_the_new_place() -> None:
    """Every key of verl's legacy file is named with the place to which verl's own function, never called, moves it."""
    from verl.experimental.reward_loop import migrate_legacy_reward_impl
    from verl.trainer import main_ppo

    assert "migrate_legacy_reward_impl" not in inspect.getsource(main_ppo)
    config = _composed("+tir=simpletir").copy()
    assert legacy_problems(OmegaConf.to_container(config)) == []
    before = yaml.safe_load((Path(main_ppo.__file__).parent / "config" / "legacy_reward_impl.yaml").read_text())
    OmegaConf.set_struct(config, False)
    for number, (key, _) in enumerate(_leaves(before)):
        OmegaConf.update(config, key, f"value {number}")
    problems = legacy_problems(OmegaConf.to_container(config))
    assert len(problems) == len(_leaves(before))
    OmegaConf.set_struct(config.reward, False)
    migrated = migrate_legacy_reward_impl(config)
    for line in problems:
        value = re.search(r"='(value \d+)'", line)[1]
        new = re.search(r"set (\S+) instead$", line)
        if new is not None:
            assert OmegaConf.select(migrated, new[1]) == value, line
