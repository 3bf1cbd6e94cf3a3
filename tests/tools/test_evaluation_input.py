"""What an evaluation is given: each thing that can be wrong is named, with the way out, before anything starts."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas
import pytest

from tir_tools.evaluation.checkpoint import CheckpointError, CheckpointKind, context_problem, find_checkpoint
from tir_tools.evaluation.command import OverrideError, check_overrides, eval_overrides, quoted, recipe_for
from tir_tools.evaluation.cost import Attempt, cost_of, read_attempts, write_attempt
from tir_tools.evaluation.problems import BenchmarkError, read_benchmarks, validation_table
from tir_tools.evaluation.protocol import PRESETS, Protocol
from tir_tools.evaluation.settings import SettingsError, check_same, settings_of, write_settings


def row(index: int, source: str = "a", **change: Any) -> dict[str, Any]:
    """A row in verl's format."""
    return {
        "data_source": source,
        "prompt": [{"role": "user", "content": f"{index}?"}],
        "reward_model": {"style": "rule", "ground_truth": str(index)},
        "extra_info": {"index": index, "split": "test"},
        **change,
    }


def parquet(folder: Path, rows: list[dict[str, Any]], name: str = "f.parquet") -> Path:
    pandas.DataFrame(rows).to_parquet(folder / name)
    return folder / name


def test_benchmarks_are_the_data_sources_of_the_files(tmp_path: Path) -> None:
    """In the order of the files; a file may hold several, and numbers go through all."""
    first = parquet(tmp_path, [row(0), row(0, "b"), row(1)], "1.parquet")
    second = parquet(tmp_path, [row(5, "c")], "2.parquet")
    found = read_benchmarks([first, second])
    assert [(item.name, item.file, len(item.problems)) for item in found] == [
        ("a", "1.parquet", 2),
        ("b", "1.parquet", 1),
        ("c", "2.parquet", 1),
    ]
    assert [[problem.number for problem in item.problems] for item in found] == [[0, 2], [1], [3]]
    assert found[0].sha256 == found[1].sha256 != found[2].sha256


def test_a_problem_goes_by_its_id(tmp_path: Path) -> None:
    """`id` before `index` before its place."""
    rows = [row(3, extra_info={"id": "x", "index": 7}), row(3, extra_info={"id": None, "index": 8})]
    (found,) = read_benchmarks([parquet(tmp_path, rows)])
    assert [problem.id for problem in found.problems] == ["x", "8"]
    without = [{key: value for key, value in row(3).items() if key != "extra_info"} for _ in range(2)]
    (found,) = read_benchmarks([parquet(tmp_path, without)])
    assert [problem.id for problem in found.problems] == ["0", "1"]


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([row(0), row(0)], r"rows 0 and 1 of benchmark 'a' have the same extra_info\.id or \.index '0'"),
        ([row(0), row(1, reward_model={"ground_truth": None})], r"row 1: reward_model=.* has no ground_truth"),
        ([row(0, reward_model={"ground_truth": ""})], r"row 0: .*no ground_truth"),
        ([row(0, reward_model={"ground_truth": [1.0, float("nan")]})], r"row 0 must be text, a number, or a non-empty"),
        ([row(0), row(1, prompt=[])], r"row 1: prompt=\[\] must be a list of messages"),
        ([row(0, prompt="2+2?")], r"row 0: prompt='2\+2\?' must be"),
        ([row(0, data_source="")], r"row 0: data_source='' must be the benchmark's name"),
        ([{"question": "2+2?"}], r"column data_source, prompt, reward_model is missing.*there are: question"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, rows: list[dict[str, Any]], complaint: str) -> None:
    """With the file, the row and what it should be."""
    file = parquet(tmp_path, rows)
    with pytest.raises(BenchmarkError, match=f"{re.escape(str(file))}.*{complaint}"):
        read_benchmarks([file])


