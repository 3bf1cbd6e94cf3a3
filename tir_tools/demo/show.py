"""The end of the demo on the terminal: curve, success by kind, where the time went, and some trajectories."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from tir_tools.demo.summary import Curve, Validation, sparkline


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
        console.print("[bold]validation[/]: " + ", ".join(f"{v.success:.2f} at step {v.step}" for v in validations))
        console.print(_by_kind(validations[0], validations[-1]))


def _by_kind(first: Validation, last: Validation) -> Table:
    table = Table("validation problems", f"solved at step {first.step}", f"at step {last.step}")
    for kind in first.by_kind:
        table.add_row(kind, f"{first.by_kind[kind]:.2f}", f"{last.by_kind.get(kind, 0.0):.2f}")
    table.add_row("all", f"{first.success:.2f}", f"{last.success:.2f}", style="bold")
    if first.void_ratio is not None and last.void_ratio is not None:
        table.add_row("void", f"{first.void_ratio:.2f}", f"{last.void_ratio:.2f}")
    return table


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
    last = [json.loads(line) for line in latest.read_text(encoding="utf-8").splitlines()]
    sorts = (
        lambda line: line["correct"] and sum(turn["has_code"] for turn in line["turns"]) > 1,
        lambda line: line["correct"] and any(turn["has_code"] for turn in line["turns"]),
        lambda line: line["stop_reason"] == "void",
        lambda line: not line["correct"] and line["stop_reason"] != "void",
    )
    chosen = [found for sort in sorts if (found := next(filter(sort, last), None)) is not None]
    for line in chosen[:3]:
        styles = {"prompt": "dim", "model": "", "tool": "cyan"}
        text = "".join(
            f"[{styles[s['role']]}]{escape(s['text'])}[/]" if styles[s["role"]] else escape(s["text"])
            for s in line["segments"]
        )
        title = f"reward {line['reward']:g}, stopped: {line['stop_reason']}, in the update: {line['fate']}"
        console.print(Panel(text, title=title, subtitle="prompt dim, tool output in cyan"))
