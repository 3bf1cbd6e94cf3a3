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
    steps: Annotated[int, typer.Option(min=1, help="GRPO steps.")] = 20,
    seed: Annotated[int, typer.Option(help="Seed of the model, the data and the sampling.")] = 0,
    train: Annotated[Path | None, typer.Option(exists=True, help="Training problems, verl's parquet format.")] = None,
    val: Annotated[Path | None, typer.Option(exists=True, help="Validation problems, verl's parquet format.")] = None,
    folder: Annotated[Path, typer.Option(help="Where runs and the warmed-up model are kept.")] = Path("runs"),
) -> None:
    """Train a tiny model with stock verl, vLLM and FSDP on this machine's CPU; more overrides may follow."""
    from verl_tir.demo.run import DemoSettings, run_demo

    settings = DemoSettings(folder.resolve(), steps, seed, train, val, tuple(context.args))
    raise typer.Exit(run_demo(settings, Console()))


@app.command()
def report(
    runs: Annotated[list[Path] | None, typer.Argument(help="A run's folder; two are compared.")] = None,
    metrics: Annotated[
        list[Path] | None, typer.Option(help="File of verl's file logger, where there is no RUN.")
    ] = None,
    dump: Annotated[Path | None, typer.Option(help="The run's tir.dump_dir.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="HTML file; report.html in RUN.")] = None,
    trajectories: Annotated[int, typer.Option(min=0, help="Trajectories shown at most.")] = 1000,
    max_mb: Annotated[float, typer.Option(min=0.1, help="MiB of packed trajectories at most.")] = 6.0,
    watch: Annotated[
        int | None, typer.Option(min=5, help="Write it anew every so many seconds, until it ends.")
    ] = None,
) -> None:
    """Write what a run did into one HTML file; also while it goes on. Two runs: compare them."""
    from verl_tir.report.write import ReportError, ReportRequest, write_report

    request = ReportRequest(tuple(runs or ()), tuple(metrics or ()), dump, output, trajectories, max_mb, watch)
    try:
        write_report(request, Console())
    except ReportError as error:
        raise typer.BadParameter(str(error)) from None


@app.command()
def watch(
    run: Annotated[Path | None, typer.Argument(help="A run's folder.")] = None,
    metrics: Annotated[
        list[Path] | None, typer.Option(help="File of verl's file logger, where there is no RUN.")
    ] = None,
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Look once and end.")] = False,
) -> None:
    """Show a run's key figures in the terminal while it goes on; ends with the run, or with Ctrl-C."""
    from verl_tir.report.metrics_log import MetricsError
    from verl_tir.report.run_data import RunNotFoundError
    from verl_tir.report.watch import find_run
    from verl_tir.report.watch import watch as watch_run

    try:
        watch_run(find_run(run, metrics or []), Console(), every, once)
    except (RunNotFoundError, MetricsError) as error:
        raise typer.BadParameter(str(error)) from None
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def _plain(text: str) -> str:
    """Keep rich from reading brackets as markup."""
    return text.replace("[", "\\[")
