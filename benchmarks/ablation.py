"""SimpleTIR's ablation (arXiv 2509.02479) on the demo's small model, made hard: what void turns do to training.

    python benchmarks/ablation.py --folder runs/ablation
    python benchmarks/ablation.py --folder runs/gentle --learning-rate 1.5e-4 --problems 16 --mini-batch 16 --talk 0
    python benchmarks/ablation.py --folder runs/real --model smollm2 --learning-rate 1e-4 --parallel 1 --seeds 0 1 \
        --arms SimpleTIR "naive multi-turn" "stop, no filter"

Every arm is a run of `verl-tir demo`, whole verl, vLLM and FSDP, with `+ablation=NAME`; the arms of a seed begin with
the same model and meet the same problems. What makes it hard: half of the programs print a preamble before their result
that the model never saw, more turns with more room, a high learning rate, and several updates per batch, so that the
policy moves away from the one that sampled. A run that has finished in the folder is not run again: what was broken off
goes on where it was. The rows are Markdown; an interval is of 95%, over seeds.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import IO, Any

from ablation_chain import Links, chain
from ablation_outcome import WINDOW, Outcome, against_first, by_turn, table
from ablation_sandbox import talkative
from rich.console import Console

from sandbox_server import EmbeddedSandbox, IsolationPolicy, ServerConfig
from tir_tools.demo.folder import Origin
from tir_tools.demo.formats import model_name
from tir_tools.demo.pretrained import pretrained_model
from tir_tools.demo.run import warm_model
from tir_tools.report.metrics_log import read_metrics
from verl_tir.dump.reader import read_dump

ARMS = {
    "SimpleTIR": None,
    "naive multi-turn": "naive_multi_turn",
    "stop, no filter": "stop_without_filter",
    "low-probability mask": "low_probability_mask",
    "high-ratio mask": "high_ratio_mask",
}
"""The paper's grid: names, and those of `recipes/ablation`."""
WARM_START, RUN = 90.0, 220.0
"""Seconds on two cores, for the estimate until runs of this folder say better."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What the arms share."""

    steps: int
    learning_rate: float
    problems: int
    """Of a step, each sampled 8 times, or as often as the demo does it with a real model."""
    mini_batch: int
    """Problems per update."""
    turns: int
    talk: float
    """Share of the programs that print a preamble."""
    model: str | None = None
    """As `verl-tir demo --model` takes it; None for the toy."""

    def overrides(self, endpoint: str) -> list[str]:
        """Of the demo's launch command."""
        return [
            f"tir.sandbox.endpoints=[{endpoint}]",
            f"tir.rollout.max_turns={self.turns}",
            "tir.rollout.max_turn_tokens=96",
            "tir.dump_token_log_probs=false",
            "data.max_response_length=320",
            f"data.train_batch_size={self.problems}",
            f"actor_rollout_ref.actor.optim.lr={self.learning_rate}",
            f"actor_rollout_ref.actor.ppo_mini_batch_size={self.mini_batch}",
            "trainer.save_freq=-1",
            f"trainer.test_freq={self.steps}",
        ]


@dataclass(frozen=True, slots=True)
class Job:
    """One run, in a folder of its own."""

    arm: str
    seed: int
    folder: Path

    @property
    def done(self) -> Path:
        """Holds the seconds that it took; not there before it has finished."""
        return self.folder / "seconds.json"

    def run(self, setting: Setting, endpoint: str, model: Path) -> None:
        """Run it, from the given or the warmed-up model. Raises RuntimeError when verl fails."""
        shutil.rmtree(self.folder, ignore_errors=True)
        command = [sys.executable, "-m", "verl_tir", "demo", f"--folder={self.folder}", f"--seed={self.seed}"]
        if setting.model is None:
            shutil.copytree(model, self.folder / model.name)
        else:
            self.folder.mkdir()
            command.append(f"--model={model}")
        command += [f"--steps={setting.steps}", *setting.overrides(endpoint)]
        if (name := ARMS[self.arm]) is not None:
            command.append(f"+ablation={name}")
        began = time.perf_counter()
        with (self.folder / "demo.log").open("w", encoding="utf-8") as log:
            status = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT).returncode
        if status:
            raise RuntimeError(f"{self.arm}, seed {self.seed} ended with status {status}: {log.name}")
        self.done.write_text(json.dumps(time.perf_counter() - began), encoding="utf-8")

    def outcome(self) -> Outcome:
        """What a finished run came to."""
        return Outcome.of(self._steps())

    def links(self) -> Links:
        """The paper's chain in a finished run."""
        (dump,) = self.folder.glob("demo-*/trajectories")
        sampled = (line.trajectory for line in read_dump(dump) if line.partition == "train")
        return Links.of(sampled, self._steps())

    def _steps(self) -> list[dict[str, Any]]:
        (metrics,) = self.folder.glob("demo-*/metrics.jsonl")
        return [data for _, data in read_metrics(metrics)]


