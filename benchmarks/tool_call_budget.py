"""ToRL's step time against its tool-call budget C, on the CPU demo, beside the paper's (arXiv 2503.23383) on 8 x A800.

    python benchmarks/tool_call_budget.py
    python benchmarks/tool_call_budget.py --calls 0 1 2 5 --steps 10 --rounds 3 --learning

Each C is a run of `verl-tir demo --recipe torl tir.rollout.max_tool_calls=C` with the same warmed-up model, which calls
not at all, once or twice. The learning rate is 0 unless `--learning` is given: every C meets the same policy. The first
step, in which everything is used for the first time, is left out; of the others, over all rounds, the median is taken.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tir_tools.report.metrics_log import read_metrics

PAPER_SECONDS = {0: 118, 1: 237, 2: 288}
"""The paper's seconds per step, by C."""


@dataclass(frozen=True)
class Step:
    """Of one training step."""

    seconds: float
    generation: float
    """Seconds of rollout, programs included."""
    calls: float
    """Programs per trajectory."""
    tokens: float
    """Of a response, mean, outputs included."""


def measure(folder: Path, calls: int, steps: int, learning: bool) -> list[Step]:
    """The steps of one run but the first."""
    command = [sys.executable, "-m", "verl_tir", "demo", f"--steps={steps + 1}", f"--folder={folder}", "--recipe=torl"]
    command += ["trainer.save_freq=-1"]
    command += [f"tir.rollout.max_tool_calls={calls}", "trainer.val_before_train=False", "trainer.test_freq=-1"]
    command += [] if learning else ["actor_rollout_ref.actor.optim.lr=0"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stdout[-4000:]}")
    newest = max(folder.glob("demo-*"), key=lambda run: run.stat().st_mtime)
    lines = [data for _, data in read_metrics(newest / "metrics.jsonl")]
    return [
        Step(
            data["timing_s/step"],
            data["timing_s/gen"],
            data.get("tir/tool/calls/mean", 0.0),
            data["response_length/mean"],
        )
        for data in lines
        if "actor/grad_norm" in data
    ][1:]


def median(steps: list[Step], name: str) -> float:
    return statistics.median(getattr(step, name) for step in steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, nargs="+", default=[0, 1, 2], help="values of C; the first is the unit")
    parser.add_argument("--steps", type=int, default=8, help="steps measured in each run")
    parser.add_argument("--rounds", type=int, default=1, help="runs of each C, in turns")
    parser.add_argument("--learning", action="store_true", help="with the demo's learning rate")
    options = parser.parse_args()
    found: dict[int, list[Step]] = {calls: [] for calls in options.calls}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.rounds):
            for calls, steps in found.items():
                steps += measure(Path(folder), calls, options.steps, options.learning)
    unit = median(found[options.calls[0]], "seconds")
    paper_unit = PAPER_SECONDS.get(options.calls[0])
    columns = ("C", "s/step", "ratio", "rollout s", "programs/trajectory", "tokens", "paper's ratio")
    print("  ".join(columns))
    for calls, steps in found.items():
        paper = f"{PAPER_SECONDS[calls] / paper_unit:.2f}" if paper_unit and calls in PAPER_SECONDS else "-"
        seconds = median(steps, "seconds")
        cells = (f"{calls}", f"{seconds:.2f}", f"{seconds / unit:.2f}", f"{median(steps, 'generation'):.2f}")
        cells += (f"{median(steps, 'calls'):.2f}", f"{median(steps, 'tokens'):.1f}", paper)
        print("  ".join(cell.rjust(len(column)) for cell, column in zip(cells, columns, strict=True)))


if __name__ == "__main__":
    main()
