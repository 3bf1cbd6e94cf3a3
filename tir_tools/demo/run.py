"""`verl-tir demo`: from nothing to a trained model, with stock verl, vLLM, FSDP and the embedded sandbox."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

import verl_tir.recipes
from sandbox_server import EmbeddedSandbox, IsolationPolicy, SandboxStartError, ServerConfig
from sandbox_server.worker_factory import SandboxSetupError
from tir_tools.demo.command import isolation_of, launch_command, recipe_of
from tir_tools.demo.folder import Origin, ResumeError, RunFolder
from tir_tools.demo.follow import follow
from tir_tools.demo.formats import model_name
from tir_tools.demo.pretrained import PACKAGED, PretrainedModelError, pretrained_model, resolved
from tir_tools.demo.show import show_curve, show_samples, show_times
from tir_tools.demo.summary import Metrics, read_curve, step_seconds, success_by_kind
from tir_tools.demo.tasks.data import split, verl_row
from tir_tools.demo.tasks.kinds import KINDS, DemoProblem
from tir_tools.demo.tasks.word_problems import KINDS as WORD_KINDS
from tir_tools.demo.tasks.word_problems import WordProblem, word_problem_splits
from tir_tools.demo.training_plan import MEMORY_GIB, START_SECONDS, STEP_SECONDS, TrainingPlan, plan_of
from tir_tools.demo.worked_examples import PRODUCT, SUM, with_worked_examples
from tir_tools.evaluation.checkpoint import CheckpointError
from tir_tools.evaluation.launch import MergeError
from tir_tools.report.metrics_log import read_metrics
from tir_tools.report.write import ReportRequest, write_report
from tir_tools.trainer import Launch, StartUp, last_lines
from verl_tir.doctor import survey_quietly
from verl_tir.overrides import without


@dataclass(frozen=True, slots=True)
class DemoSettings:
    folder: Path
    """Where runs and the models are kept."""
    steps: int
    """GRPO steps in all, those before a resumed checkpoint included."""
    seed: int = 0
    recipe: str = "simpletir"
    """Name of a file in `recipes/tir`."""
    train: Path | None = None
    val: Path | None = None
    overrides: tuple[str, ...] = ()
    """Further Hydra overrides for verl's launch command; `+tir=NAME` among them wins over `recipe`."""
    resume: str | None = None
    """The run to resume, `last` for the newest; it keeps its model, seed, recipe, data and overrides."""
    model: str | None = None
    """A pretrained model, by a name of `PACKAGED` or as a path; None for the toy."""

    def origin(self) -> Origin:
        """What a new run is started with.

        Raises:
            PretrainedModelError: there is no such model.
        """
        train, val = (None if path is None else str(path.resolve()) for path in (self.train, self.val))
        recipe = recipe_of(self.overrides, self.recipe)
        model = None if self.model is None else resolved(self.model)
        return Origin(recipe, self.seed, train, val, without("tir", self.overrides), model)


def run_demo(settings: DemoSettings, console: Console) -> int:
    """Run the demo; returns the process's exit status. Ctrl-C ends everything that it started."""
    try:
        isolation_of(settings.overrides)
    except ValueError as error:
        console.print(f"tir.sandbox.isolation: {error}", style="red")
        return 2
    recipes = {path.stem for folder in verl_tir.recipes.__path__ for path in Path(folder, "tir").glob("*.yaml")}
    if settings.recipe not in recipes:
        console.print(f"--recipe {settings.recipe}: there are {', '.join(sorted(recipes))}", style="red")
        return 2
    try:
        if settings.resume is None:
            run = RunFolder.new(settings.folder, settings.origin())
        else:
            run = RunFolder.resume(settings.folder, settings.resume, settings.steps)
    except (ResumeError, PretrainedModelError) as error:
        console.print(escape(str(error)), style="red")
        return 2
    try:
        return _run(settings, run, console)
    except KeyboardInterrupt:
        run.exit_status.write_text("130\n", encoding="utf-8")
        console.print(f"\nstopped; everything that was started has ended. What there is so far: {run.path}")
        if run.last_checkpoint is not None:
            console.print(f"to go on: verl-tir demo --resume {run.path.name} --steps {settings.steps}")
        return 130
    except (SandboxSetupError, SandboxStartError, PretrainedModelError, CheckpointError, MergeError) as error:
        console.print(escape(str(error)), style="red")
        return 1


