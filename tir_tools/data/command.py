"""`verl-tir data`: prepare, select and inspect problems."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from tir_tools.data.choice import Choice, Method, Window
from tir_tools.data.problem import Role
from tir_tools.data.rules import Rule
from verl_tir.terminal import output_console

data_app = typer.Typer(
    help="Problems for training and evaluation, in verl's format.", no_args_is_help=True, rich_markup_mode=None
)
_OWN = "Of a data set of your own:"
_CPUS = os.cpu_count() or 1


@data_app.command()
def sources() -> None:
    """List the data sets that `prepare` knows."""
    from tir_tools.data.console import print_sources

    print_sources(output_console())


@data_app.command()
def prepare(
    source: Annotated[str, typer.Argument(help="A known data set, or a file or folder of your own.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="By default data/NAME.parquet.")] = None,
    place: Annotated[
        Path | None, typer.Option("--from", help="File or folder of a known data set, not the hub.")
    ] = None,
    revision: Annotated[str, typer.Option(help="Branch, tag or commit on the hub.")] = "main",
    against: Annotated[
        list[Path] | None, typer.Option(help="File of problems that must not be trained on; may be repeated.")
    ] = None,
    keep: Annotated[list[Rule] | None, typer.Option(metavar="RULE", help="Switch a rule off; may be repeated.")] = None,
    drop: Annotated[list[Rule] | None, typer.Option(metavar="RULE", help="Switch a rule on; may be repeated.")] = None,
    level: Annotated[list[int] | None, typer.Option(help="Level to keep; may be repeated.")] = None,
    expect: Annotated[int | None, typer.Option(min=1, help="Rows that the source must have.")] = None,
    skip_bad_rows: Annotated[
        bool, typer.Option("--skip-bad-rows", help="Leave out and list what cannot be read.")
    ] = False,
    keep_instructions: Annotated[
        bool, typer.Option("--keep-instructions", help="Leave questions as they are, for a recipe without a prompt.")
    ] = False,
    answer_lists: Annotated[
        bool, typer.Option("--answer-lists", help="Write every ground truth as a list, as files with several have it.")
    ] = False,
    name: Annotated[str | None, typer.Option(help=f"{_OWN} the rows' data_source.")] = None,
    role: Annotated[Role | None, typer.Option(help=f"{_OWN} a benchmark is kept whole.")] = None,
    question_column: Annotated[str | None, typer.Option(help=f"{_OWN} where the question is.")] = None,
    answer_column: Annotated[str | None, typer.Option(help=f"{_OWN} where the ground truth is.")] = None,
    max_question_chars: Annotated[int, typer.Option(min=1, help="Longer questions are dropped.")] = 4_000,
    max_answer_chars: Annotated[int, typer.Option(min=1, help="Longer ground truths are dropped.")] = 200,
    near_overlap: Annotated[float, typer.Option(min=0.0, max=1.0, help="Similarity that is nearly the same.")] = 0.75,
    workers: Annotated[int, typer.Option(min=1, help="Processes that read ground truths.")] = _CPUS,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the table, and write nothing.")] = False,
) -> None:
    """Read, filter and write a data set; a manifest beside it says what was done."""
    from tir_tools.data.console import print_prepared, progress_bars, reported_errors
    from tir_tools.data.prepare import Own, PrepareRequest, prepare_files
    from tir_tools.data.rules import RuleLimits

    request = PrepareRequest(
        source=source,
        output=output,
        place=place,
        revision=revision,
        against=tuple(against or ()),
        keep=tuple(keep or ()),
        drop=tuple(drop or ()),
        expect=expect,
        skip_bad_rows=skip_bad_rows,
        keep_instructions=keep_instructions,
        answer_lists=answer_lists,
        own=Own(name, role, question_column, answer_column),
        limits=RuleLimits(tuple(level or ()), max_question_chars, max_answer_chars, near_overlap),
        workers=workers,
        dry_run=dry_run,
    )
    with reported_errors():
        with progress_bars() as progress:
            outcome = prepare_files(request, progress)
        print_prepared(outcome, output_console())


@data_app.command()
def select(
    data: Annotated[Path, typer.Argument(help="A prepared file.")],
    rates: Annotated[Path, typer.Option(help="File of success rates, or the folder of a trajectory dump.")],
    method: Annotated[Method, typer.Option(help="How to choose.")] = Method.BALANCE,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="By default NAME.METHOD.parquet.")] = None,
    count: Annotated[int | None, typer.Option(help="Of balance: how many problems.")] = None,
    window: Annotated[tuple[float, float], typer.Option(help="Of window and balance: success rates between these.")] = (
        0.0,
        1.0,
    ),
    bins: Annotated[int, typer.Option(help="Of balance: degrees of difficulty.")] = 5,
    seed: Annotated[int, typer.Option(help="Of balance: of the draw.")] = 0,
    threshold: Annotated[float, typer.Option(help="Of lim: lowest score.")] = 0.6,
    epochs: Annotated[int | None, typer.Option(min=1, help="Of lim: how many count, from the first on.")] = None,
    partition: Annotated[str, typer.Option(help="Of a dump: train or val.")] = "train",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the table, and write nothing.")] = False,
) -> None:
    """Choose problems by how often a model solves them."""
    from tir_tools.data.console import print_selected, progress_bars, reported_errors
    from tir_tools.data.select import SelectRequest, select_files

    with reported_errors():
        choice = Choice(method, Window(*window), count, bins, seed, threshold, epochs)
        with progress_bars() as progress:
            outcome = select_files(SelectRequest(data, rates, choice, partition, output, dry_run), progress)
        print_selected(outcome, output_console())


@data_app.command("inspect")
def inspect_(
    file: Annotated[Path, typer.Argument(help="A prepared file, or a file or folder of any known format.")],
    tokenizer: Annotated[
        Path | None, typer.Option(help="Model folder or tokenizer.json; without it, lengths are in characters.")
    ] = None,
    sample: Annotated[int, typer.Option(min=0, help="Problems to show.")] = 3,
    seed: Annotated[int, typer.Option(help="Of the sample.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what is in a file: counts, lengths, kinds of ground truths, duplicates, a sample."""
    from tir_tools.data import console as shown
    from tir_tools.data.columns import USUAL
    from tir_tools.data.describe import describe
    from tir_tools.data.files import find
    from tir_tools.data.reading import Reader
    from tir_tools.data.tokenizer import TokenLengths

    with shown.reported_errors():
        with shown.progress_bars() as progress:
            length = (lambda texts: list(map(len, texts))) if tokenizer is None else TokenLengths(tokenizer)
            reading = Reader(USUAL).read(find(file), progress)
            unit = "characters" if tokenizer is None else "tokens"
            description = describe(reading, length, unit, sample, seed)
        if as_json:
            typer.echo(json.dumps(shown.as_json(description), ensure_ascii=False, indent=1))
        else:
            shown.print_description(description, output_console())
