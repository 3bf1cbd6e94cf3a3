"""verl's parquet format, always with the same columns and types, so that verl can put several files together."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from verl_tir.data.problem import Problem

SCHEMA = pa.schema(
    {
        "data_source": pa.string(),
        "prompt": pa.list_(pa.struct({"content": pa.string(), "role": pa.string()})),
        "ability": pa.string(),
        "reward_model": pa.struct({"ground_truth": pa.string(), "style": pa.string()}),
        "extra_info": pa.struct(
            {
                "id": pa.string(),
                "index": pa.int64(),
                "level": pa.int64(),
                "split": pa.string(),
                "subject": pa.string(),
            }
        ),
    }
)


def verl_row(problem: Problem, index: int, split: str) -> dict[str, Any]:
    """A problem as a row; `index` is its position in the file."""
    return {
        "data_source": problem.data_source,
        "prompt": [{"role": "user", "content": problem.question}],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": problem.answer},
        "extra_info": {
            "id": problem.id,
            "index": index,
            "level": problem.level,
            "split": split,
            "subject": problem.subject,
        },
    }


def write_problems(problems: Iterable[Problem], split: str, path: Path) -> None:
    """Write problems to a file; the same problems give the same bytes, with one version of pyarrow."""
    rows = [verl_row(problem, index, split) for index, problem in enumerate(problems)]
    write_table(pa.Table.from_pylist(rows, schema=SCHEMA), path)


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table in such a way that what stands at `path` is always whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    pq.write_table(table, partial, compression="zstd")
    partial.replace(path)
