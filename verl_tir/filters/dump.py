"""The trajectory dump: one JSON line per trajectory and step."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from verl_tir.filters.storage import StoredRow
from verl_tir.filters.void import Plan

EVICTED = "evicted"
"""The fate of a trajectory whose group was replaced by another."""


def write_dump(
    folder: Path,
    partition_id: str,
    step: int,
    batch: Iterable[StoredRow],
    plan: Plan,
    evicted: Iterable[StoredRow],
    reasons: Mapping[str, str],
) -> None:
    """Append to `{folder}/{partition_id}.jsonl`; `reasons` says by key why a row is not trained on."""
    fate = dict.fromkeys(plan.train, "train") | dict.fromkeys(plan.mask, "mask") | dict.fromkeys(plan.drop, "drop")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{partition_id}.jsonl").open("a", encoding="utf-8") as file:
        for row in (*batch, *evicted):
            line = {"step": step, "key": row.key, "reward": row.scored.reward, "fate": fate.get(row.key, EVICTED)}
            line["reason"] = reasons.get(row.key)
            # The state of the client that ran the programs is the step's, not the trajectory's.
            line |= {name: value for name, value in row.record.items() if name != "sandbox"}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
