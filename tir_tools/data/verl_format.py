"""verl's parquet format, always with the same columns, so that verl can put several files together.

Their types are the same too, but for ground truths: where a problem has several accepted answers, those of its whole
file are lists.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tir_tools.data.problem import Problem
from tir_tools.files import replacing


def schema(*, lists: bool) -> pa.Schema:
    """The columns; ground truths are text, or lists of accepted texts in every row."""
    return pa.schema(
        {
            "data_source": pa.string(),
            "prompt": pa.list_(pa.struct({"content": pa.string(), "role": pa.string()})),
            "ability": pa.string(),
            "reward_model": pa.struct(
                {"ground_truth": pa.list_(pa.string()) if lists else pa.string(), "style": pa.string()}
            ),
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


SCHEMA = schema(lists=False)


def verl_row(problem: Problem, index: int, split: str, *, lists: bool) -> dict[str, Any]:
    """A problem as a row; `index` is its position in the file."""
    return {
        "data_source": problem.data_source,
        "prompt": [{"role": "user", "content": problem.question}],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": list(problem.answers) if lists else problem.answers[0]},
        "extra_info": {
            "id": problem.id,
            "index": index,
            "level": problem.level,
            "split": split,
            "subject": problem.subject,
        },
    }


def needs_lists(problems: Iterable[Problem]) -> bool:
    """Whether any of them has several accepted answers, for which text has no place."""
    return any(len(problem.answers) > 1 for problem in problems)


def write_problems(problems: Sequence[Problem], split: str, path: Path, *, lists: bool = False) -> None:
    """Write problems to a file; the same problems give the same bytes, with one version of pyarrow.

    Args:
        problems: each with a ground truth.
        split: `extra_info.split` of all rows.
        path: of the file.
        lists: whether ground truths are lists where text would do; a column has one type in all rows.
    """
    lists = lists or needs_lists(problems)
    rows = [verl_row(problem, index, split, lists=lists) for index, problem in enumerate(problems)]
    write_table(pa.Table.from_pylist(rows, schema=schema(lists=lists)), path)


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table in such a way that what stands at `path` is always whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as new:
        pq.write_table(table, new, compression="zstd")
