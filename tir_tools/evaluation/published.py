"""The papers' results as data, so that a table can say how far from them a run is."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tir_tools.evaluation.protocol import Protocol
from tir_tools.evaluation.results import BenchmarkResult

REGISTRY = Path(__file__).with_name("published.json")

_ALIASES = {
    "aime24": ("aime2024", "aime_24"),
    "aime25": ("aime2025", "aime_25"),
    "math500": ("math_500", "math-500"),
    "olympiad": ("olympiadbench", "olympiad_bench", "olympiad-bench"),
    "amc23": ("amc2023", "amc_23"),
    "hmmt25": ("hmmt_feb_2025", "hmmtfeb25", "hmmt_feb25", "hmmt2025"),
}
"""Other names of a benchmark, beside its own with or without punctuation."""


class RegistryError(ValueError):
    """The registry of published results is not as it should be, or has no such entry."""


@dataclass(frozen=True, slots=True)
class Published:
    """One row of a paper's table."""

    key: str
    """As `--compare` takes it."""
    name: str
    """As the paper calls it."""
    base_model: str
    paper: str
    arxiv: str
    table: str
    """Where in the paper."""
    protocol: Protocol
    metric: str
    """What the paper measured, in words."""
    results: Mapping[str, float]
    """Accuracy in percent, by benchmark."""


@dataclass(frozen=True, slots=True)
class Distance:
    """A run's accuracy beside a published one, in percent."""

    benchmark: str
    published: Published
    theirs: float
    ours: float
    low: float
    high: float

    @property
    def difference(self) -> float:
        """Ours less theirs, in percentage points."""
        return self.ours - self.theirs

    @property
    def inside(self) -> bool:
        """Whether the published number lies in our interval."""
        return self.low <= self.theirs <= self.high


def canonical_name(data_source: str) -> str | None:
    """The registry's name of a benchmark: `aime25` for `math-ai/AIME25`. None for one that it does not know."""
    name = _bare(data_source.rsplit("/", 1)[-1])
    for known, others in _ALIASES.items():
        if name in map(_bare, (known, *others)):
            return known
    return None


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


@cache
def registry() -> Mapping[str, Published]:
    """All published results, by key."""
    return parse(json.loads(REGISTRY.read_text(encoding="utf-8")))


def published(key: str) -> Published:
    """One of them.

    Raises:
        RegistryError: there is none of that key.
    """
    found = registry().get(key)
    if found is None:
        raise RegistryError(f"there is no published result {key!r}; there are: {', '.join(registry())}")
    return found


def parse(data: Any) -> dict[str, Published]:
    """Read and check the registry.

    Raises:
        RegistryError: names the entry and what is wrong with it.
    """
    found: dict[str, Published] = {}
    for entry in data:
        key = entry.get("key")
        try:
            item = Published(**{**entry, "protocol": Protocol(entry["protocol"])})
        except (KeyError, TypeError, ValueError) as error:
            raise RegistryError(f"published result {key!r}: {error}") from None
        if key in found:
            raise RegistryError(f"published result {key!r} is there twice")
        if not re.fullmatch(r"\d{4}\.\d{5}", item.arxiv):
            raise RegistryError(f"published result {key!r}: arxiv={item.arxiv!r} is not an arXiv number")
        if not item.results:
            raise RegistryError(f"published result {key!r} has no results")
        for benchmark, value in item.results.items():
            if benchmark not in _ALIASES:
                raise RegistryError(f"published result {key!r}: unknown benchmark {benchmark!r}")
            if not 0 <= value <= 100:
                raise RegistryError(f"published result {key!r}: {benchmark}={value} is not a percentage")
        found[item.key] = item
    return found


def distances(results: list[BenchmarkResult], others: list[Published]) -> list[Distance]:
    """Our accuracy beside theirs, for each benchmark that both have."""
    found = []
    for result in results:
        name, ours = canonical_name(result.name), result.accuracy
        if name is None or ours is None or ours.low is None or ours.high is None:
            continue
        found += [
            Distance(result.name, other, other.results[name], 100 * ours.value, 100 * ours.low, 100 * ours.high)
            for other in others
            if name in other.results
        ]
    return found
