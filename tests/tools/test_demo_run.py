"""A demo run's folder, its resuming, its figures, and the launch command."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hydra import compose, initialize_config_module
from rich.console import Console
from trajectories import line, trajectory, turn, write_dump

from tir_tools.demo.command import launch_command, recipe_of
from tir_tools.demo.folder import Origin, ResumeError, RunFolder
from tir_tools.demo.run import DemoSettings, problem_files, run_demo
from tir_tools.demo.show import show_curve
from tir_tools.demo.summary import read_curve, sparkline, step_seconds
from tir_tools.demo.tasks.word_problems import KINDS
from tir_tools.demo.training_plan import REAL, REAL_GIVEN_DATA, plan_of
from tir_tools.demo.worked_examples import PRODUCT, SUM, with_worked_examples
from tir_tools.report.metrics_log import read_metrics
from verl_tir.launch import validate
from verl_tir.rollout.code_block import code_blocks
from verl_tir.rollout.config import ObservationConfig
from verl_tir.rollout.observation import ProgramRun, observe, resolve_observation_rule
from verl_tir.trajectory import Outcome, StopReason

ORIGIN = Origin("torl", 3, None, None, ("tir.rollout.max_turns=2",))


def write(path: Path, steps: range, tag: str, tail: str = "") -> None:
    """Metrics as verl's file logger writes them."""
    path.write_text("".join(json.dumps({"step": step, "data": {"of": tag}}) + "\n" for step in steps) + tail)


def checkpoint(run: RunFolder, step: int) -> None:
    run.checkpoints.mkdir(exist_ok=True)
    (run.checkpoints / "latest_checkpointed_iteration.txt").write_text(str(step))


def curve_of(run: RunFolder) -> list[tuple[int, str]]:
    return [(step, data["of"]) for step, data in read_metrics(run.metrics)]


def command_of(origin: Origin, folder: Path) -> list[str]:
    """The words after the interpreter's name."""
    run = RunFolder.new(folder, origin)
    command = launch_command(
        run,
        origin=origin,
        model=Path("m"),
        train=Path("t"),
        val=Path("v"),
        endpoint="http://127.0.0.1:1",
        steps=5,
        plan=plan_of(origin),
    )
    return [word.replace(str(run.path), "RUN").replace(run.path.name, "NAME") for word in command[1:]]


def test_a_resumed_run_has_every_step_once(tmp_path: Path) -> None:
    """The steps behind the checkpoint are those of the later part, also where it was killed and resumed again."""
    first = RunFolder.new(tmp_path, ORIGIN)
    write(first.live_metrics, range(8), "first", tail='{"step": 8, "da')
    checkpoint(first, 5)
    second = RunFolder.resume(tmp_path, "last", steps=20)
    assert second.resumed_at == 5
    assert second.origin == ORIGIN
    assert curve_of(second) == [(step, "first") for step in range(6)]
    write(second.live_metrics, range(5, 13), "second")
    checkpoint(second, 10)
    third = RunFolder.resume(tmp_path, first.path.name, steps=20)
    write(third.live_metrics, range(10, 21), "third")
    third.join_metrics()
    expected = [*((s, "first") for s in range(6)), *((s, "second") for s in range(6, 11))]
    assert curve_of(third) == [*expected, *((step, "third") for step in range(11, 21))]
    assert [path.name for path in first.path.glob("metrics*")] == ["metrics.jsonl"]
    assert len({first.log, second.log, third.log, first.command, second.command}) == 5


