"""verl's validation as a process: started, watched while trajectories finish, and ended with all that it started."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tir_tools.evaluation.checkpoint import Checkpoint, CheckpointError
from tir_tools.evaluation.command import DUMP, launch_command, merge_command
from tir_tools.evaluation.cost import Attempt, write_attempt
from tir_tools.evaluation.folder import noted
from tir_tools.evaluation.request import MERGED
from tir_tools.files import Tail
from tir_tools.trainer import ENGINE, Launch, StartUp, last_lines

_POLL_SECONDS = 0.5
_KEEP_SECONDS = 5.0
"""Between two notes of how the attempt goes."""


class MergeError(RuntimeError):
    """verl's merger did not make a model of the shards."""


def merged(checkpoint: Checkpoint, folder: Path, *, trust_remote_code: bool) -> Path:
    """The Hugging Face folder of a checkpoint of shards: merged before, or now.

    Raises:
        MergeError: verl's merger failed; the message ends with its last lines.
        CheckpointError: the shards hold a LoRA adapter, which the merger puts beside the base model.
    """
    target, partial = folder / MERGED, folder / f"{MERGED}.partial"
    if target.is_dir():
        return target
    shutil.rmtree(partial, ignore_errors=True)
    log = folder / "merge.log"
    with log.open("wb") as output:
        command = merge_command(Path(checkpoint.location), partial, trust_remote_code=trust_remote_code)
        status = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT).returncode
    if status:
        raise MergeError(f"verl's merger ended with status {status}; the end of {log}:\n{last_lines(log)}")
    if (partial / "lora_adapter").exists():
        raise CheckpointError(
            f"{checkpoint.location} was trained with LoRA, and {partial} holds its base model beside the adapter: "
            "merge the adapter into it, and name the result"
        )
    partial.rename(target)
    return target


def validate(folder: Path, overrides: Sequence[str], wanted: int, number: int, console: Console) -> int:
    """Run verl's validation in a folder until it ends; returns its exit status.

    Args:
        folder: the evaluation's.
        overrides: of the launch.
        wanted: trajectories that it is to finish.
        number: of the attempt.
        console: where progress is shown.
    """
    command = launch_command(overrides)
    (folder / "command.txt").write_text(" \\\n  ".join(command) + "\n", encoding="utf-8")
    launch = Launch(command, log_of(folder, number), {})
    with noted(folder, launch.mark), launch:
        return _follow(launch, folder, wanted, number, console)


def log_of(folder: Path, number: int) -> Path:
    """verl's log of an attempt."""
    return folder / f"verl-{number}.log"


def _follow(launch: Launch, folder: Path, wanted: int, number: int, console: Console) -> int:
    """Show the run until it ends, and keep how fast it is."""
    finished, log, start_up = _Finished(folder / DUMP / "val"), Tail(launch.log), StartUp()
    began = kept = time.monotonic()
    attempt = Attempt(number, 0, 0.0, 0.0)
    write_attempt(folder, attempt)
    columns = (TextColumn("[bold]verl[/] {task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task("", total=wanted)
        running = True
        while running:
            # Asked before the files are read, so that what was written last is not missed.
            running = launch.poll() is None
            now = time.monotonic() - began
            for line in log.lines():
                start_up.read(line, now)
            if not attempt.started and ENGINE in start_up.seconds:
                attempt = replace(attempt, started=sum(start_up.seconds.values()))
            if new := finished.new():
                attempt = replace(attempt, trajectories=attempt.trajectories + new, last=now)
            if not running or time.monotonic() - kept > _KEEP_SECONDS:
                write_attempt(folder, attempt)
                kept = time.monotonic()
            what = "validates" if attempt.started or attempt.trajectories else start_up.current
            progress.update(task, completed=attempt.trajectories, description=what)
            if running:
                time.sleep(_POLL_SECONDS)
    status = launch.poll()
    assert status is not None
    return status


class _Finished:
    """Counts the trajectories that are appended to a dump; those that were there before do not count."""

    def __init__(self, dump: Path) -> None:
        self._dump = dump
        self._tails = {file: Tail.from_end(file) for file in dump.glob("*.jsonl")}

    def new(self) -> int:
        """Trajectories since the last look, without those that sandbox or engine gave up."""
        count = 0
        for file in self._dump.glob("*.jsonl"):
            for line in self._tails.setdefault(file, Tail(file)).lines():
                count += _fate(line) == "train"
        return count


def _fate(line: str) -> str | None:
    try:
        return json.loads(line).get("fate")
    except json.JSONDecodeError:  # what a killed run left half written
        return None
