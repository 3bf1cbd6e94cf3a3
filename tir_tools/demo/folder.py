"""A demo run's folder: what is in it, and how a run that resumes another continues in it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from tir_tools.files import write_text
from tir_tools.report.metrics_log import metric_lines
from tir_tools.report.status import EXIT_STATUS_FILE


class ResumeError(ValueError):
    """A run cannot be resumed; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What a run was started with, and keeps when it is resumed."""

    recipe: str
    seed: int
    train: str | None
    """The given training data; None for generated problems."""
    val: str | None
    overrides: tuple[str, ...]
    model: str | None = None
    """A name or a path, as `--model` took it; None for the toy, and in runs of before there were others."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths of a run, and of its part from the checkpoint that it resumed."""

    path: Path
    resumed_at: int | None = None
    """The step of the checkpoint that verl resumes from; None for a run from the start."""

    @classmethod
    def new(cls, parent: Path, origin: Origin) -> RunFolder:
        """An empty folder for a run that begins now."""
        folder = cls(parent / f"demo-{datetime.now():%Y%m%d-%H%M%S}")
        folder.path.mkdir(parents=True)
        folder.keep(origin)
        return folder

    @classmethod
    def resume(cls, parent: Path, name: str, steps: int) -> RunFolder:
        """The folder of a run that has a checkpoint before step `steps`; its metrics are cut there.

        Args:
            parent: folder of all runs.
            name: of the run's folder in it, a path, or `last`.
            steps: up to which the run is to continue.

        Raises:
            ResumeError: there is no such run, it has no checkpoint, or it has nothing left to do.
        """
        runs = sorted(parent.glob("demo-*"))
        found = runs[-1] if name == "last" and runs else next(filter(Path.is_dir, (parent / name, Path(name))), None)
        if found is None:
            raise ResumeError(f"--resume {name}: no such run; {parent} has {', '.join(r.name for r in runs) or 'none'}")
        folder = cls(found.resolve())
        if not folder._origin_file.exists():
            raise ResumeError(f"--resume {name}: {found} has no {folder._origin_file.name}: not a run of the demo")
        step = folder.last_checkpoint
        if step is None:
            raise ResumeError(f"--resume {name}: {found} has no checkpoint yet; start a new run without --resume")
        if step >= steps:
            raise ResumeError(f"--resume {name}: {found} is at step {step} already; resume with --steps above {step}")
        folder.exit_status.unlink(missing_ok=True)
        folder.join_metrics(up_to=step)
        return cls(folder.path, step)

    @property
    def origin(self) -> Origin:
        """What the run was started with."""
        fields = json.loads(self._origin_file.read_text(encoding="utf-8"))
        return Origin(**{**fields, "overrides": tuple(fields["overrides"])})

    def keep(self, origin: Origin) -> None:
        """Write down what the run was started with."""
        write_text(self._origin_file, json.dumps(asdict(origin), indent=2) + "\n")

    @property
    def _origin_file(self) -> Path:
        return self.path / "demo.json"

    @property
    def metrics(self) -> Path:
        """The metrics of all steps, in verl's lines."""
        return self.path / "metrics.jsonl"

    @property
    def live_metrics(self) -> Path:
        """Where verl writes now: its file logger empties its file when it opens it."""
        return self.metrics if self.resumed_at is None else self.path / f"metrics-from-{self.resumed_at}.jsonl"

    @property
    def log(self) -> Path:
        """What verl and all its processes print."""
        return self.path / f"verl{self._part}.log"

    @property
    def command(self) -> Path:
        """The launch command."""
        return self.path / f"command{self._part}.txt"

    @property
    def summary(self) -> Path:
        """The run in figures, for programs."""
        return self.path / "summary.json"

    @property
    def exit_status(self) -> Path:
        """What verl ended with, or 130 after Ctrl-C; not there while it runs."""
        return self.path / EXIT_STATUS_FILE

    @property
    def trajectories(self) -> Path:
        """The trajectory dump."""
        return self.path / "trajectories"

    @property
    def checkpoints(self) -> Path:
        """verl's checkpoints."""
        return self.path / "checkpoints"

    @property
    def last_checkpoint(self) -> int | None:
        """The step of the newest checkpoint; None where there is none yet."""
        tracker = self.checkpoints / "latest_checkpointed_iteration.txt"
        return int(tracker.read_text(encoding="utf-8")) if tracker.exists() else None

    @property
    def _part(self) -> str:
        return "" if self.resumed_at is None else f"-from-{self.resumed_at}"

    def join_metrics(self, up_to: int | None = None) -> None:
        """Bring all parts together in `metrics.jsonl`, a step once: the later part's, without steps after `up_to`."""
        parts = {int(path.stem.rpartition("-")[2]): path for path in self.path.glob("metrics-from-*.jsonl")}
        steps = dict(metric_lines(self.metrics))
        for begin, part in sorted(parts.items()):
            steps = {step: line for step, line in steps.items() if step <= begin}
            steps |= {step: line for step, line in metric_lines(part) if step > begin}
        kept = [line for step, line in sorted(steps.items()) if up_to is None or step <= up_to]
        write_text(self.metrics, "".join(f"{line}\n" for line in kept))
        for part in parts.values():
            part.unlink()