@pytest.mark.parametrize(
    ("name", "checkpointed", "message"),
    [
        ("last", None, "has no checkpoint yet"),
        ("last", 20, "at step 20 already; resume with --steps above 20"),
        ("demo-none", 5, "no such run"),
        (".", 5, "not a run of the demo"),
    ],
)
def test_what_cannot_be_resumed_says_why(
    tmp_path: Path, name: str, checkpointed: int | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing is started."""
    run = RunFolder.new(tmp_path, ORIGIN)
    if checkpointed is not None:
        checkpoint(run, checkpointed)
        write(run.metrics, range(checkpointed + 1), "first")
    with pytest.raises(ResumeError, match=message):
        RunFolder.resume(tmp_path, name, steps=20)
    console = Console(record=True, width=300)
    assert run_demo(DemoSettings(tmp_path, steps=20, resume=name), console) == 2
    assert message in console.export_text()


def test_the_recipe_comes_from_the_option_or_an_override(tmp_path: Path) -> None:
    """An override wins, and is named once in the launch command, behind which the others stand."""
    assert recipe_of((), "torl") == "torl"
    settings = DemoSettings(tmp_path, steps=5, recipe="simpletir", overrides=("+tir=torl", "tir.rollout.max_turns=2"))
    origin = settings.origin()
    assert origin == Origin("torl", 0, None, None, ("tir.rollout.max_turns=2",))
    words = command_of(origin, tmp_path)
    assert [word for word in words if word.startswith("+tir=")] == ["+tir=torl"]
    assert words[-1] == "tir.rollout.max_turns=2"


TOY_COMMAND = """-m
verl.trainer.main_ppo
+tir=simpletir
+platform=cpu
tir.prompt.template=none
tir.prompt.chat_template=True
tir.rollout.max_turn_tokens=112
tir.sandbox.endpoints=[http://127.0.0.1:1]
tir.sandbox.run_timeout=1.0
tir.filter.min_reward_std=null
tir.sandbox.isolation=best-effort
tir.dump_dir=RUN/trajectories
tir.dump_token_log_probs=True
data.train_files=t
data.val_files=v
data.train_batch_size=16
data.seed=3
data.max_prompt_length=64
data.max_response_length=112
actor_rollout_ref.model.path=m
actor_rollout_ref.actor.ppo_mini_batch_size=16
actor_rollout_ref.actor.optim.lr=0.00015
actor_rollout_ref.rollout.n=8
actor_rollout_ref.rollout.dtype=float32
actor_rollout_ref.rollout.seed=3
actor_rollout_ref.rollout.val_kwargs.temperature=0.0
actor_rollout_ref.rollout.val_kwargs.do_sample=False
trainer.logger=[console,file]
trainer.project_name=verl_tir_demo
trainer.experiment_name=NAME
trainer.total_training_steps=5
trainer.total_epochs=1000
trainer.test_freq=5
trainer.save_freq=10
trainer.max_actor_ckpt_to_keep=1
trainer.default_local_dir=RUN/checkpoints
hydra.run.dir=RUN/hydra"""


def changed(origin: Origin, folder: Path) -> dict[str, str | None]:
    """What another run's command says otherwise than the toy's; None for what it does not say."""
    toy = dict(word.split("=", 1) for word in TOY_COMMAND.split()[2:])
    other = dict(word.split("=", 1) for word in command_of(origin, folder)[2:])
    return {key: other.get(key) for key in {**toy, **other} if toy.get(key) != other.get(key)}


def test_the_toys_command_is_what_it_was(tmp_path: Path) -> None:
    """Word by word; its other recipes and given data change no more than they need."""
    assert command_of(Origin("simpletir", 3, None, None, ()), tmp_path / "a") == TOY_COMMAND.split()
    lengths = dict.fromkeys(("data.max_response_length", "tir.rollout.max_turn_tokens"), "288")
    assert changed(Origin("hermes", 3, None, None, ()), tmp_path / "b") == {"+tir": "hermes", **lengths}
    torl = {"+tir": "torl", "tir.rollout.max_tool_calls": "3"}
    assert changed(Origin("torl", 3, None, None, ()), tmp_path / "c") == torl
    lengths = dict.fromkeys(lengths, "256") | {"data.max_prompt_length": "3072"}
    assert changed(Origin("simpletir", 3, "train", None, ()), tmp_path / "d") == lengths


def test_a_real_model_has_a_command_of_its_own(tmp_path: Path) -> None:
    """The recipe's own prompt where no worked examples have its format; the precision is the platform's choice."""
    found = changed(Origin("simpletir", 3, None, None, (), "smollm2"), tmp_path / "a")
    assert found["actor_rollout_ref.rollout.temperature"] == f"{REAL.temperature}"
    assert found["actor_rollout_ref.rollout.dtype"] is None
    assert found["tir.filter.min_reward_std"] is None
    assert found["tir.filter.max_refills"] == f"{REAL.max_refills}"
    assert found["algorithm.rollout_correction.bypass_mode"] == "True"
    assert "tir.prompt.template" not in found
    other = changed(Origin("torl", 3, None, None, (), "smollm2"), tmp_path / "b")
    assert other == found | {
        "+tir": "torl",
        "tir.prompt.template": None,
        "tir.prompt.chat_template": None,
        "tir.rollout.max_tool_calls": "3",
    }
    given = changed(Origin("simpletir", 3, "train", "val", (), "smollm2"), tmp_path / "c")
    assert given["data.max_response_length"] == f"{REAL_GIVEN_DATA.max_response_length}"


@pytest.mark.parametrize(
    "origin", [Origin("simpletir", 3, None, None, ()), Origin("torl", 3, None, None, (), "smollm2")]
)
def test_every_word_of_the_command_is_a_key_of_verls(origin: Origin, tmp_path: Path) -> None:
    """It composes, and the plugin accepts what comes of it."""
    import verl  # noqa: F401 - loading its plugins puts recipe and platform on Hydra's search path

    words = command_of(origin, tmp_path)[2:]
    with initialize_config_module("verl.trainer.config", version_base=None):
        config = compose("ppo_trainer", [word for word in words if not word.startswith("hydra.")])
    assert config.data.max_prompt_length == plan_of(origin).max_prompt_length
    assert validate(config) == origin.recipe


def test_a_resumed_run_keeps_its_model(tmp_path: Path) -> None:
    """A run of before there were other models than the toy is one of the toy's."""
    settings = DemoSettings(tmp_path, steps=5, model="smollm2")
    run = RunFolder.new(tmp_path, settings.origin())
    checkpoint(run, 5)
    write(run.metrics, range(6), "first")
    assert RunFolder.resume(tmp_path, "last", steps=20).origin.model == "smollm2"
    started = run.path / "demo.json"
    started.write_text(json.dumps({k: v for k, v in json.loads(started.read_text()).items() if k != "model"}))
    assert RunFolder.resume(tmp_path, "last", steps=20).origin.model is None


def test_a_real_models_data_files(tmp_path: Path) -> None:
    """Each kind is validated in the words of training and in new ones, which the kinds' names tell apart."""
    origin = Origin("simpletir", 0, None, None, (), "smollm2")
    train, val = map(pd.read_parquet, problem_files(origin, plan_of(origin), RunFolder.new(tmp_path, origin)))
    assert len(train) == REAL.train_problems
    assert set(train.data_source) == set(KINDS)
    counts = {kind: REAL.val_problems_of_a_kind for name in KINDS for kind in (name, f"{name}, new words")}
    assert dict(val.data_source.value_counts()) == counts
    for prompt in (*train.prompt[:50], *val.prompt):
        assert tuple(prompt[:2]) == PRODUCT.messages
        assert [message["role"] for message in prompt] == ["user", "assistant"] * 2 + ["user"]


def test_worked_examples_look_as_a_rollout_does() -> None:
    """A program, its output as the recipe shows it, and the answer in a box, which is what the program prints."""
    *examples, asked = with_worked_examples([{"role": "user", "content": "One?"}], (PRODUCT, SUM))
    assert asked == {"role": "user", "content": "One?"}
    assert [message["role"] for message in examples] == ["user", "assistant"] * 2
    for message in examples[1::2]:
        text = message["content"]
        (block,) = code_blocks(text)
        with contextlib.redirect_stdout(io.StringIO()) as stdout:
            exec(block.code)
        run = ProgramRun(Outcome.SUCCESS, stdout.getvalue(), "", 0)
        shown = observe(run, resolve_observation_rule(ObservationConfig().rule), 512).text
        assert text[block.end :] == f"{shown}\\boxed{{{stdout.getvalue().strip()}}}"


def test_worked_examples_stand_before_given_problems_too(tmp_path: Path) -> None:
    """After a system message; the given file stays as it is, and a toy takes it itself."""
    given = tmp_path / "given.parquet"
    prompt = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "One?"}]
    pd.DataFrame([{"data_source": "a", "prompt": prompt}]).to_parquet(given)
    before = given.read_bytes()
    origin = Origin("simpletir", 0, str(given), str(given), (), "smollm2")
    files = problem_files(origin, plan_of(origin), RunFolder.new(tmp_path, origin))
    for file in files:
        (found,) = pd.read_parquet(file).prompt
        assert [message["role"] for message in found] == ["system", *["user", "assistant"] * 2, "user"]
        assert [dict(found[0]), dict(found[-1])] == prompt
    assert given.read_bytes() == before
    toy = Origin("simpletir", 0, str(given), str(given), ())
    assert problem_files(toy, plan_of(toy), RunFolder.new(tmp_path / "toy", toy)) == (given, given)


