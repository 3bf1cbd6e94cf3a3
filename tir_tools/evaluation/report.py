"""The numbers as tables, once: the console, the Markdown file and the JSON file hold the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from math_answers import Verdict
from tir_tools.evaluation.protocol import departures
from tir_tools.evaluation.published import Distance
from tir_tools.evaluation.results import BenchmarkResult
from tir_tools.evaluation.samples import ABORTED
from tir_tools.evaluation.settings import EvalSettings
from tir_tools.evaluation.statistics import CONFIDENCE, RESAMPLES, Estimate

_NAMES = {
    "lenient": "lenient accuracy",
    "turns": "turns",
    "tool_use": "with code",
    "code_pass": "programs that passed",
    "void": "void",
    "truncated": "ended on a token budget",
    "no_answer": "without an answer",
    "response_tokens": "response tokens, mean",
    "response_tokens_p95": "response tokens, 95th percentile",
}
"""Of the measures beside these, as a reader sees them; `avg@k`, `pass@k` and `maj@k` are their own."""

_PLAIN = {"turns": 2, "response_tokens": 0, "response_tokens_p95": 0}
"""Decimals of the figures that are not shares."""

_USED = {
    "tir.recipe": "recipe",
    "tir.prompt.template": "prompt",
    "actor_rollout_ref.rollout.val_kwargs.temperature": "temperature",
    "actor_rollout_ref.rollout.val_kwargs.top_p": "top_p",
    "tir.rollout.max_turns": "turns",
    "tir.rollout.max_tool_calls": "tool calls",
    "tir.rollout.max_turn_tokens": "tokens per turn",
    "data.max_response_length": "tokens per response",
    "tir.sandbox.run_timeout": "seconds per program",
}
"""The settings that a table names."""


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of texts."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """All that is said of an evaluation."""

    settings: EvalSettings
    results: tuple[BenchmarkResult, ...]
    distances: tuple[Distance, ...]

    def grids(self) -> list[Grid]:
        """Its tables."""
        tables = [_metrics_grid(self.results)]
        return [*tables, _distance_grid(self.distances)] if self.distances else tables

    def used(self) -> str:
        """The settings in one line."""
        values = {name: self.settings.at(key) for key, name in _USED.items()}
        said = ", ".join(f"{name} {'no limit' if value is None else value}" for name, value in values.items())
        return f"{self.settings.samples} samples per problem; {said}"

    def notes(self) -> list[str]:
        """What a reader has to know: of each benchmark, and of how the run differs from those it is compared with."""
        said = [f"{result.name}: {note}" for result in self.results for note in result.notes]
        for protocol in dict.fromkeys(item.published.protocol for item in self.distances):
            other = departures(protocol, self.settings.samples, self.settings.launch)
            if other:
                said.append(f"not measured as the published results of {protocol} were: {', '.join(other)}")
        return said

    def markdown(self) -> str:
        """As a Markdown document."""
        parts = ["# Evaluation", f"Checkpoint: `{self.settings.checkpoint}`", self.used() + "."]
        for grid in self.grids():
            lines = [_row(grid.columns), _row(["---"] * len(grid.columns)), *map(_row, grid.rows)]
            parts += [f"## {grid.title}", "\n".join(lines)]
        parts.append(f"In brackets: {CONFIDENCE:.0%} intervals, {RESAMPLES:,} bootstrap draws of whole problems.")
        if self.notes():
            parts.append("\n".join(f"- {note}" for note in self.notes()))
        return "\n\n".join(parts) + "\n"

    def record(self) -> dict[str, Any]:
        """As plain data, with all digits; accuracies of papers are in percent, all other shares from 0 to 1."""
        return {
            "settings": asdict(self.settings),
            "confidence": CONFIDENCE,
            "bootstrap_draws": RESAMPLES,
            "benchmarks": [asdict(result) for result in self.results],
            "compared": [
                {
                    "benchmark": item.benchmark,
                    "published": item.published.key,
                    "arxiv": item.published.arxiv,
                    "table": item.published.table,
                    "theirs": item.theirs,
                    "ours": item.ours,
                    "difference": item.difference,
                    "inside_interval": item.inside,
                }
                for item in self.distances
            ],
        }


def _metrics_grid(results: Sequence[BenchmarkResult]) -> Grid:
    found = dict.fromkeys(name for result in results for name in result.metrics)
    names = [*(name for name in found if name not in _NAMES), *(name for name in _NAMES if name in found)]
    rows = [("problems", *(str(result.problems) for result in results))]
    rows += [(_NAMES.get(name, name), *(_cell(name, result.metrics) for result in results)) for name in names]
    for status in (Verdict.UNDECIDED, ABORTED):
        rows.append((f"{status}, in no number", *(str(result.counts[status]) for result in results)))
    if any(result.missing for result in results):
        rows.append(("missing, in no number", *(str(result.missing) for result in results)))
    return Grid("Results", ("", *(result.name for result in results)), tuple(rows))


def _distance_grid(distances: Sequence[Distance]) -> Grid:
    rows = [
        (
            item.benchmark,
            f"{item.published.name} (arXiv {item.published.arxiv})",
            f"{item.ours:.1f} [{item.low:.1f}, {item.high:.1f}]",
            f"{item.theirs:.1f}",
            f"{item.difference:+.1f}",
            "yes" if item.inside else "no",
        )
        for item in distances
    ]
    columns = ("benchmark", "published", "this run, %", "theirs, %", "difference", "inside the interval")
    return Grid("Beside published results", columns, tuple(rows))


def _cell(name: str, metrics: Mapping[str, Estimate]) -> str:
    if name not in metrics:
        return "-"
    estimate, decimals = metrics[name], _PLAIN.get(name)
    values = [estimate.value, estimate.low, estimate.high]
    shown = [
        "" if value is None else f"{value:,.{decimals}f}" if decimals is not None else f"{100 * value:.1f}"
        for value in values
    ]
    unit = "" if decimals is not None else "%"
    return f"{shown[0]}{unit}" if estimate.low is None else f"{shown[0]}{unit} [{shown[1]}, {shown[2]}]"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
