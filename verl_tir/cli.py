"""The command `verl-tir`, also `python -m verl_tir`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

app = typer.Typer(
    help="Tool-integrated reasoning for verl.", no_args_is_help=True, add_completion=False, rich_markup_mode=None
)
_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


@app.command(context_settings=_PASS_ON)
def doctor(context: typer.Context) -> None:
    """Check a launch before it starts; takes the same overrides as verl's launch command."""
    from verl_tir.doctor import examine

    console = Console()
    with console.status("checking ..."):
        findings = examine(context.args)
    table = Table("check", "")
    table.add_column("found", overflow="fold")
    table.add_column("fix", overflow="fold")
    for finding in findings:
        mark = "[green]ok[/]" if finding.ok else "[red]FAILED[/]"
        table.add_row(finding.name, mark, _plain(finding.detail), _plain(finding.fix))
    console.print(table)
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 1)


@app.command(context_settings=_PASS_ON, add_help_option=False)
def sandbox(context: typer.Context) -> None:
    """Serve the embedded sandbox in the foreground; every limit is a flag, see --help."""
    from verl_tir.sandbox_server.__main__ import main

    raise typer.Exit(main(context.args))


@app.command(context_settings=_PASS_ON)
def demo(
    context: typer.Context,
    steps: Annotated[int, typer.Option(min=1, help="GRPO steps in all.")] = 30,
    seed: Annotated[int, typer.Option(help="Seed of the model, the data and the sampling.")] = 0,
    recipe: Annotated[str, typer.Option(help="simpletir, torl or hermes.")] = "simpletir",
    train: Annotated[Path | None, typer.Option(exists=True, help="Training problems, verl's parquet format.")] = None,
    val: Annotated[Path | None, typer.Option(exists=True, help="Validation problems, verl's parquet format.")] = None,
    folder: Annotated[Path, typer.Option(help="Where runs and the warmed-up models are kept.")] = Path("runs"),
    resume: Annotated[
        str | None, typer.Option(metavar="RUN", help="Go on up to --steps with this run: its folder's name, or `last`.")
    ] = None,
) -> None:
    """Train a tiny model with stock verl, vLLM and FSDP on this machine's CPU; more overrides may follow."""
    from verl_tir.demo.run import DemoSettings, run_demo

    settings = DemoSettings(folder.resolve(), steps, seed, recipe, train, val, tuple(context.args), resume)
    raise typer.Exit(run_demo(settings, Console()))


def _plain(text: str) -> str:
    """Keep rich from reading brackets as markup."""
    return text.replace("[", "\\[")
