"""Benchmarks as they are read from files in verl's parquet format, each row checked before anything is started."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from math_answers import accepted_answers

_COLUMNS = ("data_source", "prompt", "reward_model")
_PREPARE = "`verl-tir data prepare` writes such files"


class BenchmarkError(ValueError):
    """A benchmark file cannot be evaluated; the message names the file, the row and the fix."""


@dataclass(frozen=True, slots=True)
class BenchmarkProblem:
    """One row of a benchmark file."""

    number: int
    """Its place among all problems of the evaluation; what verl knows it by."""
    benchmark: str
    """The row's `data_source`."""
    id: str
    """`extra_info.id`, else `extra_info.index`, else the row's place in its file; unique in the benchmark."""
    row: Mapping[str, Any]
    """What verl reads of it: `data_source`, `prompt`, `reward_model`, `extra_info`."""

    @property
    def ground_truth(self) -> Any:
        return self.row["reward_model"]["ground_truth"]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """The problems that share a `data_source`."""

    name: str
    file: str
    """The file's name, without its folder."""
    sha256: str
    """Of the file."""
    problems: tuple[BenchmarkProblem, ...]


def read_benchmarks(files: Sequence[Path]) -> tuple[Benchmark, ...]:
    """The benchmarks of the files, in their order; a file may hold several, and a benchmark is in one file.

    Raises:
        BenchmarkError: a file is not a parquet file in verl's format, or a problem or benchmark is there twice.
    """
    found: dict[str, Benchmark] = {}
    number = 0
    for file in files:
        groups: dict[str, list[BenchmarkProblem]] = {}
        for place, row in enumerate(_rows(file)):
            problem = _problem(file, place, row, number)
            groups.setdefault(problem.benchmark, []).append(problem)
            number += 1
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        for name, problems in groups.items():
            if name in found:
                raise BenchmarkError(
                    f"{file}: benchmark {name!r} (column data_source) is in {found[name].file} too; put its problems "
                    "into one file, or name one of the files"
                )
            _check_ids(file, problems)
            found[name] = Benchmark(name, file.name, sha256, tuple(problems))
    return tuple(found.values())


def validation_table(counts: Mapping[int, int], problems: Sequence[BenchmarkProblem]) -> pa.Table:
    """What verl validates on: a row per problem, with the number of samples that it is to take of it.

    Args:
        counts: samples to take, by the number of the problem; those that are not in it are left out.
        problems: all problems of the evaluation.

    Raises:
        BenchmarkError: the files' columns do not go into one table.
    """
    asked = [problem for problem in problems if problem.number in counts]
    # A column has one type: where any ground truth is a list of accepted answers, all are.
    lists = any(isinstance(problem.ground_truth, list) for problem in asked)
    rows = [
        {
            **problem.row,
            "reward_model": _with_list(problem.row["reward_model"]) if lists else problem.row["reward_model"],
            "extra_info": {**problem.row["extra_info"], "index": problem.number},
            # verl's own column for a row's number of samples.
            "__rollout_n__": counts[problem.number],
        }
        for problem in asked
    ]
    try:
        return pa.Table.from_pylist(rows)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise BenchmarkError(
            f"the files' columns differ in type, so that verl cannot read them together: {error}; evaluate them one by "
            "one, each with an --output of its own"
        ) from None


def _with_list(reward_model: Mapping[str, Any]) -> dict[str, Any]:
    truth = reward_model["ground_truth"]
    return {**reward_model, "ground_truth": truth if isinstance(truth, list) else [truth]}


def _rows(file: Path) -> list[dict[str, Any]]:
    if not file.is_file():
        raise BenchmarkError(f"{file}: there is no such file; {_PREPARE}")
    try:
        table = pq.read_table(file)
    except (pa.ArrowInvalid, OSError) as error:
        raise BenchmarkError(f"{file}: is not a parquet file ({error}); {_PREPARE}") from None
    missing = [name for name in _COLUMNS if name not in table.column_names]
    if missing:
        raise BenchmarkError(
            f"{file}: column {', '.join(missing)} is missing, of those that verl reads; there are: "
            f"{', '.join(table.column_names)}. {_PREPARE}"
        )
    if not table.num_rows:
        raise BenchmarkError(f"{file}: holds no problem")
    return table.to_pylist()


def _problem(file: Path, place: int, row: Mapping[str, Any], number: int) -> BenchmarkProblem:
    where = f"{file}, row {place}"
    source, prompt, reward_model = (row[name] for name in _COLUMNS)
    if not isinstance(source, str) or not source:
        raise BenchmarkError(f"{where}: data_source={source!r:.200} must be the benchmark's name")
    is_chat = isinstance(prompt, list) and prompt and all(isinstance(message, Mapping) for message in prompt)
    if not is_chat or not all(isinstance(message.get("content"), str) for message in prompt):
        raise BenchmarkError(f"{where}: prompt={prompt!r:.200} must be a list of messages with role and content")
    truth = reward_model.get("ground_truth") if isinstance(reward_model, Mapping) else None
    if truth is None or truth in ("", []):
        raise BenchmarkError(
            f"{where}: reward_model={reward_model!r:.200} has no ground_truth, so that nothing can be scored"
        )
    try:
        accepted_answers(truth, where)
    except TypeError as error:
        raise BenchmarkError(str(error)) from None
    extra = row.get("extra_info") or {}
    if not isinstance(extra, Mapping):
        raise BenchmarkError(f"{where}: extra_info={extra!r:.200} must be a structure of named fields")
    chosen = next((extra[name] for name in ("id", "index") if extra.get(name) is not None), place)
    read = {"data_source": source, "prompt": prompt, "reward_model": reward_model, "extra_info": dict(extra)}
    return BenchmarkProblem(number, source, str(chosen), read)


def _check_ids(file: Path, problems: Sequence[BenchmarkProblem]) -> None:
    first: dict[str, BenchmarkProblem] = {}
    start = problems[0].number
    for problem in problems:
        other = first.setdefault(problem.id, problem)
        if other is not problem:
            raise BenchmarkError(
                f"{file}: rows {other.number - start} and {problem.number - start} of benchmark {problem.benchmark!r} "
                f"have the same extra_info.id or .index {problem.id!r}; each problem needs its own"
            )
