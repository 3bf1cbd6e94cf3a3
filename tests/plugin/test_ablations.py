"""The ablations: each is the recipe with exactly the keys changed that it names, and a launch that is accepted."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from verl_tir.launch import register_groups, validate

FOLDER = Path(str(files("verl_tir.recipes"))) / "ablation"

# name: the keys that differ from the recipe
ABLATIONS: dict[str, dict[str, Any]] = {
    "naive_multi_turn": {"tir.rollout.on_void_turn": "continue", "tir.filter.void": "off"},
    "stop_without_filter": {"tir.filter.void": "off"},
    "low_probability_mask": {
        "tir.rollout.on_void_turn": "continue",
        "tir.filter.void": "off",
        "tir.filter.min_token_probability": 0.01,
    },
    "high_ratio_mask": {
        "tir.rollout.on_void_turn": "continue",
        "tir.filter.void": "off",
        "tir.filter.max_importance_ratio": 2.0,
    },
    "suffix_only": {"tir.filter.void": "suffix"},
    "void_out_of_baseline": {"tir.filter.void_in_baseline": False},
    "paper_loss": {"actor_rollout_ref.actor.loss_agg_mode": "seq-mean-token-mean"},
    "no_chat_template": {"tir.prompt.chat_template": False},
    "reference_observation": {"tir.observation.rule": "reference"},
}


@cache
def composed(*overrides: str) -> DictConfig:
    """verl's configuration as its launch command composes it."""
    register_groups()
    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose("ppo_trainer", ["+tir=simpletir", *overrides])


def leaves(config: DictConfig) -> dict[str, Any]:
    """Every leaf that is written, by its dotted key; what is taken from elsewhere stays the reference that it is."""
    found: dict[str, Any] = {}

    def walk(node: Any, path: str) -> None:
        if isinstance(node, dict) and node:
            for key, value in node.items():
                walk(value, f"{path}.{key}")
        else:
            found[path.removeprefix(".")] = node

    walk(OmegaConf.to_container(config, resolve=False), "")
    return found


def test_every_ablation_is_here() -> None:
    """A file that no test knows would rot."""
    assert {path.stem for path in FOLDER.glob("*.yaml")} == ABLATIONS.keys()


@pytest.mark.parametrize("name", ABLATIONS)
def test_exactly_the_named_keys_differ(name: str) -> None:
    """The table of the paper compares one thing at a time."""
    recipe, ablation = leaves(composed()), leaves(composed(f"+ablation={name}"))
    missing = object()
    changed = {key: value for key, value in ablation.items() if recipe.get(key, missing) != value}
    assert changed == ABLATIONS[name]
    assert not recipe.keys() - ablation.keys()


@pytest.mark.parametrize("name", ABLATIONS)
def test_the_launch_is_accepted(name: str) -> None:
    """Each ablation passes the validation of a launch under the recipe's name."""
    assert validate(composed(f"+ablation={name}")) == "simpletir"


def test_an_ablation_yields_to_the_command_line() -> None:
    """The bound that the paper does not name can be varied."""
    config = composed("+ablation=high_ratio_mask", "tir.filter.max_importance_ratio=5")
    assert config.actor_rollout_ref.actor.policy_loss.max_importance_ratio == 5
    assert validate(config) == "simpletir"


# id: what is written on the command line, what the launch is told
REFUSED = {
    "gates without refill": (
        ["trainer.v1.sampler.sync_refill_failed_groups=false"],
        "sync_refill_failed_groups=False: tir.filter.min_reward_std replace groups",
    ),
    "tokens without log-probabilities": (
        ["tir.filter.min_token_probability=0.01", "actor_rollout_ref.rollout.calculate_log_probs=false"],
        "set actor_rollout_ref.rollout.calculate_log_probs=true",
    ),
    "a dump without log-probabilities": (
        [
            "tir.dump_dir=/tmp/dump",
            "tir.dump_token_log_probs=true",
            "actor_rollout_ref.rollout.calculate_log_probs=false",
        ],
        "tir.dump_token_log_probs=True: it needs the log-probabilities of the rollout",
    ),
    "a bound that no loss reads": (
        ["tir.filter.max_importance_ratio=2", "actor_rollout_ref.actor.policy_loss.loss_mode=vanilla"],
        "choose the loss with its inner_loss_mode",
    ),
    "a bound that does not reach the loss": (
        ["tir.filter.max_importance_ratio=2", "actor_rollout_ref.actor.policy_loss.max_importance_ratio=null"],
        "the loss would not look at it",
    ),
    "more usable rows than there are": (["tir.filter.min_usable_rows=17"], "rollout.n=16 trajectories"),
    "a spread of one": (
        ["actor_rollout_ref.rollout.n=1", "algorithm.adv_estimator=reinforce_plus_plus"],
        "one sample has no spread",
    ),
    "verl's own group filter": (["algorithm.filter_groups.enable=true"], "verl gives it to its own sampler only"),
}


@pytest.mark.parametrize(("overrides", "reason"), REFUSED.values(), ids=REFUSED)
def test_settings_that_could_not_act_are_refused(overrides: list[str], reason: str) -> None:
    """A filter that verl's settings keep from acting stops the launch, with the way out."""
    from verl_tir.config import TirConfigError

    with pytest.raises(TirConfigError) as error:
        validate(composed(*overrides))
    assert reason in str(error.value)


def test_gates_may_be_off_where_nothing_is_replaced() -> None:
    """Without gates of its own the synchronous trainer needs no refill."""
    config = composed("trainer.v1.sampler.sync_refill_failed_groups=false", "tir.filter.min_reward_std=null")
    assert validate(config) == "simpletir"


def test_asynchronous_trainers_always_replace() -> None:
    """Their refill has no key."""
    config = composed("trainer.v1.sampler.sync_refill_failed_groups=false", "trainer.v1.trainer_mode=colocate_async")
    assert validate(config) == "simpletir"


def test_two_ablations_can_be_given_together() -> None:
    """They change what each of them names."""
    changed = leaves(composed("+ablation=[suffix_only,paper_loss]"))
    recipe = leaves(composed())
    assert {key: value for key, value in changed.items() if recipe[key] != value} == {
        "tir.filter.void": "suffix",
        "actor_rollout_ref.actor.loss_agg_mode": "seq-mean-token-mean",
    }


DOCS = (Path(__file__).parents[2] / "docs" / "filters.md").read_text()


def test_the_table_of_ablations_is_complete() -> None:
    """Each has its row in the document, and no other does."""
    part = DOCS.partition("## The ablations of the paper")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `([a-z_]+)` \| ", part, re.MULTILINE) == list(ABLATIONS)


def test_the_commands_for_rollout_correction_compose() -> None:
    """What the document says of verl's rollout correction is what verl's configuration takes, and the loss with it."""
    first, second = re.findall(r"```bash\n(.+?)```", DOCS, re.DOTALL)
    decoupled, bypass = (re.findall(r"\+?(?:algorithm|actor_rollout_ref)\S+=\S+", text) for text in (first, second))
    config = composed(*decoupled)
    assert validate(config) == "simpletir"
    assert config.algorithm.rollout_correction.rollout_rs == "seq_mean_k1"
    config = composed(*bypass)
    assert validate(config) == "simpletir"
    loss = instantiate(config.actor_rollout_ref.actor.policy_loss, _convert_="partial")
    assert (loss.loss_mode, loss.inner_loss_mode) == ("tir", "bypass_mode")
    assert loss.rollout_correction.get("rollout_rs_threshold") == "0.5_2.0"
    assert config.algorithm.rollout_correction.bypass_mode
