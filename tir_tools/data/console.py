"""What `verl-tir data` prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from math_answers import ScoringError
from tir_tools.data import progress as progress_type
from tir_tools.data.describe import Description, kind_of
from tir_tools.data.errors import DataError
from tir_tools.data.manifest import manifest_path
from tir_tools.data.prepare import PreparedFile
from tir_tools.data.problem import Problem, Role
from tir_tools.data.rules import Rule
from tir_tools.data.select import SelectedFile
from tir_tools.data.sources import SOURCES

_BAR = 40
_EXCERPT = 300


@contextmanager
def reported_errors() -> Iterator[None]:
    """Wrong data, and a scorer that does not come up, end the command with the message and exit code 1."""
    try:
        yield
    except (DataError, ScoringError) as error:
        Console(stderr=True).print(f"[red]error:[/] {escape(str(error))}", soft_wrap=True, highlight=False)
        raise typer.Exit(1) from error


@contextmanager
def progress_bars() -> Iterator[progress_type.Progress]:
    """A bar for each stage, on stderr, while it lasts."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def show(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield show


def print_sources(console: Console) -> None:
    """The known data sets."""
    table = Table("name", "data set", "role", "rows")
    table.columns[3].justify = "right"
    table.add_column("on the hub", overflow="fold")
    for source in SOURCES:
        table.add_row(source.name, source.title, source.role, f"{source.expected:,}", source.repository)
    console.print(table)


def print_prepared(outcome: PreparedFile, console: Console) -> None:
    """How many rows each rule found, and what was written."""
    benchmark = outcome.settings.role is Role.BENCHMARK
    counts = Counter(finding.rule for finding in outcome.prepared.findings)
    table = Table(title=escape(outcome.title), title_justify="left")
    table.add_column("found, and kept" if benchmark else "dropped")
    table.add_column("rows", justify="right")
    table.add_column("for example", overflow="fold")
    if outcome.reading.bad_rows:
        table.add_row("bad_row", f"{len(outcome.reading.bad_rows):,}", escape(outcome.reading.bad_rows[0].reason))
    for rule in Rule:
        if counts[rule]:
            first = next(finding for finding in outcome.prepared.findings if finding.rule is rule)
            table.add_row(rule, f"{counts[rule]:,}", escape(f"row {first.problem.row}: {first.detail}"))
    table.add_section()
    table.add_row("rows read", f"{outcome.reading.rows:,}", "")
    table.add_row("rows kept", f"{len(outcome.prepared.kept):,}", "")
    for remark, rows in outcome.reading.noted.items():
        sign = "look at" if remark.is_warning else "mended"
        table.add_row(f"{sign}: {remark}", f"{len(rows):,}", escape(f"row {rows[0].row}: {rows[0].detail}"))
    console.print(table)
    if not outcome.held_out and not benchmark:
        console.print("compared with no benchmark; name prepared ones with --against FILE")
    if outcome.output is None:
        console.print("dry run: nothing was written")
    else:
        console.print(
            f"{outcome.output} and {manifest_path(outcome.output).name}", markup=False, highlight=False, soft_wrap=True
        )


def print_selected(outcome: SelectedFile, console: Console) -> None:
    """Counts, and bins or the mean curve."""
    table = Table("", "problems")
    table.columns[1].justify = "right"
    for name, count in outcome.figures["counts"].items():
        table.add_row(name.replace("_", " "), f"{count:,}")
    table.add_row("with a rate, not in the data", f"{outcome.unknown:,}")
    console.print(table)
    if bins := outcome.figures.get("bins"):
        pairs = zip(bins["taken"], bins["available"], strict=True)
        console.print("by difficulty, hardest first: " + ", ".join(f"{taken} of {there}" for taken, there in pairs))
    if curve := outcome.figures.get("mean_curve"):
        console.print("mean success rate by epoch: " + ", ".join(f"{rate:.3f}" for rate in curve))
    if outcome.output is None:
        console.print("dry run: nothing was written")
    else:
        console.print(
            f"{outcome.output} and {manifest_path(outcome.output).name}", markup=False, highlight=False, soft_wrap=True
        )


def print_description(description: Description, console: Console) -> None:
    """Counts, lengths with a histogram, and the sample."""
    console.print(f"{description.rows:,} rows, {description.duplicates:,} of them repeat a question")
    for title, counts in (
        ("source", description.sources),
        ("level", description.levels),
        ("subject", description.subjects),
        ("ground truth", description.answer_kinds),
    ):
        if counts.keys() != {None}:
            console.print(f"{title}: " + ", ".join(_counted(counts)), highlight=False)
    for warning, title in ((False, "mended by prepare"), (True, "to be looked at")):
        if counts := {remark: count for remark, count in description.noted.items() if remark.is_warning is warning}:
            console.print(f"{title}: " + ", ".join(_counted(counts)), highlight=False)
    lengths = description.lengths
    shares = ", ".join(f"p{share} {value:,}" for share, value in lengths.percentiles.items() if 0 < share < 100)
    ends = f"from {lengths.percentiles[0]:,} to {lengths.percentiles[100]:,}"
    console.print(
        f"question length in {lengths.unit}: mean {lengths.mean:,.0f}, {shares}, {ends}",
        highlight=False,
        soft_wrap=True,
    )
    most = max(bar.count for bar in lengths.histogram)
    table = Table.grid(padding=(0, 1))
    for bar in lengths.histogram:
        blocks = "\u2588" * round(bar.count / most * _BAR) or ("\u258f" if bar.count else "")
        table.add_row(f"{bar.low:,}", "to", f"{bar.high - 1:,}", blocks, f"{bar.count:,}")
    for number in (0, 2):
        table.columns[number].justify = "right"
    console.print(table)
    for problem in description.sample:
        shown = problem.question if len(problem.question) <= _EXCERPT else f"{problem.question[:_EXCERPT]}..."
        console.print(f"\nrow {problem.row}, id {problem.id}, {kind_of(problem)}", highlight=False)
        console.print(shown, markup=False, highlight=False, soft_wrap=True)
        console.print(f"-> {' or '.join(problem.answers)}", markup=False, highlight=False)


def as_json(description: Description) -> dict[str, Any]:
    """The description as plain data."""
    return {
        **asdict(description),
        "levels": {str(level): count for level, count in description.levels.items()},
        "subjects": {str(subject): count for subject, count in description.subjects.items()},
        "sample": [_plain(problem) for problem in description.sample],
    }


def _plain(problem: Problem) -> dict[str, Any]:
    kept = ("row", "id", "question", "data_source", "level", "subject")
    answer = problem.answers[0] if len(problem.answers) == 1 else list(problem.answers)
    return {"answer": answer, **{name: getattr(problem, name) for name in kept}}


def _counted(counts: Mapping[Any, int]) -> Iterable[str]:
    return (f"{'none' if key is None else escape(str(key))} {count:,}" for key, count in counts.items())