def settle(folder: Path, setting: Setting) -> None:
    """Keep the folder to one setting: runs of two would make one table. Exits where it has another."""
    file = folder / "setting.json"
    wanted = json.dumps(asdict(setting), indent=1)
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(wanted, encoding="utf-8")
    elif (found := file.read_text(encoding="utf-8")) != wanted:
        sys.exit(f"--folder {folder} holds runs of another setting; name another folder. There: {found}")


def lock(folder: Path) -> None:
    """Keep the folder for this process, to its end. Exits where another one makes runs in it."""
    file = (folder / "lock").open("w", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(f"--folder {folder}: another process makes its runs; --finished shows what there is")
    _held.append(file)


_held: list[IO[str]] = []
"""A file that is closed is no longer locked."""


def tell_estimate(open_jobs: Sequence[Job], jobs: Sequence[Job], parallel: int, cold: int) -> None:
    """Say how long it will take, by the runs that are there; `cold` seeds' models have to be grown first."""
    known = [json.loads(job.done.read_text(encoding="utf-8")) for job in jobs if job.done.exists()]
    each = median(known) if known else RUN * (1 if parallel == 1 else 1.6)
    seconds = each * -(-len(open_jobs) // parallel) + WARM_START * cold
    print(
        f"{len(open_jobs)} of {len(jobs)} runs to go, {parallel} at a time: about {timedelta(seconds=round(seconds))}"
    )


def run_all(open_jobs: Sequence[Job], folder: Path, setting: Setting, parallel: int) -> None:
    """All that is open; the first run that fails ends it when those under way are over."""
    seeds = sorted({job.seed for job in open_jobs})
    if setting.model is None:
        models = {seed: warm_model(folder, Origin("simpletir", seed, None, None, ()), Console()) for seed in seeds}
    else:
        models = dict.fromkeys(seeds, pretrained_model(folder, setting.model, Console()))
    server = ServerConfig(port=0, isolation=IsolationPolicy.BEST_EFFORT)
    with (
        EmbeddedSandbox(server) as sandbox,
        talkative(sandbox.endpoint, setting.talk) as endpoint,
        ThreadPoolExecutor(parallel) as pool,
    ):
        futures = [(job, pool.submit(job.run, setting, endpoint, models[job.seed])) for job in open_jobs]
        try:
            for job, future in futures:
                future.result()
                print(f"{time.strftime('%X')} {job.arm}, seed {job.seed}: {job.outcome()}", flush=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def show(rows: Sequence[Sequence[str]]) -> None:
    """As Markdown."""
    for row in (rows[0], ("---",) * len(rows[0]), *rows[1:]):
        print("| " + " | ".join(row) + " |")
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where the runs are kept, finished ones included")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), metavar="ARM", help=", ".join(ARMS))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--learning-rate", type=float, default=4e-4, help="the demo's is 1.5e-4, a real model's 3e-5")
    parser.add_argument("--problems", type=int, default=8, help="of a step, each sampled 8 times")
    parser.add_argument("--mini-batch", type=int, default=2, help="problems per update")
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--talk", type=float, default=0.5, help="share of the programs that print a preamble")
    parser.add_argument("--model", metavar="NAME|PATH", help="as the demo's; without it the toy")
    parser.add_argument("--parallel", type=int, default=2, help="runs at a time")
    parser.add_argument("--finished", action="store_true", help="run nothing: the tables of the seeds that are whole")
    options = parser.parse_args()
    if options.steps < WINDOW:
        parser.error(f"--steps {options.steps}: at least {WINDOW}, over which success is averaged")
    setting = Setting(**{field.name: getattr(options, field.name) for field in fields(Setting)})
    folder = options.folder.resolve()
    settle(folder, setting)
    jobs = [
        Job(arm, seed, folder / f"{(ARMS[arm] or 'simpletir')}-seed{seed}")
        for seed in options.seeds
        for arm in options.arms
    ]
    open_jobs = [job for job in jobs if not job.done.exists()]
    if options.finished:
        whole = {job.seed for job in jobs} - {job.seed for job in open_jobs}
        if not whole:
            sys.exit(f"--finished: no seed has all of its arms in {folder} yet")
        jobs = [job for job in jobs if job.seed in whole]
    elif open_jobs:
        lock(folder)
        seeds = {job.seed for job in open_jobs}
        cold = sum(not (folder / model_name("simpletir", seed)).exists() for seed in seeds) if not setting.model else 0
        tell_estimate(open_jobs, jobs, options.parallel, cold)
        try:
            run_all(open_jobs, folder, setting, options.parallel)
        except RuntimeError as error:
            sys.exit(f"{error}; what has finished is kept, the same command goes on")
    arms = {arm: [job.outcome() for job in jobs if job.arm == arm] for arm in options.arms}
    show(table(arms))
    print("Lowest first percentile of log-probabilities over the run, nats, by turn:\n")
    show(by_turn(arms))
    print("Share of the turns with a token below 1%, by where they stand; correlation over the steps:\n")
    show(chain({arm: [job.links() for job in jobs if job.arm == arm] for arm in options.arms}))
    if len(arms) > 1:
        show(against_first(arms))


if __name__ == "__main__":
    main()
