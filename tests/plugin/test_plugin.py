"""The plugin acts in every process or stops the launch: real launch commands, each in a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from launches import Launcher, broken_installation, config_of
from transformers import LlamaConfig

from verl_tir.launch import check_versions
from verl_tir.overrides import selected
from verl_tir.plugin import StopLaunch


def test_the_recipe_is_composed_into_verls_configuration(launch: Launcher, tmp_path: Path) -> None:
    """`+tir=simpletir` selects rollout, filter, reward and SimpleTIR's numbers, as `--cfg job` shows."""
    done = launch("+tir=simpletir", "--cfg", "job", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    config = config_of(done.stdout)
    rollout, actor = config["actor_rollout_ref"]["rollout"], config["actor_rollout_ref"]["actor"]
    assert rollout["agent"]["default_agent_loop"] == "tir"
    assert (rollout["temperature"], rollout["n"], rollout["calculate_log_probs"]) == (1.0, 16, True)
    assert (actor["clip_ratio_low"], actor["clip_ratio_high"], actor["clip_ratio_c"]) == (0.2, 0.28, 3.0)
    assert not actor["use_kl_loss"]
    assert not config["algorithm"]["use_kl_in_reward"]
    assert actor["entropy_coeff"] == 0
    assert actor["optim"]["betas"] == [0.9, 0.99]
    assert (config["algorithm"]["adv_estimator"], actor["loss_agg_mode"]) == ("grpo", "token-mean")
    assert config["reward"]["custom_reward_function"]["path"] == "pkg://verl_tir.reward"
    assert config["trainer"]["v1"]["sampler"]["custom_sampler"]["path"] == "pkg://verl_tir.sampler.verl_buffer"


def test_every_key_of_the_recipe_yields_to_the_command_line(launch: Launcher, tmp_path: Path) -> None:
    """What stands behind `+tir=simpletir` wins, for verl's keys and for ours."""
    done = launch(
        "+tir=simpletir",
        "actor_rollout_ref.actor.clip_ratio_high=0.3",
        "tir.rollout.max_turns=10",
        "--cfg",
        "job",
        cwd=tmp_path,
    )
    config = config_of(done.stdout)
    assert config["actor_rollout_ref"]["actor"]["clip_ratio_high"] == 0.3
    assert config["tir"]["rollout"]["max_turns"] == 10


def test_without_a_recipe_verl_is_untouched(launch: Launcher, tmp_path: Path) -> None:
    """Installed beside verl, the plugin changes nothing of a launch that does not ask for it."""
    config = config_of(launch("--cfg", "job", cwd=tmp_path).stdout)
    assert "tir" not in config
    assert config["actor_rollout_ref"]["rollout"]["agent"]["default_agent_loop"] == "single_turn_agent"


def test_wrong_settings_stop_the_launch(launch: Launcher, tmp_path: Path) -> None:
    """Every wrong key is named with its value and what is allowed, before anything starts."""
    done = launch(
        "+tir=simpletir",
        "tir.rollout.max_turns=0",
        "tir.observation.rule=both",
        "tir.sandbox.endpoints=[http://your-sandbox:8080]",
        cwd=tmp_path,
    )
    assert done.returncode != 0
    assert "tir.rollout.max_turns=0: input should be greater than or equal to 1" in done.stdout
    assert "tir.observation.rule='both': must be one of result, reference, torl, or the path" in done.stdout
    assert "tir.sandbox.endpoints" in done.stdout
    assert "your-sandbox" in done.stdout
    assert "Started a local Ray instance" not in done.stdout


UNDOING = {
    "actor_rollout_ref.rollout.agent.default_agent_loop=single_turn_agent": "would train without the tool",
    "trainer.v1.sampler.custom_sampler.path=null": "would train on void and aborted trajectories",
    "actor_rollout_ref.rollout.name=sglang": "vLLM's stop strings",
    "actor_rollout_ref.rollout.n=1": "at least 2 samples",
    "ray_kwargs.ray_init.runtime_env.env_vars.VERL_TIR=null": "has to be active",
    "reward.reward_manager.name=dapo": "allowed: naive, limited, remote",
    "actor_rollout_ref.actor.loss_agg_mode=seq-mean-token-sum-norm": (
        "set actor_rollout_ref.actor.loss_scale_factor=16384"
    ),
}
"""Overrides, and what the launch says of each."""


def test_verl_settings_that_undo_the_recipe_stop_the_launch(launch: Launcher, tmp_path: Path) -> None:
    """A recipe whose parts are overridden away would train something else under its name: a line for each of them."""
    done = launch("+tir=simpletir", *UNDOING, cwd=tmp_path)
    assert done.returncode != 0
    for override, reason in UNDOING.items():
        key = override.split("=")[0]
        assert [line for line in done.stdout.splitlines() if key in line and reason in line], override


def test_a_plugin_that_cannot_load_stops_the_launch(launch: Launcher, tmp_path: Path) -> None:
    """verl swallows the error of a broken plugin; the launch ends all the same, with the cause."""
    (tmp_path / "sandbox_client.py").write_text("raise RuntimeError('broken on purpose')\n")
    done = launch("+tir=simpletir", cwd=tmp_path, path=tmp_path)
    assert done.returncode != 0
    assert "tir=simpletir was asked for, but the plugin cannot act" in done.stdout
    assert "broken on purpose" in done.stdout


def test_a_broken_plugin_does_not_disturb_a_launch_without_it(launch: Launcher, tmp_path: Path) -> None:
    """Who does not ask for the plugin gets a warning, and verl as it is."""
    (tmp_path / "sandbox_client.py").write_text("raise RuntimeError('broken on purpose')\n")
    done = launch("--cfg", "job", cwd=tmp_path, path=tmp_path)
    assert done.returncode == 0
    assert "stays out of this run" in done.stdout


MINE = """
hydra:
  searchpath: [pkg://verl.trainer.config]
defaults:
  - ppo_trainer
  - _self_
"""
"""A user's own primary configuration."""


NO_GROUP = "it has no config group"
BROKEN = {
    "no recipes": ([""], ["+tir=simpletir"], NO_GROUP),
    "no recipes, composed only": ([""], ["+tir=simpletir", "--cfg", "job"], NO_GROUP),
    "no recipes, forced": ([""], ["++tir=simpletir", "--cfg", "job"], NO_GROUP),
    "no recipes, typed wrong": ([""], ["+tir=simpletri", "--cfg", "job"], NO_GROUP),
    "no recipes, ablation alone": ([""], ["+ablation=paper_loss", "--cfg", "job"], NO_GROUP),
    "no recipes, selected in a file": (
        [""],
        ["--config-dir", ".", "--config-name", "mine"],
        "Could not find 'tir/simpl",
    ),
    "no yaml of the group": (
        ["tir/simpletir.yaml"],
        ["+tir=simpletir", "--cfg", "job"],
        "Could not find 'tir/simpletir",
    ),
}
"""What is missing of the recipes, a launch, and what it says."""


@pytest.mark.parametrize(("missing", "overrides", "said"), BROKEN.values(), ids=BROKEN)
def test_an_installation_without_recipes_stops_the_launch(
    launch: Launcher, missing: list[str], overrides: list[str], said: str, tmp_path: Path
) -> None:
    """To Hydra `+tir=simpletir` would be a plain new key, and verl would train without the tool."""
    (tmp_path / "mine.yaml").write_text(f"{MINE}  - tir: simpletir\n")
    done = launch(*overrides, cwd=tmp_path, path=broken_installation(tmp_path / "broken", *missing))
    assert done.returncode != 0, done.stdout
    assert said in done.stdout
    if said == NO_GROUP:
        assert f"{overrides[0].lstrip('+')} was asked for" in done.stdout
        assert "pip install --force-reinstall verl-tir" in done.stdout


def test_an_installation_without_recipes_does_not_disturb_a_launch_without_them(
    launch: Launcher, tmp_path: Path
) -> None:
    """Who asks for nothing gets verl as it is."""
    done = launch("--cfg", "job", cwd=tmp_path, path=broken_installation(tmp_path / "broken", ""))
    assert done.returncode == 0, done.stdout
    assert "tir" not in config_of(done.stdout)


NO_RECIPE = {
    "a setting without a recipe": (["+tir.rollout.max_turns=3"], None, "tir.recipe: missing; select a recipe"),
    "a name for a node": (["+tir={recipe:simpletir}"], None, "agent.default_agent_loop='single_turn_agent'"),
    "another package": (["+tir@elsewhere=simpletir"], None, "tir=None is not a recipe's settings"),
    "a key of a file": ([], "tir: simpletir", "tir='simpletir' is not a recipe's settings"),
    "a reference to nothing": (
        ["+tir=simpletir", "tir.dump_dir=${nowhere}"],
        None,
        "it cannot be checked: Interpolation",
    ),
    "jobs of a multirun": (["-m", "+tir=simpletir", "tir.rollout.max_turns=0,-1"], None, "tir.rollout.max_turns=0"),
}
"""A launch, a line of its file, and what it says."""


@pytest.mark.parametrize(("overrides", "line", "said"), NO_RECIPE.values(), ids=NO_RECIPE)
def test_a_tir_that_no_recipe_made_stops_the_launch(
    launch: Launcher, overrides: list[str], line: str | None, said: str, tmp_path: Path
) -> None:
    """Whatever way it came into the configuration, verl would train without the tool."""
    (tmp_path / "mine.yaml").write_text(f"{MINE}{line}\n")
    chosen = ["--config-dir", ".", "--config-name", "mine"] if line else []
    done = launch(*chosen, *overrides, cwd=tmp_path)
    assert done.returncode != 0, done.stdout
    assert "the launch was stopped, nothing was started" in done.stdout
    assert said in done.stdout
    assert "Started a local Ray instance" not in done.stdout


@pytest.mark.e2e
def test_a_plugin_that_cannot_load_in_a_ray_worker_stops_the_run(tmp_path: Path) -> None:
    """A node whose environment is broken ends the run with the cause, and does not train vanilla GRPO."""
    (tmp_path / "sandbox_client.py").write_text(
        "import sys\n"
        "if 'default_worker' in sys.argv[0]:\n"
        "    raise RuntimeError('broken on purpose in a Ray worker')\n"
        f"sys.path.remove({str(tmp_path)!r})\n"
        "del sys.modules['sandbox_client']\n"
        "import sandbox_client\n"
    )
    # Warm Python has plugins loaded before Ray knows of the worker, and Ray would start another one for ever.
    launch = Launcher(sys.executable)
    LlamaConfig(vocab_size=99, hidden_size=8, num_hidden_layers=1, num_attention_heads=1).save_pretrained(
        tmp_path / "model"
    )
    model = f"actor_rollout_ref.model.path={tmp_path / 'model'}"
    done = launch("+tir=simpletir", "+platform=cpu", model, cwd=tmp_path, path=tmp_path)
    assert done.returncode != 0
    assert "tir=simpletir was asked for, but the plugin cannot act" in done.stdout
    assert "broken on purpose in a Ray worker" in done.stdout


def test_activation_raises_what_verl_cannot_swallow() -> None:
    """The end of the process is a SystemExit, which `except Exception` lets through."""
    with pytest.raises(SystemExit, match=r"tir=simpletir .* ValueError: no"), StopLaunch("tir=simpletir"):
        raise ValueError("no")


def test_activation_lets_a_keyboard_interrupt_through() -> None:
    """Ctrl-C while the plugin loads is not a load error."""
    with pytest.raises(KeyboardInterrupt), StopLaunch("tir=simpletir"):
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("installed", "taken"), [("0.9.0", False), ("0.9.1", True), ("0.9.2.dev1", True), ("0.10.0", False)]
)
def test_a_verl_that_lacks_what_is_needed_stops_the_launch(
    installed: str, taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0.9.0 has no padding rows of a fixed length, and its continuous token builder is off by default."""
    monkeypatch.setattr("verl_tir.launch.version", lambda name: installed)
    if taken:
        check_versions()
    else:
        with pytest.raises(RuntimeError, match=rf"verl {installed} is installed, verl-tir needs verl.*>=0\.9\.1"):
            check_versions()


@pytest.mark.parametrize(
    ("arguments", "tir"),
    [
        (["+tir=simpletir"], "simpletir"),
        (["tir=torl", "+platform=cpu"], "torl"),
        (["++tir=a", "+tir=b"], "b"),
        (["+tir@_global_=simpletir"], "simpletir"),
        (["tir.rollout.max_turns=3", "~tir"], None),
        (["+ablation=paper_loss"], None),
        (["data.path=/x/tir=y"], None),
    ],
)
def test_selection_reads_hydras_overrides(arguments: list[str], tir: str | None) -> None:
    """The group's option is found in each of Hydra's forms, and nothing else is taken for it."""
    assert selected("tir", ["main_ppo", *arguments]) == tir
