"""The end of the demo on the terminal: curve, success by kind, where the time went, and some trajectories."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from tir_tools.demo.summary import Curve, Validation, sparkline
from verl_tir.dump.format import DumpedTrajectory
from verl_tir.dump.reader import read_file
from verl_tir.trajectory import StopReason

_LENIENT = "solved: the right number is in the box; lenient: that, or it is the last one said"


def show_curve(curve: Curve, console: Console) -> None:
    """Sampled and greedy success and void ratios, from the first step to the last."""
    if curve.steps:
        console.print(f"\n[bold]steps {curve.steps[0]} to {curve.steps[-1]}[/], sampled")
        for name, values in (("correct", curve.correct), ("void", curve.void)):
            window = max(1, min(5, len(values) // 2))
            first, last = sum(values[:window]) / window, sum(values[-window:]) / window
            console.print(f"  {name:>7} {sparkline(values)} {first:.2f} -> {last:.2f}")
    validations = curve.validations
    if validations:
        console.print("[bold]validation[/], solved: " + ", ".join(map(_solved, validations)))
        console.print(_by_kind(validations[0], validations[-1]))


def _by_kind(first: Validation, last: Validation) -> Table:
    steps = [(f"solved at step {item.step}", "lenient") for item in (first, last)]
    table = Table("validation problems", *itertools.chain(*steps), caption=_LENIENT, caption_justify="left")
    for kind in first.by_kind:
        pairs = ((item.by_kind.get(kind), item.lenient_by_kind.get(kind)) for item in (first, last))
        table.add_row(kind, *map(_share, itertools.chain(*pairs)))
    totals = ((item.success, item.lenient) for item in (first, last))
    table.add_row("all", *map(_share, itertools.chain(*totals)), style="bold")
    table.add_row("void", _share(first.void_ratio), "", _share(last.void_ratio), "")
    return table


def _solved(validation: Validation) -> str:
    lenient = "" if validation.lenient is None else f" ({validation.lenient:.2f} lenient)"
    return f"{validation.success:.2f}{lenient} at step {validation.step}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def show_times(seconds: Mapping[str, float], console: Console) -> None:
    """Where each second went; the rows sum up to the whole."""
    table = Table("where the time went")
    table.add_column("seconds", justify="right")
    for name, spent in seconds.items():
        table.add_row(name, f"{spent:.1f}")
    table.add_row("all", f"{sum(seconds.values()):.1f}", style="bold")
    console.print(table)


def show_samples(trajectories: Path, console: Console) -> None:
    """A trajectory of the last step of each sort that there is: rewarded with code, void, neither."""
    latest = max((trajectories / "train").glob("*.jsonl"))
    last = [line.item for line in read_file(latest) if line.item is not None]
    sorts: tuple[Callable[[DumpedTrajectory], bool], ...] = (
        lambda one: bool(one.correct) and sum(turn.has_code for turn in one.trajectory.turns) > 1,
        lambda one: bool(one.correct) and any(turn.has_code for turn in one.trajectory.turns),
        lambda one: one.trajectory.stop_reason is StopReason.VOID,
        lambda one: not one.correct and one.trajectory.stop_reason is not StopReason.VOID,
    )
    chosen = [found for sort in sorts if (found := next(filter(sort, last), None)) is not None]
    for one in chosen[:3]:
        text = f"[dim]{escape(one.prompt)}[/]"
        for said in one.texts:
            text += escape(said.text) + (f"[cyan]{escape(said.observation)}[/]" if said.observation else "")
        title = f"reward {one.reward:g}, stopped: {one.trajectory.stop_reason}, in the update: {one.fate}"
        console.print(Panel(text, title=title, subtitle="prompt dim, tool output in cyan"))