def test_a_wrong_file_is_named(tmp_path: Path) -> None:
    """One that is missing, one that is no parquet, one that is empty, and a benchmark that is there twice."""
    text = tmp_path / "f.jsonl"
    text.write_text("{}\n")
    for file, complaint in ((tmp_path / "no.parquet", "there is no such file"), (text, "is not a parquet file")):
        with pytest.raises(BenchmarkError, match=complaint):
            read_benchmarks([file])
    pandas.DataFrame([row(0)]).iloc[:0].to_parquet(tmp_path / "empty.parquet")
    with pytest.raises(BenchmarkError, match="holds no problem"):
        read_benchmarks([tmp_path / "empty.parquet"])
    one, other = parquet(tmp_path, [row(0)], "1.parquet"), parquet(tmp_path, [row(1)], "2.parquet")
    with pytest.raises(BenchmarkError, match=r"benchmark 'a' \(column data_source\) is in 1\.parquet too"):
        read_benchmarks([one, other])


def test_verl_gets_what_is_missing_and_nothing_else(tmp_path: Path) -> None:
    """A row per problem with samples to take, known by its number, and with its own number of samples."""
    (found,) = read_benchmarks([parquet(tmp_path, [row(index + 10) for index in range(3)])])
    rows = validation_table({0: 2, 2: 1}, found.problems).to_pylist()
    assert [(item["extra_info"]["index"], item["__rollout_n__"]) for item in rows] == [(0, 2), (2, 1)]
    assert [item["reward_model"]["ground_truth"] for item in rows] == ["10", "12"]
    assert rows[0]["extra_info"]["split"] == "test"


def test_lists_of_accepted_answers_go_with_single_ones(tmp_path: Path) -> None:
    """A file with several accepted answers is evaluated together with others: verl gets lists of all."""
    one = parquet(tmp_path, [row(0)], "1.parquet")
    other = parquet(tmp_path, [row(0, "b", reward_model={"style": "rule", "ground_truth": ["1", "2"]})], "2.parquet")
    problems = [problem for item in read_benchmarks([one, other]) for problem in item.problems]
    rows = validation_table({0: 1, 1: 1}, problems).to_pylist()
    assert [item["reward_model"] for item in rows] == [
        {"style": "rule", "ground_truth": ["0"]},
        {"style": "rule", "ground_truth": ["1", "2"]},
    ]
    assert problems[0].ground_truth == "0"


def test_files_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    """verl reads them as one table."""
    one = parquet(tmp_path, [row(0, extra_info={"level": 5})], "1.parquet")
    other = parquet(tmp_path, [row(0, "b", extra_info={"level": "five"})], "2.parquet")
    problems = [problem for item in read_benchmarks([one, other]) for problem in item.problems]
    with pytest.raises(BenchmarkError, match=r"columns differ in type.*one by one"):
        validation_table({0: 1, 1: 1}, problems)


def shards(folder: Path, world: int = 2) -> Path:
    """An FSDP checkpoint by its file names."""
    (folder / "huggingface").mkdir(parents=True)
    (folder / "huggingface" / "config.json").write_text("{}")
    (folder / "fsdp_config.json").write_text(json.dumps({"FSDP_version": 2, "world_size": world}))
    for rank in range(world):
        (folder / f"model_world_size_{world}_rank_{rank}.pt").write_bytes(b"weights")
    return folder


