"""The CPU platform acts in every process that asks for it or stops it, with a recipe of ours and without."""

from __future__ import annotations

from pathlib import Path

import pytest
from launches import Launcher, broken_installation, config_of

from verl_cpu.plugin import act, platform_selected


@pytest.mark.parametrize("recipe", [[], ["+tir=simpletir"]], ids=["stock verl", "with a recipe"])
def test_the_platform_is_composed_into_verls_configuration(launch: Launcher, recipe: list[str], tmp_path: Path) -> None:
    """`+platform=cpu` is enough by itself: nothing of the recipes comes with it."""
    done = launch(*recipe, "+platform=cpu", "--cfg", "job", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    config = config_of(done.stdout)
    assert config["trainer"]["device"] == "cpu"
    assert config["ray_kwargs"]["ray_init"]["runtime_env"]["env_vars"]["VERL_PLATFORM"] == "cpu"
    assert ("tir" in config) is bool(recipe)


@pytest.mark.parametrize("recipe", [[], ["+tir=simpletir"]], ids=["stock verl", "with a recipe"])
def test_an_installation_without_the_group_stops_the_launch(
    launch: Launcher, recipe: list[str], tmp_path: Path
) -> None:
    """To Hydra `+platform=cpu` would be a plain new key, and verl would look for a GPU."""
    path = broken_installation(tmp_path / "broken", "platform")
    done = launch(*recipe, "+platform=cpu", "--cfg", "job", cwd=tmp_path, path=path)
    assert done.returncode != 0, done.stdout
    assert "platform=cpu was asked for" in done.stdout
    assert "it has no config group platform" in done.stdout
    assert "pip install --force-reinstall verl-tir" in done.stdout


def test_a_platform_that_verl_did_not_load_stops_the_launch(
    launch: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where verl is told to load the recipes only, the recipe's check finds the plain new key."""
    monkeypatch.setenv("VERL_USE_EXTERNAL_PLUGINS", "tir")
    done = launch("+tir=simpletir", "+platform=cpu", cwd=tmp_path)
    assert done.returncode != 0, done.stdout
    assert "platform='cpu': the config group was not found" in done.stdout


def test_cpu_platform_refuses_a_machine_with_an_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    """`+platform=cpu` on a GPU machine would leave the GPU idle, so the launch is stopped."""
    monkeypatch.setattr("verl_cpu.find_accelerator", lambda: "/dev/nvidia0")
    with pytest.raises(SystemExit, match="this machine has an accelerator"):
        act(["main_ppo", "+tir=simpletir", "+platform=cpu"], {})


def test_cpu_platform_refuses_a_vllm_that_would_not_load_its_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM passes over plugins that VLLM_PLUGINS does not name, and verl's weight sync would fail much later."""
    monkeypatch.setenv("VLLM_PLUGINS", "other")
    with pytest.raises(SystemExit, match="VLLM_PLUGINS=other keeps verl_cpu out"):
        act(["main_ppo", "+tir=simpletir", "+platform=cpu"], {})


def test_a_broken_part_does_not_disturb_who_does_not_ask(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without the CPU asked for, verl stays as it is, with a warning."""

    def broken(chosen: str | None) -> None:
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr("verl_cpu.plugin._register_group", broken)
    act(["main_ppo", "trainer.nnodes=1"], {})
    assert "stays out of this run" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "platform"),
    [
        (["tir=torl", "+platform=cpu"], "cpu"),
        (["++platform=a", "+platform@_global_=b"], "b"),
        (["+tir=simpletir", "~platform", "data.path=/x/platform=y"], None),
    ],
)
def test_selection_reads_hydras_overrides(arguments: list[str], platform: str | None) -> None:
    """The group's option is found in each of Hydra's forms, and nothing else is taken for it."""
    assert platform_selected(["main_ppo", *arguments]) == platform
