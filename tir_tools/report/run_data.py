"""A run as its files tell of it: the folder that `verl-tir demo` leaves, or a metrics file and a dump of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tir_tools.report.dump_index import DumpIndex, index_dump
from tir_tools.report.findings import findings_of
from tir_tools.report.history import History
from tir_tools.report.marks.mark import RunFinding
from tir_tools.report.metrics_log import MetricsLog
from tir_tools.report.settings import LaunchSettings, read_settings
from tir_tools.report.status import RunProgress, read_status
from verl_tir.dump.reader import dump_files

_DUMP_NAMES = ("trajectories", "dump")
_LOG_NAME = "verl.log"


class RunNotFoundError(ValueError):
    """There is nothing to report on; the message says what was looked for."""


@dataclass(frozen=True, slots=True)
class RunFiles:
    """Where a run's files lie."""

    name: str
    folder: Path | None
    metrics: tuple[Path, ...]
    """Of verl's file logger; of a run that was resumed one for each part, if they were kept apart."""
    dump: Path | None
    log: Path | None

    @classmethod
    def find(cls, folder: Path | None, metrics: Sequence[Path] = (), dump: Path | None = None) -> RunFiles:
        """Look in a run's folder for what is not named.

        Raises:
            RunNotFoundError: there are neither metrics nor trajectories.
        """
        for path in (*((folder,) if folder else ()), *metrics, *((dump,) if dump else ())):
            if not path.exists():
                raise RunNotFoundError(f"{path} does not exist")
        if folder is not None and not folder.is_dir():
            raise RunNotFoundError(f"{folder} is not a folder; give its metrics as --metrics {folder}")
        if folder is not None:
            metrics = metrics or sorted(folder.glob("metrics*.jsonl"), key=lambda path: path.stat().st_mtime)
            places = [folder / name for name in _DUMP_NAMES]
            # A dump's own folder is a run without anything else.
            dump = dump or next((place for place in (*places, folder) if dump_files(place)), None)
        log = None if folder is None else folder / _LOG_NAME
        # A run that failed before its first step has a log alone.
        if not metrics and dump is None and not (log is not None and log.is_file()):
            raise RunNotFoundError(
                f"{folder} holds neither metrics*.jsonl nor trajectories/train/*.jsonl; name them with --metrics FILE "
                "(verl writes it with trainer.logger=[console,file], to VERL_FILE_LOGGER_PATH) and --dump FOLDER "
                "(tir.dump_dir)"
            )
        named = folder or (metrics[0].with_suffix("") if metrics else dump)
        assert named is not None
        return cls(named.resolve().name, folder, tuple(metrics), dump, log)


@dataclass(frozen=True, slots=True)
class Run:
    """What is known of a run."""

    name: str
    settings: LaunchSettings
    status: RunProgress
    history: History
    """The metrics, with what the dump adds to them."""
    index: DumpIndex | None
    """None without a dump."""
    findings: tuple[RunFinding, ...]
    """The worst first."""
    remarks: tuple[str, ...]
    """On what the files lack."""


def read_run(files: RunFiles) -> Run:
    """Read everything but the texts of trajectories.

    Raises:
        MetricsError, DumpError: a file is of another kind or version.
    """
    logged = MetricsLog(files.metrics).read()
    index = None if files.dump is None else index_dump(files.dump)
    history = logged if index is None else logged.with_values(index.metrics)
    settings = LaunchSettings() if files.folder is None else read_settings(files.folder)
    status = read_status(files.folder, files.log, files.metrics, history.last_step, settings.total_steps)
    return Run(
        files.name,
        settings,
        status,
        history,
        index,
        tuple(findings_of(history, status)),
        tuple(_remarks(logged, index)),
    )


def _remarks(logged: History, index: DumpIndex | None) -> list[str]:
    remarks = []
    if index is None:
        remarks.append("Without a trajectory dump (tir.dump_dir) there are no trajectories, behaviours and fates here.")
    else:
        lacking = sorted(index.metrics.keys() - set(logged.training_steps))
        if lacking:
            remarks.append(
                f"The metrics of {len(lacking)} steps ({lacking[0]} to {lacking[-1]}) are worked out from the "
                "trajectory dump, without verl's own: its file logger empties its file when a run is resumed."
            )
        if index.sessions > 1:
            remarks.append(
                f"The run was resumed {index.sessions - 1} times; {index.repeated:,} trajectories of steps that were "
                "done again are left out."
            )
        if index.unreadable:
            remarks.append(f"{index.unreadable} lines of the dump were left half written, and are left out.")
    return remarks