class _Clock:
    """Seconds between its laps, by what they were spent on."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = now - self._last
        self._last = now


def _run(settings: DemoSettings, run: RunFolder, console: Console) -> int:
    clock = _Clock()
    origin = run.origin
    plan = plan_of(origin)
    if origin.model is not None:
        _tell_cost(origin.model, settings.steps - (run.resumed_at or 0), console)
    server = ServerConfig(port=0, isolation=isolation_of(origin.overrides))
    _tell_isolation(server, origin, console)
    clock.lap("look at the sandbox's isolation")
    if origin.model is None:
        model = warm_model(settings.folder, origin, console)
        clock.lap("model warm start")
    else:
        model = pretrained_model(settings.folder, origin.model, console, chat_template=origin.recipe != "torl")
        clock.lap("model: fetch and convert")
        if Path(origin.model).is_dir():
            # The run that saved it removes old checkpoints when it saves new ones.
            run.keep(replace(origin, model=str(model)))
    train, val = problem_files(origin, plan, run)
    with EmbeddedSandbox(server) as sandbox:
        command = launch_command(
            run,
            origin=origin,
            model=model,
            train=train,
            val=val,
            endpoint=sandbox.endpoint,
            steps=settings.steps,
            plan=plan,
        )
        run.command.write_text(" \\\n  ".join(command) + "\n", encoding="utf-8")
        begin = "" if run.resumed_at is None else f", from the checkpoint of step {run.resumed_at}"
        console.print(
            f"[bold]verl[/]: {settings.steps} GRPO steps with {origin.recipe}{begin}; what is run: {run.command}; its "
            f"log: {run.log}"
        )
        clock.lap("problems, and the sandbox's start")
        try:
            with Launch(command, run.log, {"VERL_FILE_LOGGER_PATH": str(run.live_metrics)}) as launch:
                start_up = follow(launch, run.live_metrics, console)
                status = launch.poll()
            logged = read_metrics(run.live_metrics)
        finally:
            run.join_metrics()
    clock.lap("verl")
    run.exit_status.write_text(f"{status}\n", encoding="utf-8")
    if status:
        _explain_failure(run.log, status, console)
    else:
        _compare(run, logged, console)
        _finish(run, origin, _parts(clock.seconds, start_up, logged), console)
    console.print(f"everything of this run: {run.path}; to be read in a browser:")
    write_report(ReportRequest((run.path,)), console)
    return status


def _compare(run: RunFolder, logged: Metrics, console: Console) -> None:
    """Say whether a resumed run began where the one before was: greedy answers depend on rounding alone."""
    again = success_by_kind(dict(logged).get(run.resumed_at, {})) if run.resumed_at is not None else {}
    before = success_by_kind(dict(read_metrics(run.metrics)).get(run.resumed_at, {}))
    if again and before:
        moved = {kind: now for kind, now in again.items() if before.get(kind) != now}
        others = ", ".join(f"{kind} {before.get(kind, 0.0):.2f} -> {now:.2f}" for kind, now in moved.items())
        verdict = others or "the same, kind by kind"
        console.print(f"\n[bold]resumed[/]: validation at step {run.resumed_at} before and after: {verdict}")


def _parts(seconds: Mapping[str, float], start_up: StartUp, logged: Metrics) -> dict[str, float]:
    """All laps, with that of verl in parts; what no timer covers has a row, so that they sum up to the whole."""
    parts = start_up.seconds | step_seconds(logged)
    rest = seconds["verl"] - sum(parts.values())
    laps = {name: spent for name, spent in seconds.items() if name != "verl"}
    return laps | parts | {"metrics, logs and shutdown": rest}


def _finish(run: RunFolder, origin: Origin, seconds: Mapping[str, float], console: Console) -> None:
    curve = read_curve(read_metrics(run.metrics), run.trajectories)
    started = {"recipe": origin.recipe, "model": origin.model, "seed": origin.seed}
    found = {**started, "seconds": dict(seconds), "curve": asdict(curve)}
    run.summary.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    show_curve(curve, console)
    show_times(seconds, console)
    show_samples(run.trajectories, console)


def _tell_cost(model: str, steps: int, console: Console) -> None:
    what = PACKAGED[model].says if model in PACKAGED else f"{model}; time and memory grow with its parameters"
    console.print(
        f"[bold]a real model[/]: {what}.\n{steps} steps with 135 million parameters and generated problems take about "
        f"{(START_SECONDS + steps * STEP_SECONDS) / 60:.0f} minutes on two idle cores, and up to {MEMORY_GIB} GiB."
    )


def _tell_isolation(server: ServerConfig, origin: Origin, console: Console) -> None:
    """Say how the programs are walled off. Raises SandboxSetupError where they cannot run, or not as asked."""
    survey = asyncio.run(survey_quietly(server))
    if not survey.missing:
        console.print("[bold]sandbox[/]: every protection is in force")
        return
    if server.isolation is IsolationPolicy.REQUIRED:
        raise SandboxSetupError(survey.complaint())
    console.print("[bold yellow]sandbox[/]: this machine denies some protections. Missing:")
    for protection in survey.missing:
        console.print(f"  {protection}")
    if origin.model is None:
        warning = "the toy's programs are harmless, a real model's need not be"
    else:
        warning = (
            "[bold yellow]a real model writes the programs[/], and what is missing does not hold them back. Train it "
            "where nothing can be lost, or set tir.sandbox.isolation=required, which refuses to run here"
        )
    console.print(f"tir.sandbox.isolation={server.isolation}; {warning}: [bold]verl-tir doctor[/] tells the ways out")


def warm_model(parent: Path, origin: Origin, console: Console) -> Path:
    """The warmed-up model, from an earlier run of the same seed or grown now."""
    folder = parent / model_name(origin.recipe, origin.seed)
    done = folder / "warm_start.json"
    if done.exists():
        console.print(f"[bold]model[/]: warmed up before, in {folder}")
        return folder
    # torch takes seconds to import, which a command line's help should not cost.
    from tir_tools.demo.model import WARM_START, grow

    columns = (TextColumn("[bold]model[/]: warm start"), BarColumn(), TextColumn("{task.fields[loss]}"))
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task("", total=WARM_START.steps, loss="")

        grow(
            folder,
            origin.recipe,
            origin.seed,
            lambda step, loss: progress.update(task, completed=step, loss=f"loss {loss:.2f} nats/token"),
        )
    done.write_text(json.dumps({"recipe": origin.recipe, "seed": origin.seed}), encoding="utf-8")
    return folder


def problem_files(origin: Origin, plan: TrainingPlan, run: RunFolder) -> tuple[Path, Path]:
    """The data files: the given ones, or the run's own where none is given or worked examples come in."""
    from pandas import DataFrame, read_parquet

    paths = []
    for part, given, problems in zip(
        ("train", "val"), (origin.train, origin.val), _generated(origin, plan), strict=True
    ):
        if given is not None and not plan.worked_examples:
            paths.append(Path(given))
            continue
        if given is None:
            table = DataFrame([verl_row(problem, index, part) for index, problem in enumerate(problems)])
        else:
            table = read_parquet(given)
        if plan.worked_examples:
            own = [problem.example for problem in problems if isinstance(problem, WordProblem)]
            shown = [(PRODUCT, example) for example in own] if given is None else [(PRODUCT, SUM)] * len(table)
            table["prompt"] = list(map(with_worked_examples, table["prompt"], shown))
        path = run.path / f"{part}.parquet"
        table.to_parquet(path)
        paths.append(path)
    return paths[0], paths[1]


def _generated(origin: Origin, plan: TrainingPlan) -> tuple[Sequence[DemoProblem | WordProblem], ...]:
    """Problems for training and for validation; a real model's validation has new words too."""
    of_a_kind = plan.val_problems_of_a_kind
    if origin.model is None:
        return split(origin.seed, plan.train_problems, of_a_kind * len(KINDS))
    count = of_a_kind * len(WORD_KINDS)
    splits = word_problem_splits(origin.seed, plan.train_problems, count, count)
    return splits.train, (*splits.val, *splits.val_phrasings)


def _explain_failure(log: Path, status: int, console: Console) -> None:
    console.print(Panel(escape(last_lines(log)), title=f"verl ended with status {status}; the end of {log}"))
