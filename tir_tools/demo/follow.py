"""Watching a run of verl's trainer: a line for each step as it comes, and the times of its start-up."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console

from tir_tools.demo.progress import STEP_COLUMNS, step_cells
from tir_tools.demo.summary import success_by_kind
from tir_tools.files import Tail
from tir_tools.report.metrics_log import parse_metrics
from tir_tools.trainer import Launch, StartUp

_POLL_SECONDS = 0.3
_WIDTHS = (5, *(max(7, len(name)) for name in STEP_COLUMNS))


def follow(launch: Launch, metrics: Path, console: Console) -> StartUp:
    """Show the run until it ends; its status is the launch's."""
    start_up = StartUp()
    log, lines = Tail(launch.log), Tail(metrics)
    began = last = time.perf_counter()
    step: int | None = None
    with console.status("") as status:
        running = True
        while running:
            # Asked before the files are read, so that what was written last is not missed.
            running = launch.poll() is None
            now = time.perf_counter()
            for line in log.lines():
                start_up.read(line, now - began)
            for line in lines.lines():
                if step is None:
                    console.print(_aligned(("step", *STEP_COLUMNS)), style="bold")
                step, last = _show(line, console), now
            where = start_up.current if step is None else f"step {step + 1}"
            status.update(f"{where} ... {now - last:.0f} s")
            if running:
                time.sleep(_POLL_SECONDS)
    return start_up


def _show(line: str, console: Console) -> int:
    """Print a line of verl's file logger; returns its step."""
    step, data = parse_metrics(line)
    if "actor/grad_norm" in data:
        console.print(_aligned((str(step), *step_cells(data))))
    by_kind = success_by_kind(data)
    if by_kind:
        success = sum(by_kind.values()) / len(by_kind)
        console.print(f"[bold]validation at step {step}[/]: {success:.2f} of the problems solved")
    return step


def _aligned(cells: tuple[str, ...]) -> str:
    return " ".join(cell.rjust(width) for cell, width in zip(cells, _WIDTHS, strict=True))
