"""The key figures of a run in the terminal, while it goes on."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tir_tools.report.findings import findings_of
from tir_tools.report.history import History, Series
from tir_tools.report.key_figures import key_figures
from tir_tools.report.marks.mark import Level, RunFinding
from tir_tools.report.metrics_log import MetricsLog
from tir_tools.report.run_data import RunFiles
from tir_tools.report.settings import LaunchSettings, read_settings
from tir_tools.report.status import RunProgress, RunState, read_status

_BLOCKS = "▁▂▃▄▅▆▇█"
_SPARK_WIDTH = 24
_STYLES = {Level.PROBLEM: "bold red", Level.WATCH: "yellow", Level.NOTE: "cyan"}
_STATES = {RunState.FINISHED: "green", RunState.FAILED: "bold red", RunState.STOPPED: "yellow", RunState.OPEN: "cyan"}
_DIRECTIONS = {"better": "green", "worse": "red", "same": ""}


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen."""

    status: RunProgress
    shown: RenderableType


class Watch:
    """Reads a run's metrics again and again; of its trajectories nothing, since that takes long on a large run."""

    def __init__(self, files: RunFiles) -> None:
        self._files = files
        self._log = MetricsLog(files.metrics)
        self._settings = LaunchSettings() if files.folder is None else read_settings(files.folder)

    def look(self) -> Look:
        """How far the run is, and what there is to show."""
        history = self._log.read()
        files = self._files
        status = read_status(files.folder, files.log, files.metrics, history.last_step, self._settings.total_steps)
        return Look(status, view(files.name, self._settings, status, history))


def watch(files: RunFiles, console: Console, every: float, once: bool) -> None:
    """Show a run until it ends, or Ctrl-C.

    Args:
        files: the run's.
        console: where to.
        every: seconds between two looks.
        once: whether one look is all.
    """
    eyes = Watch(files)
    seen = eyes.look()
    if once:
        console.print(seen.shown)
        return
    with Live(seen.shown, console=console, auto_refresh=False, vertical_overflow="ellipsis") as live:
        while seen.status.state is RunState.OPEN:
            time.sleep(every)
            seen = eyes.look()
            live.update(seen.shown, refresh=True)


def view(name: str, settings: LaunchSettings, status: RunProgress, history: History) -> RenderableType:
    """Header, key figures and what stands out."""
    total = "" if status.total_steps is None else f" of {status.total_steps}"
    step = "-" if status.last_step is None else f"{status.last_step}{total}"
    head = Text.assemble((name, "bold"), "  ", (str(status.state), _STATES[status.state]), f"  step {step}")
    if settings.recipe:
        head.append(f"  {settings.recipe}")
    if status.written is not None:
        head.append(f"  last written {status.written:%H:%M:%S} UTC", style="dim")
    figures = key_figures(history)
    if not figures:
        return Group(head, Text("no step yet", style="dim"))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    table.add_column("now", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("first and last steps", no_wrap=True)
    for figure in figures:
        style = _DIRECTIONS[figure.direction]
        word = "" if figure.direction == "same" else f"  {figure.direction}"
        table.add_row(figure.name, figure.now, spark(figure.series), Text(figure.span + word, style=style))
    return Group(head, table, *(_finding(finding) for finding in findings_of(history, status)))


def spark(series: Series, width: int = _SPARK_WIDTH) -> str:
    """A series as a line of blocks; of more steps than fit the mean of each stretch."""
    values = [point.value for point in series]
    if len(values) > width:
        edges = [number * len(values) // width for number in range(width + 1)]
        values = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    low, high = min(values), max(values)
    scale = (len(_BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BLOCKS[round((value - low) * scale)] for value in values)


def _finding(finding: RunFinding) -> Text:
    style = _STYLES[finding.level]
    return Text.assemble((f"{finding.level}: {finding.title}. ", style), finding.reading)


def find_run(folder: Path | None, metrics: list[Path]) -> RunFiles:
    """A run's files; a folder whose metrics are still to come will do.

    Raises:
        RunNotFoundError: there is no such folder or file.
    """
    if folder is not None and folder.is_dir() and not metrics and not list(folder.glob("metrics*.jsonl")):
        return RunFiles(folder.resolve().name, folder, (folder / "metrics.jsonl",), None, folder / "verl.log")
    return RunFiles.find(folder, metrics)
