"""Makes the runs that the report's tests read: a healthy one, one without the void filter, one whose sandbox dies.

    python tests/recording/make_report_runs.py --work FOLDER [--only healthy]

Each is a real run of verl's trainer with the demo's model, on the CPU, of about three minutes. What a report reads of
it is packed into `tests/data/report_runs/NAME.tar.gz`, with the machine's paths taken out.
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pandas import DataFrame

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from arithmetic import split, transcripts, verl_row  # noqa: E402
from background import background  # noqa: E402
from faulty_proxy import FaultyProxy, Spoil, sometimes  # noqa: E402

from sandbox_server import EmbeddedSandbox, IsolationPolicy, ServerConfig  # noqa: E402
from tir_tools.demo.command import launch_command  # noqa: E402
from tir_tools.demo.folder import Origin, RunFolder  # noqa: E402
from tir_tools.demo.model import build  # noqa: E402
from tir_tools.demo.training_plan import TOY  # noqa: E402
from tir_tools.demo.warm_start import WarmStart  # noqa: E402
from tir_tools.report.metrics_log import MetricsLog  # noqa: E402
from tir_tools.report.status import EXIT_STATUS_FILE  # noqa: E402
from tir_tools.trainer import Launch  # noqa: E402

logger = logging.getLogger("make_report_runs")

STEPS = 6
SPOILT_FROM, DOWN_FROM = 2, 4
"""Steps after which half of the answers are lost, and after which all are."""
KEPT_LOG_LINES = 60


@dataclass(frozen=True)
class Recipe:
    """How a run differs from the demo."""

    overrides: dict[str, str] = field(default_factory=dict)
    sandbox_dies: bool = False


RUNS = {
    "healthy": Recipe(),
    "filter_off": Recipe({"tir.filter.void": "off"}),
    "sandbox_down": Recipe(
        {
            "tir.filter.max_aborted_ratio": "0.6",
            "tir.sandbox.retry_attempts": "2",
            "tir.sandbox.retry_total_seconds": "8",
            "tir.sandbox.patience_seconds": "2",
        },
        sandbox_dies=True,
    ),
}


def main() -> None:
    """Make the runs that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for the runs themselves")
    parser.add_argument("--model", type=Path, help="a model that the demo has warmed up; made where none is given")
    parser.add_argument("--only", choices=RUNS, action="append", help="this run; may be given several times")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    options.work.mkdir(parents=True, exist_ok=True)
    model = options.model or options.work / "model-seed0"
    if not model.exists():
        build(model, WarmStart(steps=500, number_weight=1.0), transcripts(0))
    for name in options.only or RUNS:
        folder = options.work / name
        began = time.monotonic()
        status = make(folder, RUNS[name], model.resolve())
        logger.info("%s ended with status %d after %.0f s", name, status, time.monotonic() - began)
        pack(folder, ROOT / "tests" / "data" / "report_runs" / f"{name}.tar.gz")


def make(folder: Path, recipe: Recipe, model: Path) -> int:
    """One run; returns verl's exit status."""
    folder.mkdir()
    for part, problems in zip(("train", "val"), split(0, 256, 32), strict=True):
        rows = [verl_row(problem, index, part) for index, problem in enumerate(problems)]
        DataFrame(rows).to_parquet(folder / f"{part}.parquet")
    metrics = folder / "metrics.jsonl"
    server = ServerConfig(port=0, isolation=IsolationPolicy.BEST_EFFORT)
    with EmbeddedSandbox(server) as sandbox, background() as loop:
        step = _follow(metrics)
        spoil = sometimes(0.5, 0, Spoil.RESET, Spoil.ERROR_500)
        dying = {"now": False}
        proxy = FaultyProxy(sandbox.endpoint, lambda: spoil() if dying["now"] else None)
        serving = proxy.running()
        loop.run(serving.__aenter__())
        command = launch_command(
            RunFolder(folder),
            origin=Origin("simpletir", 0, None, None, ()),
            model=model,
            train=folder / "train.parquet",
            val=folder / "val.parquet",
            endpoint=proxy.endpoint,
            steps=STEPS,
            plan=TOY,
        )
        command += [f"{key}={value}" for key, value in recipe.overrides.items()]
        (folder / "command.txt").write_text(" \\\n  ".join(command) + "\n")
        with Launch(command, folder / "verl.log", {"VERL_FILE_LOGGER_PATH": str(metrics)}) as launch:
            while (status := launch.poll()) is None:
                dying["now"] = recipe.sandbox_dies and step() >= SPOILT_FROM
                if recipe.sandbox_dies and not proxy.down and step() >= DOWN_FROM:
                    loop.run(_take_down(proxy))
                time.sleep(0.2)
        loop.run(serving.__aexit__(None, None, None))
    (folder / EXIT_STATUS_FILE).write_text(f"{status}\n")
    return status


async def _take_down(proxy: FaultyProxy) -> None:
    proxy.take_down()


def _follow(metrics: Path) -> Callable[[], int]:
    """A function that gives the last step so far."""
    log = MetricsLog([metrics])
    return lambda: log.read().last_step or 0


def pack(folder: Path, target: Path) -> None:
    """What a report reads, without the machine's paths and without all but the end of the log."""
    words = {str(folder): "RUN", str(folder.parent): "RUNS", sys.executable: "python", str(ROOT): "CHECKOUT"}
    log = folder / "verl.log"
    log.write_text("\n".join(log.read_text(errors="replace").splitlines()[-KEPT_LOG_LINES:]) + "\n")
    for path in (log, folder / "command.txt"):
        text = path.read_text()
        for word, short in words.items():
            text = text.replace(word, short)
        path.write_text(re.sub(r"(?<![\w.])/(?:[\w.@+-]+/)+(?=[\w.-])", "", text))
    target.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(target, "w:gz") as archive:
        for name in ("metrics.jsonl", "trajectories", "verl.log", "command.txt", EXIT_STATUS_FILE):
            archive.add(folder / name, name, filter=_nobody)


def _nobody(item: tarfile.TarInfo) -> tarfile.TarInfo:
    item.uid = item.gid = 0
    item.uname = item.gname = ""
    return item


if __name__ == "__main__":
    main()