def test_an_unknown_recipe_is_named_before_anything_is_grown(tmp_path: Path) -> None:
    """With those that there are."""
    console = Console(record=True, width=300)
    assert run_demo(DemoSettings(tmp_path, steps=1, recipe="simpletr"), console) == 2
    assert "--recipe simpletr: there are hermes, simpletir, simpletir_long, torl" in console.export_text()
    assert not list(tmp_path.iterdir())


def logged() -> list[tuple[int, dict[str, Any]]]:
    """Two steps, with validations before and after."""
    step = {"actor/grad_norm": 1.0, "timing_s/step": 5.0, "timing_s/gen": 3.0, "timing_s/update_actor": 1.0}
    before = {
        "val-aux/sums/correct/mean@1": 0.25,
        "val-aux/units/correct/mean@1": 0.75,
        "val-core/sums/reward/mean@1": 1,
    }
    after = {"val-aux/sums/correct/mean@1": 1.0, "val-aux/units/correct/mean@1": 0.5, "timing_s/testing": 2.0}
    return [
        (0, before),
        (1, {**step, "tir/correct_ratio": 0.5, "tir/void_ratio": 0.25}),
        (2, {**step, **after, "tir/correct_ratio": 0.75, "tir/void_ratio": 0.0}),
    ]


def test_the_curve_is_read_from_metrics_and_dump(tmp_path: Path) -> None:
    """Success by kind from verl's metrics, void ratio and lenient accuracy from the dumped trajectories."""
    ends = [
        ("sums", StopReason.VOID, "It is 5.", False),
        ("sums", StopReason.ANSWER, "\\boxed{6}", False),
        ("units", StopReason.ANSWER, "\\boxed{5}", True),
        ("units", StopReason.VOID, "5 is the answer.", False),
    ]
    write_dump(
        tmp_path,
        [
            line(
                [("model", said)],
                trajectory(turn(), stop=stop),
                partition="val",
                step=0,
                data_source=kind,
                correct=right,
            )
            for kind, stop, said, right in ends
        ],
    )
    curve = read_curve(logged(), tmp_path)
    assert curve.steps == (1, 2)
    assert curve.correct == (0.5, 0.75)
    first, last = curve.validations
    assert (first.step, first.by_kind, first.success, first.void_ratio) == (0, {"sums": 0.25, "units": 0.75}, 0.5, 0.5)
    assert (first.lenient_by_kind, first.lenient) == ({"sums": 0.5, "units": 1.0}, 0.75)
    assert (last.step, last.success, last.lenient, last.void_ratio) == (2, 0.75, None, None)
    assert curve.steps_to(0.7) == 2
    assert curve.steps_to(0.9) is None


