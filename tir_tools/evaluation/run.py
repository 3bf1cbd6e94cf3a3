"""`verl-tir eval`: what is there, what is missing, verl's validation of the missing, and the table."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel

from tir_tools.evaluation.checkpoint import CheckpointError, CheckpointKind
from tir_tools.evaluation.command import OverrideError
from tir_tools.evaluation.conclude import conclude
from tir_tools.evaluation.cost import Cost, cost_of, read_attempts
from tir_tools.evaluation.folder import FolderInUseError, in_folder
from tir_tools.evaluation.launch import MergeError, log_of, merged, validate
from tir_tools.evaluation.problems import BenchmarkError, validation_table
from tir_tools.evaluation.published import RegistryError
from tir_tools.evaluation.request import PROBLEMS, EvalRequest, Evaluation, overrides_of, understand
from tir_tools.evaluation.samples import Collected
from tir_tools.evaluation.settings import SettingsError, check_same, write_settings
from tir_tools.trainer import last_lines

if TYPE_CHECKING:
    from omegaconf import DictConfig

_INPUT_ERRORS = (
    BenchmarkError,
    CheckpointError,
    FolderInUseError,
    MergeError,
    OverrideError,
    RegistryError,
    SettingsError,
)


def run_eval(request: EvalRequest, console: Console) -> int:
    """Evaluate, or resume what was begun in the folder; returns the exit status. Ctrl-C keeps what is finished."""
    try:
        with _terminable():
            with console.status("reading the checkpoint, the files and the settings ..."):
                evaluation = understand(request)
                check_same(request.folder, evaluation.settings)
            if request.dry_run:
                _tell_cost(evaluation, evaluation.collect(), console)
                return 0
            with in_folder(request.folder):
                # Once more, for another process may have begun here meanwhile.
                check_same(request.folder, evaluation.settings)
                return _run(evaluation, console)
    except _INPUT_ERRORS as error:
        console.print(escape(str(error)), style="red", highlight=False)
        return 2
    except KeyboardInterrupt:
        console.print(
            f"\nstopped; what was finished is kept, and the same command resumes from there: {request.folder}"
        )
        return 130


def _run(evaluation: Evaluation, console: Console) -> int:
    request, settings = evaluation.request, evaluation.settings
    found = evaluation.collect()
    _tell_cost(evaluation, found, console)
    missing = found.missing()
    if missing:
        status = _take(evaluation, missing, console)
        found = evaluation.collect()
        if status and found.missing():
            return status
    write_settings(request.folder, settings)
    conclude(evaluation, found, console)
    if left := sum(found.missing().values()):
        console.print(f"{left} samples are missing or were given up; the same command takes them again", style="yellow")
    return 0


def _take(evaluation: Evaluation, missing: Mapping[int, int], console: Console) -> int:
    """Have verl take the missing samples; returns its exit status."""
    request, settings, checkpoint = evaluation.request, evaluation.settings, evaluation.checkpoint
    if not _sandbox_works(evaluation.config, console):
        return 1
    write_settings(request.folder, settings)
    pq.write_table(validation_table(missing, evaluation.problems), request.folder / PROBLEMS)
    if checkpoint.kind is CheckpointKind.SHARDS:
        with console.status("merging the shards with verl's merger ..."):
            trust = bool(evaluation.config.actor_rollout_ref.model.trust_remote_code)
            merged(checkpoint, request.folder, trust_remote_code=trust)
    number = len(read_attempts(request.folder)) + 1
    words = overrides_of(request, settings.at("tir.recipe"), settings.samples, checkpoint, number)
    status = validate(request.folder, words, sum(missing.values()), number, console)
    if status:
        log = log_of(request.folder, number)
        console.print(Panel(escape(last_lines(log)), title=f"verl ended with status {status}; the end of {log}"))
        console.print("what was finished is kept, and the same command resumes from there")
    return status


def _sandbox_works(config: DictConfig, console: Console) -> bool:
    """Whether programs run, asked in seconds and not after the engine has started."""
    from omegaconf import OmegaConf

    from verl_tir.config import TirConfig
    from verl_tir.doctor import check_sandbox

    tir = TirConfig.from_node(OmegaConf.to_container(config.tir, resolve=True))
    with console.status("trying the sandbox ..."):
        failed = [finding for finding in asyncio.run(check_sandbox(tir.sandbox)) if not finding.ok]
    for finding in failed:
        console.print(escape(f"{finding.name}: {finding.detail}\n{finding.fix}"), style="red", highlight=False)
    return not failed


def _tell_cost(evaluation: Evaluation, found: Collected, console: Console) -> None:
    config, samples = evaluation.config, evaluation.settings.samples
    cost = cost_of(
        found.missing(),
        sum(map(len, found.samples.values())),
        max_response_tokens=config.data.max_response_length,
        max_turns=config.tir.rollout.max_turns,
        max_tool_calls=config.tir.rollout.max_tool_calls,
        attempts=read_attempts(evaluation.request.folder),
    )
    for benchmark in evaluation.benchmarks:
        count = len(benchmark.problems)
        console.print(f"[bold]{escape(benchmark.name)}[/]: {count} problems x {samples} samples = {count * samples:,}")
    console.print(_cost_text(cost), highlight=False)


def _cost_text(cost: Cost) -> str:
    if not cost.trajectories:
        return f"all {cost.done:,} trajectories are there"
    calls = "sandbox calls as the tokens allow" if cost.calls is None else f"{cost.calls:,} sandbox calls"
    went = f"{cost.done:,} trajectories are there; " if cost.done else ""
    text = f"{went}to do: {cost.trajectories:,} trajectories, at most {cost.tokens:,} response tokens and {calls}"
    if cost.seconds is None:
        return f"{text}; how long that takes is known after a first attempt"
    return f"{text}; about {cost.seconds / 60:,.0f} min at the rate of the last attempt"


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM, which a cluster's scheduler sends, end the run in order as Ctrl-C does."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
