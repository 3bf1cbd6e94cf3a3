"""What came out of an evaluation: votes, numbers, files and the tables that are shown."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from math_answers import ScoringPool, Verdict
from tir_tools.evaluation.folder import dumped, write_lines
from tir_tools.evaluation.problems import BenchmarkProblem
from tir_tools.evaluation.published import distances
from tir_tools.evaluation.report import EvaluationReport
from tir_tools.evaluation.request import Evaluation
from tir_tools.evaluation.results import Answered, benchmark_result
from tir_tools.evaluation.samples import Collected, Sample, sample_record
from tir_tools.evaluation.voting import votes
from tir_tools.files import write_text

_SCORERS = 2
_SECONDS, _MEMORY_MB = 5.0, 2048
"""For one comparison of two answers."""


def conclude(evaluation: Evaluation, found: Collected, console: Console) -> None:
    """Work the numbers out, write and show them."""
    request, settings = evaluation.request, evaluation.settings
    with console.status("comparing answers ..."):
        cast = asyncio.run(_votes(found, evaluation.problems))
    with console.status("drawing the intervals ..."):
        results = tuple(
            benchmark_result(
                benchmark.name,
                [
                    Answered(tuple(found.of(problem.number)), tuple(cast[problem.number]))
                    for problem in benchmark.problems
                ],
                settings.samples,
            )
            for benchmark in evaluation.benchmarks
        )
    report = EvaluationReport(settings, results, tuple(distances(results, evaluation.compared)))
    write_lines(request.folder / "samples.jsonl", _sample_lines(evaluation, found, cast))
    write_text(request.folder / "results.json", json.dumps(report.record(), indent=2, ensure_ascii=False) + "\n")
    write_text(request.folder / "results.md", report.markdown())
    _show(report, request.folder, console)


async def _votes(found: Collected, problems: Sequence[BenchmarkProblem]) -> dict[int, list[int | None]]:
    pool = ScoringPool(_SCORERS, _SECONDS, _MEMORY_MB)

    async def same(answer: str, other: str) -> bool:
        return await pool.compare(answer, other) is Verdict.CORRECT

    try:
        cast = await asyncio.gather(*(votes(found.of(problem.number), same) for problem in problems))
    finally:
        await pool.aclose()
    return {problem.number: of_problem for problem, of_problem in zip(problems, cast, strict=True)}


def _sample_lines(
    evaluation: Evaluation, found: Collected, cast: Mapping[int, Sequence[int | None]]
) -> Iterator[Mapping[str, Any]]:
    """The samples that count, in the order in which they finished: texts are too large to be held together."""
    places: dict[str, tuple[Sample, BenchmarkProblem, int, int | None]] = {}
    for problem in evaluation.problems:
        pairs = zip(found.of(problem.number), cast[problem.number], strict=True)
        for number, (sample, vote) in enumerate(pairs):
            places[sample.key] = (sample, problem, number, vote)
    for line in dumped(evaluation.request.folder):
        place = places.pop(line.key, None)
        if place is not None:
            yield sample_record(line, *place)


def _show(report: EvaluationReport, folder: Path, console: Console) -> None:
    console.print(escape(report.used()), highlight=False)
    for grid in report.grids():
        table = Table(title=grid.title, title_justify="left")
        for position, column in enumerate(grid.columns):
            table.add_column(column, justify="left" if position == 0 else "right", overflow="fold")
        for row in grid.rows:
            table.add_row(*map(escape, row))
        console.print(table)
    for note in report.notes():
        console.print(escape(note), style="yellow", highlight=False)
    console.print(f"results.md, results.json, samples.jsonl: {folder}", highlight=False)
