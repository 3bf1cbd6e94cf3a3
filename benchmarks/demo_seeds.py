"""Whether the demo learns whatever the seed: `verl-tir demo` for some seeds, one after the other, and their table.

    python benchmarks/demo_seeds.py --folder runs/seeds
    python benchmarks/demo_seeds.py --folder runs/seeds --seeds 0 1 2 --steps 40 --recipe torl
    python benchmarks/demo_seeds.py --folder runs/real --seeds 0 1 2 --steps 40 --model smollm2

Each seed has a folder of its own, so nothing is warmed up before. A seed that has finished there is not run again: a
measurement that was broken off resumes, with a pretrained model from that run's last checkpoint. The rows are Markdown,
for docs/results.md: the seeds' ends, their greedy success from validation to validation, and where the seconds went.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from tir_tools.demo.folder import RunFolder

GOAL = 0.9
"""Share of the validation problems that greedy decoding is to solve at the end."""


@dataclass(frozen=True)
class Outcome:
    """A finished run."""

    seed: int
    curve: dict[str, Any]
    """Of the run's `summary.json`."""
    parts: dict[str, float]
    """The same: what the seconds were spent on."""
    seconds: float
    """Wall time of the command, warm start and shutdown included."""

    def success(self, at: int) -> float:
        by_kind = self.curve["validations"][at]["by_kind"]
        return sum(by_kind.values()) / len(by_kind)

    def cells(self) -> list[str]:
        """A row of the table."""
        validations = self.curve["validations"]
        reached = [item["step"] for at, item in enumerate(validations) if self.success(at) >= GOAL]
        sampled, void = self.curve["correct"], self.curve["void"]
        return [
            f"{self.seed}",
            f"{self.success(0):.2f} -> {self.success(-1):.2f}",
            f"{validations[0]['void_ratio']:.2f} -> {validations[-1]['void_ratio']:.2f}",
            f"{sampled[0]:.2f} -> {sampled[-1]:.2f}",
            f"{void[0]:.2f} -> {void[-1]:.2f}",
            f"{reached[0]}" if reached else "never",
            f"{self.seconds:.0f}",
        ]

    def greedy(self) -> list[str]:
        """A row of greedy success by validated step."""
        return [f"{self.seed}", *(f"{self.success(at):.2f}" for at in range(len(self.curve["validations"])))]


COLUMNS = (
    "seed",
    "greedy success",
    "greedy void ratio",
    "sampled success, first and last step",
    "sampled void ratio",
    f"validated step with {GOAL:.0%}",
    "seconds",
)


def run(seed: int, folder: Path, options: argparse.Namespace) -> Outcome:
    """One seed's demo, or what is there of it from before."""
    place = folder / f"{options.recipe}-seed{seed}"
    done, spent = place / "seconds.json", place / "spent.json"
    if not done.exists():
        command = [sys.executable, "-m", "verl_tir", "demo", f"--steps={options.steps}", f"--folder={place}"]
        newest = max(place.glob("demo-*"), default=None)
        if options.model and newest is not None and RunFolder(newest).last_checkpoint is not None:
            command += ["--resume=last"]
        else:
            command += [f"--recipe={options.recipe}", f"--seed={seed}"]
            command += [f"--model={options.model}"] if options.model else []
            # A model or a run that an interrupted measurement left would make this one shorter.
            for left in (*place.rglob("warm_start.json"), spent):
                left.unlink(missing_ok=True)
        before = json.loads(spent.read_text()) if spent.exists() else 0.0
        started = time.perf_counter()
        place.mkdir(parents=True, exist_ok=True)
        try:
            status = subprocess.run(command).returncode
        finally:
            spent.write_text(json.dumps(before + time.perf_counter() - started))
        if status:
            sys.exit(f"seed {seed} ended with status {status}: {' '.join(command)}")
        spent.rename(done)
    last = max(place.glob("demo-*/summary.json"), key=lambda path: path.stat().st_mtime)
    summary = json.loads(last.read_text())
    return Outcome(seed, summary["curve"], summary["seconds"], json.loads(done.read_text()))


def show(*rows: Sequence[str]) -> None:
    """As Markdown, the first row as head."""
    for row in (rows[0], ("---",) * len(rows[0]), *rows[1:]):
        print("| " + " | ".join(row) + " |")
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--recipe", default="simpletir")
    parser.add_argument("--model", metavar="NAME|PATH", help="as the demo's; without it the toy")
    parser.add_argument("--folder", type=Path, required=True, help="where the runs are kept, finished ones included")
    options = parser.parse_args()
    outcomes = [run(seed, options.folder.resolve(), options) for seed in options.seeds]
    show(COLUMNS, *(outcome.cells() for outcome in outcomes))
    steps = [f"{item['step']}" for item in outcomes[0].curve["validations"]]
    show(("greedy success at step", *steps), *(outcome.greedy() for outcome in outcomes))
    parts = {part: [outcome.parts[part] for outcome in outcomes] for part in outcomes[0].parts}
    spent = [(part, f"{fmean(seconds):.1f}") for part, seconds in parts.items()]
    show(("what the time went into", "seconds, mean of the seeds"), *spent)
    good = sum(outcome.success(-1) >= GOAL for outcome in outcomes)
    print(f"{good} of {len(outcomes)} seeds end with at least {GOAL:.0%} of the validation problems solved")


if __name__ == "__main__":
    main()
