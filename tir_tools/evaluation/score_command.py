"""The command `verl-tir score`: progress, summary and errors around `score_file`."""

from __future__ import annotations

import contextlib
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn
from rich.table import Table

from math_answers import ScoringError, ScoringPool, Verdict
from tir_tools.evaluation.score_file import STANDARD, score_file
from tir_tools.evaluation.score_lines import Keys, LineError, Tally


def score_command(
    file: Path, output: Path, keys: Keys, workers: int, timeout: float, memory_limit_mb: int, *, overwrite: bool
) -> int:
    """Score a file, and say on stderr what came out; the exit status."""
    console = Console(stderr=True)
    columns = (BarColumn(), DownloadColumn(), TimeRemainingColumn())
    pool = ScoringPool(workers, timeout, memory_limit_mb)
    try:
        with contextlib.closing(pool), Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task("scoring", total=None if file == STANDARD else file.stat().st_size)
            tally = score_file(
                file, output, pool, keys, overwrite=overwrite, on_line=lambda size: progress.advance(task, size)
            )
    except (LineError, OSError, ScoringError) as error:
        console.print(f"verl-tir score: {file}: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        return 1
    console.print(_summary(tally))
    return 0


def _summary(tally: Tally) -> Table:
    table = Table("status", "responses", "share")
    total = tally.counts.total()
    for verdict in Verdict:
        count = tally.counts[verdict]
        table.add_row(verdict, str(count), f"{count / total:.3f}" if total else "")
    interval = tally.interval()
    if tally.accuracy is not None and interval is not None:
        table.add_section()
        low, high = interval
        table.add_row("accuracy", f"of {tally.decided} decided", f"{tally.accuracy:.3f} [{low:.3f}, {high:.3f}]")
        table.caption = "in brackets: Wilson's interval, 95%"
    return table
