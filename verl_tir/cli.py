"""The command `verl-tir`, also `python -m verl_tir`. Each command is imported when it is called."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import typer

app = typer.Typer(
    help="Tool-integrated reasoning for verl.", no_args_is_help=True, add_completion=False, rich_markup_mode=None
)
_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}

_TOOLS = "tir_tools.commands"
"""The module with these commands; a string, so that nothing here imports it before it is asked for."""
TOOL_COMMANDS = {
    "data": "Problems for training and evaluation, in verl's format.",
    "demo": "Train a tiny or a pretrained model with stock verl and vLLM on the CPU; more overrides may follow.",
    "eval": "Evaluate a checkpoint on benchmarks by verl's own validation; verl's overrides may follow.",
    "report": "Write what a run did into one HTML file, also while it runs. Two runs: compare them.",
    "score": "Score existing generations as the reward does, whichever system they are from.",
    "watch": "Show a run's key figures in the terminal while it runs; ends with the run, or with Ctrl-C.",
}
TOOL_MODULES = frozenset(
    {"pyarrow", "huggingface_hub", "httpx", "tokenizers", "rich", "jinja2", "markupsafe", "psutil", "pygments", "yaml"}
)
"""What the extra `[tools]` installs, by the names that are imported."""


@app.command(context_settings=_PASS_ON)
def doctor(context: typer.Context) -> None:
    """Check a launch before it starts; takes the same overrides as verl's launch command."""
    from rich.markup import escape
    from rich.table import Table

    from verl_tir.doctor import examine
    from verl_tir.terminal import output_console

    console = output_console()
    with console.status("checking ..."):
        findings = examine(context.args)
    table = Table("check", "")
    table.add_column("found", overflow="fold")
    table.add_column("fix", overflow="fold")
    for finding in findings:
        mark = "[green]ok[/]" if finding.ok else "[red]FAILED[/]"
        table.add_row(finding.name, mark, escape(finding.detail), escape(finding.fix))
    console.print(table)
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 1)


@app.command()
def settings() -> None:
    """Print the table of all `tir.*` settings, in Markdown."""
    typer.echo(importlib.import_module("tir_tools.settings").settings_table(), nl=False)


@app.command(context_settings=_PASS_ON, add_help_option=False)
def sandbox(context: typer.Context) -> None:
    """Serve the embedded sandbox in the foreground; every limit is a flag, see --help."""
    from sandbox_server.__main__ import main

    raise typer.Exit(main(context.args))


def _tool(name: str) -> Callable[[typer.Context], None]:
    def call(context: typer.Context) -> None:
        try:
            importlib.import_module(_TOOLS).app([name, *context.args], prog_name="verl-tir")
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in TOOL_MODULES:
                raise
            typer.echo(f"verl-tir {name}: {error.name} is not installed; pip install 'verl-tir[tools]'", err=True)
            raise typer.Exit(2) from None

    return call


for _name, _help in TOOL_COMMANDS.items():
    app.command(_name, help=_help, context_settings=_PASS_ON, add_help_option=False)(_tool(_name))
