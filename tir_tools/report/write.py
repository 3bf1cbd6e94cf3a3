"""From a run's files to the HTML file, once or again and again."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from tir_tools.files import write_text
from tir_tools.report.compare import comparison_page
from tir_tools.report.metrics_log import MetricsError
from tir_tools.report.page import MAX_MB, TRAJECTORIES, report_page
from tir_tools.report.run_data import Run, RunFiles, RunNotFoundError, read_run
from tir_tools.report.status import RunState
from verl_tir.dump.format import DumpError


class ReportError(ValueError):
    """A report cannot be made of what was given; the message says what to give."""


@dataclass(frozen=True, slots=True)
class ReportRequest:
    """What the command line asks for."""

    runs: tuple[Path, ...]
    """None, one, or two that are compared."""
    metrics: tuple[Path, ...] = ()
    dump: Path | None = None
    output: Path | None = None
    """None for `report.html` in the run's folder."""
    trajectories: int = TRAJECTORIES
    max_mb: float = MAX_MB
    watch: int | None = None
    """Seconds after which the file is written anew, until the run ends; None for once."""


def write_report(request: ReportRequest, console: Console) -> None:
    """Write the file and say where it is.

    Raises:
        ReportError: there is nothing to report on, or it cannot be read or written.
    """
    if len(request.runs) > 2:
        raise ReportError(f"{len(request.runs)} runs were given: one is reported on, two are compared")
    named = request.metrics or request.dump is not None
    if len(request.runs) == 2 and (named or request.watch):
        raise ReportError("of two runs the folders are read, once: leave out --metrics, --dump and --watch")
    if not request.runs and not named:
        raise ReportError("name a run's folder, or its files with --metrics FILE and --dump FOLDER")
    try:
        while True:
            runs = [read_run(files) for files in _files(request)]
            path = _output(request)
            _write(path, _page(request, runs))
            console.print(f"[bold]{escape(str(path))}[/]: {path.stat().st_size / 2**20:.1f} MiB, {_summary(runs)}")
            if request.watch is None or runs[0].status.state is not RunState.OPEN:
                return
            time.sleep(request.watch)
    except (RunNotFoundError, MetricsError, DumpError, OSError) as error:
        raise ReportError(str(error)) from error
    except KeyboardInterrupt:
        console.print("stopped; the file is as it was written last")


def _files(request: ReportRequest) -> list[RunFiles]:
    if len(request.runs) == 2:
        return [RunFiles.find(folder) for folder in request.runs]
    return [RunFiles.find(next(iter(request.runs), None), request.metrics, request.dump)]


def _page(request: ReportRequest, runs: list[Run]) -> str:
    if len(runs) == 2:
        return comparison_page(*runs)
    refresh = request.watch if runs[0].status.state is RunState.OPEN else None
    return report_page(runs[0], request.trajectories, request.max_mb, refresh)


def _output(request: ReportRequest) -> Path:
    if request.output is not None:
        return request.output
    if len(request.runs) == 1:
        return request.runs[0] / "report.html"
    return Path("comparison.html" if request.runs else "report.html")


def _write(path: Path, page: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, page)


def _summary(runs: list[Run]) -> str:
    words = []
    for run in runs:
        problems = sum(finding.level == "problem" for finding in run.findings)
        marks = "nothing stands out" if not run.findings else f"{len(run.findings)} marks, {problems} of them problems"
        words.append(f"{escape(run.name)} {run.status.state} at step {run.status.last_step}, {marks}")
    return "; ".join(words)