def test_success_is_shown_strict_and_lenient(tmp_path: Path) -> None:
    """Before and after, kind by kind; a dash where no trajectories were dumped."""
    write_dump(tmp_path, [line([("model", "It is 5.")], trajectory(turn()), partition="val", step=0, correct=False)])
    console = Console(record=True, width=120)
    show_curve(read_curve(logged(), tmp_path), console)
    text = console.export_text()
    assert "solved: 0.50 (1.00 lenient) at step 0, 0.75 at step 2" in text
    rows = {cells[1]: cells[2:6] for row in text.splitlines() if len(cells := [c.strip() for c in row.split("│")]) == 7}
    assert rows == {
        "sums": ["0.25", "1.00", "1.00", "-"],
        "units": ["0.75", "-", "0.50", "-"],
        "all": ["0.50", "1.00", "0.75", "-"],
        "void": ["0.00", "", "-", ""],
    }
    assert "lenient: that, or it is the last one said" in " ".join(text.split())


def test_the_seconds_are_those_of_verls_timers() -> None:
    """Nothing is counted twice: what no part covers has a row, and validations lie outside of the steps."""
    seconds = step_seconds(logged())
    assert sum(seconds.values()) == pytest.approx(12.0)
    assert seconds["rollout, with programs"] == 6.0
    assert seconds["rest of the steps"] == 2.0
    assert seconds["validations"] == 2.0


def test_a_sparkline_goes_from_low_to_high() -> None:
    """Long series are averaged into the width."""
    assert sparkline([0.0, 0.5, 1.0]) == "▁▅█"
    assert sparkline([]) == ""
    assert sparkline([index / 199 for index in range(200)], width=8) == "▁▂▃▄▅▆▇█"
