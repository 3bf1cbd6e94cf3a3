"""The commands of `verl-tir` that are used around a run; `verl_tir.cli` hands over to them when one is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tir_tools.data.command import data_app
from tir_tools.evaluation.protocol import MAX_SAMPLES, Protocol
from verl_tir.terminal import output_console

app = typer.Typer(add_completion=False, rich_markup_mode=None)
app.add_typer(data_app, name="data")
_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


@app.command(context_settings=_PASS_ON)
def demo(
    context: typer.Context,
    steps: Annotated[int, typer.Option(min=1, help="GRPO steps in all.")] = 30,
    seed: Annotated[int, typer.Option(help="Seed of the model, the data and the sampling.")] = 0,
    recipe: Annotated[str, typer.Option(help="simpletir, torl or hermes.")] = "simpletir",
    train: Annotated[Path | None, typer.Option(exists=True, help="Training problems, verl's parquet format.")] = None,
    val: Annotated[Path | None, typer.Option(exists=True, help="Validation problems, verl's parquet format.")] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|PATH",
            help="smollm2, a Hugging Face folder, a .gguf file, or a run or checkpoint to train further; a toy if not "
            "given.",
        ),
    ] = None,
    folder: Annotated[Path, typer.Option(help="Where runs and models are kept.")] = Path("runs"),
    resume: Annotated[
        str | None, typer.Option(metavar="RUN", help="Resume this run up to --steps: its folder's name, or `last`.")
    ] = None,
) -> None:
    """Train a tiny or a pretrained model with stock verl and vLLM on the CPU; more overrides may follow."""
    from tir_tools.demo.run import DemoSettings, run_demo

    settings = DemoSettings(folder.resolve(), steps, seed, recipe, train, val, tuple(context.args), resume, model)
    raise typer.Exit(run_demo(settings, output_console()))


@app.command()
def score(
    file: Annotated[Path, typer.Argument(help="JSON lines, each with the response and its ground truth; - for stdin.")],
    output: Annotated[Path, typer.Option(help="The lines with score, extracted and status; - for stdout.")],
    workers: Annotated[int, typer.Option(min=1, help="Comparisons at the same time, a process each.")] = 2,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for one comparison.")] = 5.0,
    memory_limit_mb: Annotated[int, typer.Option(min=256, help="MiB for one comparison's process.")] = 2048,
    response_key: Annotated[str, typer.Option(help="Key of the response.")] = "response",
    ground_truth_key: Annotated[str, typer.Option(help="Key of the accepted answer, or a list of them.")] = (
        "ground_truth"
    ),
    overwrite: Annotated[bool, typer.Option(help="Replace score, extracted and status of others.")] = False,
) -> None:
    """Score existing generations as the reward does, whichever system they are from."""
    from tir_tools.evaluation.score import Keys, score_command

    keys = Keys(response_key, ground_truth_key)
    raise typer.Exit(score_command(file, output, keys, workers, timeout, memory_limit_mb, overwrite=overwrite))


@app.command("eval", context_settings=_PASS_ON)
def evaluate(
    context: typer.Context,
    checkpoint: Annotated[str, typer.Argument(help="Hugging Face folder or name, or verl's global_step_N.")],
    data: Annotated[list[Path], typer.Option(help="Benchmark file, verl's parquet format; may be repeated.")],
    output: Annotated[Path, typer.Option(help="Folder of the evaluation; one that has begun is resumed.")],
    protocol: Annotated[Protocol, typer.Option(help="Whose way to evaluate.")] = Protocol.SIMPLETIR,
    recipe: Annotated[str | None, typer.Option(help="Recipe, as in +tir=NAME; the protocol's if not given.")] = None,
    samples: Annotated[
        int | None, typer.Option(min=1, max=MAX_SAMPLES, help="Samples of each problem; the protocol's if not given.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the sampling.")] = 0,
    compare: Annotated[
        list[str] | None, typer.Option(help="Published result to show beside, simpletir-7b for one; may be repeated.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would cost, and stop.")] = False,
) -> None:
    """Evaluate a checkpoint on benchmarks by verl's own validation; verl's overrides may follow."""
    from tir_tools.evaluation.request import EvalRequest
    from tir_tools.evaluation.run import run_eval

    request = EvalRequest(
        checkpoint=checkpoint,
        files=tuple(data),
        folder=output.resolve(),
        protocol=protocol,
        recipe=recipe,
        samples=samples,
        seed=seed,
        compare=tuple(compare or ()),
        dry_run=dry_run,
        overrides=tuple(context.args),
    )
    raise typer.Exit(run_eval(request, output_console()))


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
    """Write what a run did into one HTML file, also while it runs. Two runs: compare them."""
    from tir_tools.report.write import ReportError, ReportRequest, write_report

    request = ReportRequest(tuple(runs or ()), tuple(metrics or ()), dump, output, trajectories, max_mb, watch)
    try:
        write_report(request, output_console())
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
    """Show a run's key figures in the terminal while it runs; ends with the run, or with Ctrl-C."""
    from tir_tools.report.metrics_log import MetricsError
    from tir_tools.report.run_data import RunNotFoundError
    from tir_tools.report.watch import find_run
    from tir_tools.report.watch import watch as watch_run

    try:
        watch_run(find_run(run, metrics or []), output_console(), every, once)
    except (RunNotFoundError, MetricsError) as error:
        raise typer.BadParameter(str(error)) from None
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
