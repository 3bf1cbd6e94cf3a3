"""The `tir:` node: its defaults are the recipe's, and a wrong value is named with its key and what is allowed."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from verl_tir.config import TirConfig, TirConfigError, default_settings
from verl_tir.rollout.loop import OnVoidTurn, TrajectoryLimits
from verl_tir.sampler.loss_plan import OverlongPolicy, VoidPolicy

MINIMAL = {"recipe": "simpletir"}


def _node(overrides: dict[str, Any]) -> dict[str, Any]:
    """A minimal node with some dotted keys set."""
    node: dict[str, Any] = dict(MINIMAL)
    for key, value in overrides.items():
        *sections, name = key.split(".")
        at = node
        for section in sections:
            at = at.setdefault(section, {})
        at[name] = value
    return node


def test_any_number_of_turns() -> None:
    """More than ten turns, and none but the other limits."""
    for turns in (1, 11, 1000, None):
        assert TirConfig.from_node(_node({"rollout.max_turns": turns})).limits(9).max_turns == turns


def test_a_module_that_breaks_is_no_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a rule's module raises stops the launch with the key and the cause, for Hydra would only warn."""
    (tmp_path / "broken_rules.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TirConfigError, match=r"^tir\.rollout\.turn_rule='broken_rules:MINE': .*ZeroDivision"):
        TirConfig.from_node(_node({"rollout.turn_rule": "broken_rules:MINE"}))


def test_defaults_are_one_node() -> None:
    """What the recipes inherit has every key with the value that the code has anyway, and passes its validation."""
    defaults = dataclasses.asdict(TirConfig(**MINIMAL))
    defaults["sandbox"]["endpoints"] = list(defaults["sandbox"]["endpoints"])
    assert default_settings() | MINIMAL == defaults
    assert TirConfig.from_node(default_settings() | MINIMAL) == TirConfig(**MINIMAL)


def test_config_is_frozen() -> None:
    """No process can change a setting that another has validated."""
    config = TirConfig.from_node(MINIMAL)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.dump_dir = "x"
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.rollout.max_turns = 9


def test_settings_are_read() -> None:
    """Every section's keys reach the field of the same name, with words turned into enums."""
    config = TirConfig.from_node(
        _node(
            {
                "prompt.template": "none",
                "prompt.chat_template": False,
                "rollout.max_turns": 1,
                "rollout.turn_rule": "verl_tir.rollout.turn_rules.torl:RULE",
                "rollout.max_tool_calls": 0,
                "rollout.on_void_turn": "continue",
                "rollout.max_tool_seconds": 7,
                "observation.rule": "reference",
                "observation.max_chars": 2,
                "sandbox.endpoints": ["http://10.0.0.5:8080/run_code", "https://sandbox.internal"],
                "sandbox.workers": 0,
                "filter.void": "off",
                "dump_dir": "/tmp/dump",
                "dump_max_mb": None,
            }
        )
    )
    assert config.prompt.template == "none"
    assert config.prompt.chat_template is False
    assert config.observation.rule == "reference"
    assert config.observation.max_chars == 2
    assert config.sandbox.endpoints == ("http://10.0.0.5:8080", "https://sandbox.internal")
    assert config.filter.void is VoidPolicy.OFF
    assert (config.dump_dir, config.dump_max_mb) == ("/tmp/dump", None)
    assert config.limits(100) == TrajectoryLimits(
        max_turns=1,
        max_turn_tokens=8192,
        max_response_tokens=100,
        max_tool_seconds=7.0,
        max_tool_calls=0,
        on_void_turn=OnVoidTurn.CONTINUE,
    )


NO_ENDPOINT = "put in the address of a running sandbox"

# id: key, value, what the message says besides
WRONG = {
    "zero turns": ("rollout.max_turns", 0, "greater than or equal to 1"),
    "negative tokens": ("rollout.max_turn_tokens", -5, "greater than or equal to 1"),
    "zero tool seconds": ("rollout.max_tool_seconds", 0, "greater than 0"),
    "tool seconds not a number": ("rollout.max_tool_seconds", float("nan"), "finite"),
    "infinite timeout": ("sandbox.run_timeout", float("inf"), "finite"),
    "negative timeout": ("sandbox.run_timeout", -1.5, "greater than 0"),
    "no memory": ("sandbox.memory_limit_mb", 0, "greater than or equal to 1"),
    "no concurrency": ("sandbox.max_concurrency", 0, "greater than or equal to 1"),
    "no attempt": ("sandbox.retry_attempts", 0, "greater than or equal to 1"),
    "no time for a call": ("sandbox.retry_total_seconds", 0, "greater than 0"),
    "negative workers": ("sandbox.workers", -1, "greater than or equal to 0"),
    "too few characters": ("observation.max_chars", 1, "greater than or equal to 2"),
    "too few tokens": ("observation.max_tokens", 1, "greater than or equal to 2"),
    "no poll": ("filter.poll_seconds", 0, "greater than 0"),
    "half a turn": ("rollout.max_turns", 2.5, "integer"),
    "word for a number": ("rollout.max_turns", "five", "integer"),
    "null for a number": ("rollout.max_turn_tokens", None, "integer"),
    "list for a number": ("rollout.max_turns", [5], "integer"),
    "word for a boolean": ("prompt.chat_template", "maybe", "boolean"),
    "unknown policy": ("filter.void", "drop", "'mask', 'suffix' or 'off'"),
    "policy of YAML's on": ("filter.void", True, "'mask', 'suffix' or 'off'"),
    "unknown rule": ("observation.rule", "stderr", "must be one of result, reference, torl, or the path"),
    "negative calls": ("rollout.max_tool_calls", -1, "greater than or equal to 0"),
    "unknown end": ("rollout.on_void_turn", "retry", "'stop' or 'continue'"),
    "unknown turn rule": ("rollout.turn_rule", "react", "must be one of simpletir, torl, hermes, or the path"),
    "turn rule without a name": ("rollout.turn_rule", "json:", "must be one of simpletir, torl, hermes, or the path"),
    "turn rule in no module": ("rollout.turn_rule", "no_such.rules:MINE", "No module named 'no_such'"),
    "turn rule that is not there": ("rollout.turn_rule", "json:MINE", "module json has no MINE"),
    "function for a turn rule": ("rollout.turn_rule", "json:loads", "is not a turn rule: it lacks stop_strings"),
    "class for a turn rule": ("rollout.turn_rule", "verl_tir.rollout.turn_rule:TurnRule", "name an instance of it"),
    "number for a folder": ("dump_dir", 5, "string"),
    "no room for a dump": ("dump_max_mb", 0, "greater than or equal to 1"),
    "word for a dump of tokens": ("dump_token_log_probs", "some", "boolean"),
    "null for a section": ("rollout", None, "dictionary"),
    "number for a section": ("rollout", 5, "dictionary"),
    "null recipe": ("recipe", None, "string"),
    "one endpoint, not a list": ("sandbox.endpoints", "http://10.0.0.5:8080", "must be a list of base URLs"),
    "another word than ray": ("sandbox.endpoints", "slurm", "or the word ray"),
    "null for endpoints": ("sandbox.endpoints", None, "must be a list of base URLs"),
    "no rate": ("sandbox.max_rate", 0, "greater than 0"),
    "more workers than users": ("sandbox.workers", 501, "less than or equal to 500"),
    "negative patience": ("sandbox.patience_seconds", -1, "greater than or equal to 0"),
    "unknown session": ("sandbox.session", "kernel", "'none', 'replay' or 'jupyter'"),
    "unknown isolation": ("sandbox.isolation", "none", "'required' or 'best-effort'"),
    "unknown overlong policy": ("filter.overlong", "drop", "'keep' or 'mask'"),
    "negative deviation": ("filter.min_reward_std", -1, "greater than or equal to 0"),
    "no finite deviation": ("filter.min_reward_std", float("inf"), "finite"),
    "negative rows": ("filter.min_usable_rows", -1, "greater than or equal to 0"),
    "negative refills": ("filter.max_refills", -1, "greater than or equal to 0"),
    "certain tokens only": ("filter.min_token_probability", 1, "less than 1"),
    "no probability": ("filter.min_token_probability", 0, "greater than 0"),
    "a bound that keeps unchanged tokens out": ("filter.max_importance_ratio", 1, "greater than 1"),
    "share above one": ("filter.min_sound_ratio", 1.5, "less than or equal to 1"),
    "endpoint without scheme": ("sandbox.endpoints", ["10.0.0.5:8080"], "http://10.0.0.5:8080"),
    "placeholder": ("sandbox.endpoints", ["http://your-sandbox:8080"], NO_ENDPOINT),
    "address to listen on": ("sandbox.endpoints", ["http://0.0.0.0:8080"], "name the machine"),
    "endpoint twice": ("sandbox.endpoints", ["http://a.b:1", "http://a.b:1/"], "list it once"),
    "empty endpoint": ("sandbox.endpoints", [""], "write one such as"),
}


@pytest.mark.parametrize(("key", "value", "allowed"), WRONG.values(), ids=WRONG)
def test_wrong_value_is_named(key: str, value: object, allowed: str) -> None:
    """One line says which key, as it is written on the command line, which value, and what is allowed."""
    with pytest.raises(TirConfigError) as error:
        TirConfig.from_node(_node({key: value}))
    message = str(error.value)
    assert message.startswith(f"tir.{key}={value!r}: ")
    assert allowed in message
    assert "\n" not in message


def test_settings_that_exclude_each_other_are_named() -> None:
    """Two sources of one token, and TLS files that are not there, are refused before anything starts."""
    for settings, message in (
        ({"sandbox.token_file": "a", "sandbox.token_env": "B"}, "tir.sandbox: token_file=a and token_env=B: name one"),
        ({"sandbox.headers": {"X Y": "z"}}, "tir.sandbox: headers: 'X Y' is not the name of a header"),
        (
            {"sandbox.headers": {"authorization": "Basic x"}, "sandbox.token_env": "B"},
            "tir.sandbox: headers: Authorization is given although there is a token",
        ),
        ({"sandbox.tls.ca_file": "/no/such.pem"}, "tir.sandbox.tls: ca_file='/no/such.pem' is not a file"),
        ({"sandbox.tls.key_file": __file__}, f"tir.sandbox.tls: key_file='{__file__}' is given without cert_file"),
        ({"filter.accuracy_window": [0.9, 0.1]}, "tir.filter: accuracy_window=[0.9, 0.1] is empty: put the lower end"),
        (
            {"filter.void_in_baseline": False, "filter.void": "off"},
            "tir.filter: void_in_baseline=False takes void trajectories out of the batch, and void=off trains on them",
        ),
        ({"filter.void_in_baseline": False, "filter.void": "suffix"}, "tir.filter: void_in_baseline=False takes void"),
        ({"sandbox.retry_total_seconds": 7.9}, "tir.sandbox: retry_total_seconds=7.9 would end the call before"),
        (
            {"prompt.template": "torl", "prompt.templates": {"torl": "{question}\nAssistant:"}},
            "tir.prompt: template=torl and chat_template=True: the template names user",
        ),
        (
            {"rollout.max_turns": None, "rollout.on_void_turn": "continue"},
            "tir.rollout: max_turns=None and on_void_turn=continue: a model that ends its message at once would",
        ),
        ({"dump_token_log_probs": True}, "tir: dump_token_log_probs=True and dump_dir=None: there is no dump"),
        ({"prompt.template": "qwen"}, "tir.prompt: template=qwen: this recipe's templates are none; each text stands"),
        ({"prompt.templates": {"mine": "Solve it:"}}, "tir.prompt: templates.mine: the question goes where {question}"),
        (
            {"rollout.turn_rule": "hermes", "prompt.chat_template": False},
            "tir: rollout.turn_rule=hermes and prompt.chat_template=False: the rule's tools and their messages",
        ),
    ):
        with pytest.raises(TirConfigError) as error:
            TirConfig.from_node(_node(settings))
        assert str(error.value).startswith(message)


def test_endpoints_may_be_the_rays() -> None:
    """The word stays a word, also quoted on the command line."""
    assert TirConfig.from_node(_node({"sandbox.endpoints": "ray"})).sandbox.endpoints == "ray"


SECTIONS = [field.name for field in dataclasses.fields(TirConfig) if dataclasses.is_dataclass(field.default_factory)]


@pytest.mark.parametrize("section", ["", *SECTIONS])
def test_unknown_key_is_named(section: str) -> None:
    """A misspelt key is never ignored, and the message lists the keys that there are."""
    key = f"{section}.max_turn".removeprefix(".")
    with pytest.raises(TirConfigError) as error:
        TirConfig.from_node(_node({key: 1}))
    at = TirConfig(**MINIMAL)
    allowed = ", ".join(field.name for field in dataclasses.fields(getattr(at, section) if section else at))
    assert str(error.value) == f"tir.{key}: there is no such setting; allowed here: {allowed}"


def test_missing_recipe_is_named() -> None:
    """Without a recipe's name nothing was selected."""
    with pytest.raises(TirConfigError, match=r"^tir\.recipe: missing; select a recipe with \+tir=simpletir$"):
        TirConfig.from_node({})


@pytest.mark.parametrize("node", ["simpletir", None, 5, ["simpletir"]], ids=repr)
def test_node_that_is_no_group_is_explained(node: object) -> None:
    """`+tir=simpletir` leaves a bare string where the plugin is not active, and the message says so."""
    with pytest.raises(TirConfigError, match=re.escape(f"tir={node!r} is not a recipe's settings")) as error:
        TirConfig.from_node(node)
    assert "Install verl-tir" in str(error.value)


def test_all_errors_are_listed() -> None:
    """One launch is enough to see everything that is wrong."""
    node = _node(
        {
            "rollout.max_turns": 0,
            "filter.void": "drop",
            "observation.mood": 1,
            "sandbox.endpoints": ["http://your-sandbox:8080"],
            "sandbox.run_timeout": -1,
        }
    )
    with pytest.raises(TirConfigError) as error:
        TirConfig.from_node(node)
    lines = str(error.value).splitlines()
    assert len(lines) == 5
    for key in (
        "rollout.max_turns=0",
        "filter.void=",
        "observation.mood:",
        "sandbox.endpoints=",
        "sandbox.run_timeout=",
    ):
        assert sum(line.startswith(f"tir.{key}") for line in lines) == 1


# id: what is written behind `tir.` on the command line, what it means
OVERRIDES = {
    "number": ("rollout.max_turns=7", 7),
    "quoted number": ("rollout.max_turns='7'", 7),
    "whole number for seconds": ("sandbox.run_timeout=5", 5.0),
    "scientific": ("sandbox.run_timeout=1e1", 10.0),
    "quoted seconds": ("sandbox.run_timeout='2.5'", 2.5),
    "null": ("rollout.max_tool_seconds=null", None),
    "off": ("filter.void=off", VoidPolicy.OFF),
    "boolean": ("prompt.chat_template=false", False),
    "list": ("sandbox.endpoints=['http://a.b:1']", ("http://a.b:1",)),
    "empty list": ("sandbox.endpoints=[]", ()),
    "window": ("filter.accuracy_window=[0.1,0.9]", (0.1, 0.9)),
    "gate off": ("filter.min_reward_std=null", None),
    "small deviation": ("filter.min_reward_std=1e-3", 0.001),
    "overlong": ("filter.overlong=mask", OverlongPolicy.MASK),
}


@pytest.mark.parametrize(("override", "value"), OVERRIDES.values(), ids=OVERRIDES)
def test_command_line_values(override: str, value: object) -> None:
    """Values as Hydra parses them; digits in quotes count as numbers, as `${oc.env:...}` has no others to give."""
    parsed = OverridesParser.create().parse_override(override)
    config: Any = TirConfig.from_node(_node({parsed.key_or_group: parsed.value()}))
    for part in parsed.key_or_group.split("."):
        config = getattr(config, part)
    assert config == value
    assert type(config) is type(value)


@pytest.mark.parametrize("word", ["off", "'off'", "Off"])
def test_off_in_a_yaml_file(word: str) -> None:
    """YAML reads a bare `off` as false; the policy of that name is meant all the same."""
    written = OmegaConf.create(f"recipe: mine\nfilter:\n  void: {word}\n")
    assert TirConfig.from_node(OmegaConf.to_container(written)).filter.void is VoidPolicy.OFF


def test_a_call_must_outlast_its_program() -> None:
    """A retry budget below a program's time limit would abort every trajectory that runs into it."""
    node = {"recipe": "simpletir", "sandbox": {"retry_total_seconds": 3.0}}
    with pytest.raises(TirConfigError, match=r"tir\.sandbox: retry_total_seconds=3\.0 .* at least 5 seconds more"):
        TirConfig.from_node(node)