def test_checkpoints_of_every_kind_are_found(tmp_path: Path) -> None:
    """A model's folder, a step of verl's with shards or with saved weights, and a name on the hub."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(b"weights")
    step = tmp_path / "global_step_5"
    shards(step / "actor")
    assert find_checkpoint(str(model)).kind is CheckpointKind.FOLDER
    for name in (step, step / "actor"):
        found = find_checkpoint(str(name))
        assert (found.kind, found.location) == (CheckpointKind.SHARDS, str(step / "actor"))
    (step / "actor" / "huggingface" / "model.safetensors").write_bytes(b"weights")
    found = find_checkpoint(str(step))
    assert (found.kind, found.location) == (CheckpointKind.FOLDER, str(step / "actor" / "huggingface"))
    assert find_checkpoint("Qwen/Qwen2.5-7B").kind is CheckpointKind.HUB


def test_other_weights_have_another_fingerprint(tmp_path: Path) -> None:
    """Also where only their last bytes differ."""
    folder = shards(tmp_path)
    before = find_checkpoint(str(folder)).fingerprint
    assert find_checkpoint(str(folder)).fingerprint == before
    (folder / "model_world_size_2_rank_1.pt").write_bytes(b"weightz")
    assert find_checkpoint(str(folder)).fingerprint != before


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({}, "neither config.json and weights, nor FSDP shards"),
        ({"config.json": "{}"}, "no weights"),
        ({"adapter_config.json": "{}"}, "LoRA adapter"),
        (
            {"global_step_9/actor/x": "", "global_step_10/actor/x": ""},
            "2 steps; name one, the last is .*global_step_10",
        ),
        ({"actor/dist_ckpt/x": ""}, "Megatron's; merge it"),
        ({"model_world_size_1_rank_0.pt": ""}, "no fsdp_config.json"),
        ({"fsdp_config.json": "{}"}, "names no world_size"),
        ({"fsdp_config.json": '{"world_size": 2}', "model_world_size_2_rank_0.pt": ""}, "1 of 2 shards .*rank_1.pt"),
        ({"fsdp_config.json": '{"world_size": 1}', "model_world_size_1_rank_0.pt": ""}, "no config.json, which the"),
    ],
)
def test_what_is_no_checkpoint_is_said_to_be(tmp_path: Path, files: dict[str, str], complaint: str) -> None:
    """What it is instead, and what to name."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    with pytest.raises(CheckpointError, match=complaint):
        find_checkpoint(str(tmp_path))


@pytest.mark.parametrize("name", ["./no/such", "runs/global_step_3", "a/b/c", "model.safetensors", "+tir=simpletir"])
def test_a_path_that_is_missing_is_no_name_on_the_hub(name: str) -> None:
    """A typing error must not go to the network."""
    with pytest.raises(CheckpointError, match="no such folder"):
        find_checkpoint(name)


@pytest.mark.parametrize(
    ("config", "fits"),
    [
        ({"max_position_embeddings": 1024}, True),
        ({"max_position_embeddings": 1023}, False),
        ({"max_position_embeddings": 1000, "rope_parameters": {"rope_type": "default"}}, False),
        ({"max_position_embeddings": 1000, "rope_scaling": {"type": "yarn", "factor": 4.0}}, True),
        ({"max_position_embeddings": 1000, "rope_parameters": {"rope_type": "yarn"}}, True),
        ({}, True),
    ],
)
def test_lengths_beyond_the_models_context_are_refused(tmp_path: Path, config: dict[str, Any], fits: bool) -> None:
    """In a second, and not by the engine after minutes; a stretched context is left to the engine."""
    (tmp_path / "config.json").write_text(json.dumps(config))
    problem = context_problem(tmp_path / "config.json", 24, 1000)
    assert (problem is None) == fits
    assert fits or "data.max_response_length=" in problem


@pytest.mark.parametrize(
    ("word", "complaint"),
    [
        ("--sample", "neither an option"),
        ("2", "neither an option"),
        ("data.val_files=x", "--data sets data.val_files"),
        ("+tir.dump_dir=x", "--output sets"),
        ("actor_rollout_ref.rollout.val_kwargs.n=4", "--samples sets"),
    ],
)
def test_what_is_no_override_or_ours_is_refused(word: str, complaint: str) -> None:
    """A mistyped option would else reach Hydra, and a key of ours would undo the evaluation."""
    with pytest.raises(OverrideError, match=complaint):
        check_overrides(["+platform=cpu", "~data.seed=1", word])


def test_the_recipe_is_chosen_once() -> None:
    """By option, by override, or by the protocol."""
    preset = PRESETS[Protocol.TORL]
    assert recipe_for(preset, None, []) == "torl"
    assert recipe_for(preset, "hermes", []) == recipe_for(preset, None, ["+tir=hermes"]) == "hermes"
    with pytest.raises(OverrideError, match="name one recipe"):
        recipe_for(preset, "hermes", ["+tir=torl"])


