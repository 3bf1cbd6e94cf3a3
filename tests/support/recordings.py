"""Reading what `recording/tir_recorder.py` wrote: the engine's calls behind a response, the rows behind an update."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


def model_runs(mask: list[int]) -> list[tuple[int, int]]:
    """Half-open spans of the tokens with mask 1."""
    spans, position = [], 0
    for value, group in itertools.groupby(mask):
        length = len(list(group))
        if value:
            spans.append((position, position + length))
        position += length
    return spans


class EngineCalls:
    """All calls of the engine, by the ids that they continued."""

    def __init__(self, sampled: Iterable[dict[str, Any]]) -> None:
        self._by_context: dict[tuple[int, ...], list[dict[str, Any]]] = defaultdict(list)
        for call in sampled:
            self._by_context[tuple(call["context"])].append(call)

    def behind(self, item: dict[str, Any]) -> list[list[dict[str, Any]]]:
        """The calls that returned the model tokens of a rolled-out trajectory, piece by piece.

        Every piece is, id by id and log-probability by log-probability, what stands in the response; several calls may
        have returned the same. Raises AssertionError where no call did.
        """
        pieces = []
        for start, end in model_runs(item["mask"]):
            position = start
            while position < end:
                context = tuple(item["prompt"] + item["response"][:position])
                calls = [
                    call for call in self._by_context[context] if call["ids"] and _returned(call, item, position, end)
                ]
                assert calls, "no engine call returned these ids here"
                # A shorter one was cut off in a trajectory that began alike.
                length = max(min(len(call["ids"]), end - position) for call in calls)
                pieces.append([call for call in calls if len(call["ids"]) >= length])
                position += length
        return pieces


def _returned(call: dict[str, Any], item: dict[str, Any], start: int, end: int) -> bool:
    """Whether `call` returned what stands in the response from `start` on, as far as it was kept."""
    stop = min(end, start + len(call["ids"]))
    kept = slice(start, stop)
    return (
        item["response"][kept] == call["ids"][: stop - start]
        and item["log_probs"][kept] == call["log_probs"][: stop - start]
    )


def rows_of(batch: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a trained micro-batch, one by one."""
    return [
        {name: values[i] for name, values in batch.items() if name != "loss"} for i in range(len(batch["input_ids"]))
    ]


@dataclass(frozen=True)
class Update:
    """One optimiser step, on all ranks."""

    ranks: list[list[dict[str, Any]]]
    """The rows that each rank trained on."""
    grad_norms: list[float]
    """As each rank saw it."""

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [row for rank in self.ranks for row in rank]


def updates(folder: Path) -> list[Update]:
    """The optimiser steps of a run, in order; every rank is a process with events in its own order."""
    events: dict[str, dict[int, tuple[str, Path]]] = defaultdict(dict)
    for path in folder.glob("*.json"):
        kind, process, number = path.stem.split("-")
        if kind in ("trained", "updated"):
            events[process][int(number)] = (kind, path)
    ranks = [list(_steps(found)) for _, found in sorted(events.items())]
    return [
        Update([rows for rows, _ in parts], [norm for _, norm in parts])
        # A run that was killed may have been so between two ranks.
        for parts in zip(*ranks, strict=False)
    ]


def _steps(events: dict[int, tuple[str, Path]]) -> Iterable[tuple[list[dict[str, Any]], float]]:
    rows: list[dict[str, Any]] = []
    for _, (kind, path) in sorted(events.items()):
        event = json.loads(path.read_text())
        if kind == "trained":
            rows += rows_of(event)
        else:
            yield rows, event["grad_norm"]
            rows = []
