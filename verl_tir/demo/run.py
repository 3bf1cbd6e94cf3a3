"""`verl-tir demo`: from nothing to a trained tiny model, with stock verl, vLLM, FSDP and the embedded sandbox."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from verl_tir.demo.command import (
    REAL,
    TOOL_MESSAGES,
    TOY,
    isolation_of,
    launch_command,
    recipe_of,
)
from verl_tir.demo.formats import model_name, transcripts_for
from verl_tir.demo.progress import STEP_COLUMNS, step_cells, validation_accuracy
from verl_tir.demo.tasks import split, verl_row
from verl_tir.doctor import survey_quietly
from verl_tir.processes import Launch
from verl_tir.report.metrics_log import parse_metrics
from verl_tir.report.status import EXIT_STATUS_FILE
from verl_tir.report.write import ReportRequest, write_report
from verl_tir.sandbox_server.config import ServerConfig
from verl_tir.sandbox_server.crew import SandboxSetupError
from verl_tir.sandbox_server.isolation import IsolationPolicy
from verl_tir.sandbox_server.launcher import EmbeddedSandbox, SandboxStartError
from verl_tir.selection import without
from verl_tir.start_up import StartUp, last_lines
from verl_tir.tail import Tail

_POLL_SECONDS = 0.3
_WIDTHS = (5, *(max(7, len(name)) for name in STEP_COLUMNS))


@dataclass(frozen=True, slots=True)
class DemoSettings:
    folder: Path
    """Where runs and the warmed-up model are kept."""
    steps: int
    seed: int
    train: Path | None
    val: Path | None
    overrides: tuple[str, ...]
    """Further Hydra overrides for verl's launch command."""


@dataclass(slots=True)
class _History:
    """What was seen of the training."""

    steps: list[dict[str, Any]]
    """Each training step's metrics."""
    accuracies: list[tuple[int, float]]
    start_up: StartUp


def run_demo(settings: DemoSettings, console: Console) -> int:
    """Run the demo; returns the process's exit status. Ctrl-C ends everything that it started."""
    run = settings.folder / f"demo-{datetime.now():%Y%m%d-%H%M%S}"
    run.mkdir(parents=True)
    try:
        return _run(settings, run, console)
    except KeyboardInterrupt:
        (run / EXIT_STATUS_FILE).write_text("130\n", encoding="utf-8")
        console.print(f"\nstopped; everything that was started has ended. What there is so far: {run}")
        return 130
    except (SandboxSetupError, SandboxStartError) as error:
        console.print(escape(str(error)), style="red")
        return 1


def _run(settings: DemoSettings, run: Path, console: Console) -> int:
    try:
        server = ServerConfig(port=0, isolation=isolation_of(settings.overrides))
    except ValueError as error:
        console.print(f"tir.sandbox.isolation: {error}", style="red")
        return 2
    _tell_isolation(server, console)
    began = time.perf_counter()
    model = _warm_model(settings, console)
    warm_seconds = time.perf_counter() - began
    train, val = _problems(settings, run)
    recipe = recipe_of(settings.overrides)
    toy = TOOL_MESSAGES if recipe == "hermes" else TOY
    sizes = toy if settings.train is None and settings.val is None else REAL
    metrics_file, log = run / "metrics.jsonl", run / "verl.log"
    with EmbeddedSandbox(server) as sandbox:
        command = launch_command(
            recipe=recipe,
            run=run,
            model=model,
            train=train,
            val=val,
            endpoint=sandbox.endpoint,
            steps=settings.steps,
            seed=settings.seed,
            sizes=sizes,
        )
        command += without("tir", settings.overrides)
        (run / "command.txt").write_text(" \\\n  ".join(command) + "\n", encoding="utf-8")
        console.print(f"[bold]verl[/]: {settings.steps} GRPO steps, 16 problems x 8 samples each; log: {log}")
        with Launch(command, log, {"VERL_FILE_LOGGER_PATH": str(metrics_file)}) as launch:
            history = _follow(launch, Tail(metrics_file), console)
            status = launch.poll()
    (run / EXIT_STATUS_FILE).write_text(f"{status}\n", encoding="utf-8")
    if status:
        _explain_failure(log, status, console)
    else:
        _summarize(run, history, warm_seconds, time.perf_counter() - began, console)
    console.print(f"everything of this run: {run}; to be read in a browser:")
    write_report(ReportRequest((run,)), console)
    return status


def _tell_isolation(server: ServerConfig, console: Console) -> None:
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
    console.print(
        f"tir.sandbox.isolation={server.isolation}; the toy's programs are harmless, a real model's need not be: "
        "[bold]verl-tir doctor[/] tells the ways out"
    )


def _warm_model(settings: DemoSettings, console: Console) -> Path:
    """The warmed-up model, from an earlier run of the same seed or grown now."""
    recipe = recipe_of(settings.overrides)
    folder = settings.folder / model_name(recipe, settings.seed)
    done = folder / "warm_start.json"
    if done.exists():
        console.print(f"[bold]model[/]: warmed up before, in {folder}")
        return folder
    # torch takes seconds to import, which a command line's help should not cost.
    from verl_tir.demo.model import WarmStart, build

    warm_start = WarmStart(seed=settings.seed)
    columns = (TextColumn("[bold]model[/]: warm start"), BarColumn(), TextColumn("{task.fields[loss]}"))
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task("", total=warm_start.steps, loss="")
        build(
            folder,
            warm_start,
            transcripts_for(recipe, warm_start.seed),
            progress=lambda step, loss: progress.update(task, completed=step, loss=f"loss {loss:.2f} nats/token"),
        )
    done.write_text(json.dumps({"seed": warm_start.seed, "steps": warm_start.steps}), encoding="utf-8")
    return folder