def test_the_users_overrides_come_last_and_paths_stay_whole(tmp_path: Path) -> None:
    """So that they win, and a space or an equals sign in a path is part of it."""
    words = eval_overrides(
        preset=PRESETS[Protocol.SIMPLETIR],
        recipe="hermes",
        samples=32,
        seed=1000,
        model="m",
        problems=tmp_path / "it's a=b",
        folder=tmp_path,
        overrides=("+tir=hermes", "tir.rollout.max_turns=3"),
    )
    assert words.count("+tir=hermes") == 1
    assert words[-1] == "tir.rollout.max_turns=3"
    assert f"data.val_files='{tmp_path}/it\\'s a=b'" in words
    assert quoted("a\\b") == "'a\\\\b'"
    assert "data.val_batch_size=128" in words


LAUNCH = {"tir": {"recipe": "simpletir", "rollout": {"max_turns": 10}}, "data": {"max_response_length": 8}}


def test_an_evaluation_goes_on_under_its_own_settings_only(tmp_path: Path) -> None:
    """What differs is named with both values; machines may change, and more samples may be asked for."""
    checkpoint = find_checkpoint(str(shards(tmp_path / "c")))
    benchmarks = read_benchmarks([parquet(tmp_path, [row(0), row(0, "b")])])
    begun = settings_of(checkpoint, benchmarks, 4, LAUNCH | {"trainer": {"nnodes": 1}})
    check_same(tmp_path, begun)
    write_settings(tmp_path, begun)
    check_same(tmp_path, settings_of(checkpoint, benchmarks, 8, LAUNCH | {"trainer": {"nnodes": 2}}))
    other = {**LAUNCH, "tir": {"recipe": "simpletir", "rollout": {"max_turns": 5}}}
    for now, complaint in (
        (settings_of(checkpoint, benchmarks, 4, other), "tir.rollout.max_turns: 10 there, 5 now"),
        (settings_of(checkpoint, benchmarks, 2, LAUNCH), "samples: 4 there, 2 now"),
        (settings_of(replace(checkpoint, fingerprint="x"), benchmarks, 4, LAUNCH), "checkpoint: .* with other weights"),
        (settings_of(checkpoint, benchmarks[:1], 4, LAUNCH), "benchmarks: a, b there, a now"),
        (settings_of(checkpoint, benchmarks[::-1], 4, LAUNCH), "benchmarks: a, b there, b, a now"),
        (
            settings_of(checkpoint, (replace(benchmarks[0], sha256="x"), benchmarks[1]), 4, LAUNCH),
            "benchmark a: its file has changed",
        ),
    ):
        with pytest.raises(SettingsError, match=complaint):
            check_same(tmp_path, now)
    (tmp_path / "settings.json").write_text('{"version": 0}')
    with pytest.raises(SettingsError, match="another version"):
        check_same(tmp_path, begun)


@pytest.mark.parametrize(("turns", "calls", "bound"), [(10, None, 50), (None, 1, 5), (3, 2, 10), (None, None, None)])
def test_the_cost_is_bounded_before_the_start(turns: int | None, calls: int | None, bound: int | None) -> None:
    """Trajectories, tokens and calls that are left; how long is known only after an attempt."""
    cost = cost_of({0: 2, 3: 3}, 7, max_response_tokens=100, max_turns=turns, max_tool_calls=calls, attempts=[])
    assert (cost.problems, cost.trajectories, cost.done, cost.tokens) == (2, 5, 7, 500)
    assert (cost.calls, cost.seconds) == (bound, None)


def test_the_time_is_estimated_from_the_last_attempt(tmp_path: Path) -> None:
    """Its start-up once more, and its rate: 20 trajectories in 10 s after 60 s. One that took none tells nothing."""
    for attempt in (Attempt(1, 5, 9.0, 10.0), Attempt(2, 20, 60.0, 70.0), Attempt(3, 0, 0.0, 0.0)):
        write_attempt(tmp_path, attempt)
    cost = cost_of({0: 8}, 0, max_response_tokens=1, max_turns=1, max_tool_calls=1, attempts=read_attempts(tmp_path))
    assert cost.seconds == 64.0