def _problems(settings: DemoSettings, run: Path) -> tuple[Path, Path]:
    """The data files: the given ones, or generated ones where none is given."""
    from pandas import DataFrame

    paths = []
    for part, given, problems in zip(
        ("train", "val"), (settings.train, settings.val), split(settings.seed, 512, 64), strict=True
    ):
        path = run / f"{part}.parquet" if given is None else given.resolve()
        if given is None:
            rows = [verl_row(problem, index, part) for index, problem in enumerate(problems)]
            DataFrame(rows).to_parquet(path)
        paths.append(path)
    return paths[0], paths[1]


def _follow(launch: Launch, metrics: Tail, console: Console) -> _History:
    """Show the run until it ends."""
    history = _History([], [], StartUp())
    log = Tail(launch.log)
    began = last = time.perf_counter()
    with console.status("") as status:
        running = True
        while running:
            # Asked before the files are read, so that what was written last is not missed.
            running = launch.poll() is None
            now = time.perf_counter()
            for line in log.lines():
                history.start_up.read(line, now - began)
            for line in metrics.lines():
                step, data = parse_metrics(line)
                accuracy = validation_accuracy(data)
                if accuracy is not None:
                    history.accuracies.append((step, accuracy))
                    console.print(f"sampled validation accuracy at step {step}: {accuracy:.2f}")
                if "actor/grad_norm" not in data:
                    console.print(_aligned(("step", *STEP_COLUMNS)), style="bold")
                else:
                    history.steps.append(data)
                    console.print(_aligned((str(step), *step_cells(data))))
                last = now
            where = f"step {len(history.steps) + 1}" if history.accuracies else history.start_up.current
            status.update(f"{where} ... {now - (last if history.accuracies else began):.0f} s")
            if running:
                time.sleep(_POLL_SECONDS)
    return history


def _aligned(cells: tuple[str, ...]) -> str:
    return " ".join(cell.rjust(width) for cell, width in zip(cells, _WIDTHS, strict=True))


def _explain_failure(log: Path, status: int, console: Console) -> None:
    console.print(Panel(escape(last_lines(log)), title=f"verl ended with status {status}; the end of {log}"))


def _summarize(run: Path, history: _History, warm_seconds: float, total: float, console: Console) -> None:
    times = Table("where the time went", "seconds", title="")
    times.add_row("model warm start", f"{warm_seconds:.1f}")
    for name, seconds in history.start_up.seconds.items():
        times.add_row(name, f"{seconds:.1f}")
    for part in ("gen", "old_log_prob", "adv", "update_actor", "update_weights"):
        spent = sum(data.get(f"timing_s/{part}", 0.0) for data in history.steps)
        times.add_row(f"{len(history.steps)} steps: {part}", f"{spent:.1f}")
    times.add_row("all", f"{total:.1f}")
    console.print(times)
    window = max(1, min(5, len(history.steps) // 2))
    console.print(f"\n[bold]first {window} and last {window} steps[/]")
    for name, key in (
        ("reward", "critic/rewards/mean"),
        ("void ratio", "tir/void_ratio"),
        ("trajectories with code", "tir/code_ratio"),
    ):
        values = [data[key] for data in history.steps]
        first, final = sum(values[:window]) / window, sum(values[-window:]) / window
        console.print(f"  {name}: {first:.2f} -> {final:.2f}")
    if history.accuracies:
        shown = ", ".join(f"{accuracy:.2f} at step {step}" for step, accuracy in history.accuracies)
        console.print(f"  sampled validation accuracy: {shown}")
    _show_samples(run / "trajectories" / "train", console)


def _show_samples(dump: Path, console: Console) -> None:
    """A trajectory of the last step of each kind that there is: rewarded with code, void, neither."""
    latest = max(dump.glob("*.jsonl"))
    last = [json.loads(line) for line in latest.read_text(encoding="utf-8").splitlines()]
    kinds = (
        lambda line: line["reward"] > 0 and any(turn["has_code"] for turn in line["turns"]),
        lambda line: line["stop_reason"] == "void",
        lambda line: line["reward"] <= 0 and line["stop_reason"] != "void",
    )
    chosen = [found for kind in kinds if (found := next(filter(kind, last), None)) is not None]
    for line in chosen:
        styles = {"prompt": "dim", "model": "", "tool": "cyan"}
        text = "".join(
            f"[{styles[s['role']]}]{escape(s['text'])}[/]" if styles[s["role"]] else escape(s["text"])
            for s in line["segments"]
        )
        title = f"reward {line['reward']:g}, stopped: {line['stop_reason']}, in the update: {line['fate']}"
        console.print(Panel(text, title=title, subtitle="prompt dim, tool output in cyan"))
