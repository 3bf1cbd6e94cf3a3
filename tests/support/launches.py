"""verl's launch command in a process of its own, with the installed plugins or a broken copy of them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import yaml
from ray_start import RAY_ATTEMPTS, ray_did_not_start

from tir_tools.trainer import Launch

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Done:
    """A launch that has ended."""

    returncode: int
    stdout: str
    """What it printed, on either stream."""


@dataclass(frozen=True)
class Launcher:
    """Runs verl's launch command."""

    python: str

    def __call__(self, *overrides: str, cwd: Path, path: Path | None = None) -> Done:
        """With these overrides, in `cwd`; modules in `path` come before the installed ones."""
        log = cwd / "launch.log"
        environment = {} if path is None else {"PYTHONPATH": str(path)}
        for _ in RAY_ATTEMPTS:
            with Launch([self.python, "-m", "verl.trainer.main_ppo", *overrides], log, environment, cwd) as started:
                status = started.wait(120)
            if not ray_did_not_start(output := log.read_text(errors="replace")):
                break
        return Done(status, output)


def config_of(output: str) -> dict:
    """The YAML that `--cfg job` printed, after verl's import messages."""
    return yaml.safe_load(output[output.index("actor_rollout_ref:") :])


def broken_installation(folder: Path, *missing: str) -> Path:
    """A copy of the plugin with its entry point, for PYTHONPATH, without these parts of the recipes."""
    for package in ("math_answers", "sandbox_client", "sandbox_server", "verl_cpu", "verl_tir"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    shutil.copytree(ROOT / "recipes", folder / "verl_tir" / "recipes")
    for part in missing:
        path = folder / ("verl_cpu/config" if part == "platform" else "verl_tir/recipes") / part
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    # An editable installation would lend the copy its recipes.
    (folder / "sitecustomize.py").write_text(
        "import sys\nsys.meta_path = [finder for finder in sys.meta_path if '__editable__' not in str(finder)]\n"
    )
    metadata = folder / "verl_tir-0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: verl-tir\nVersion: 0\n")
    (metadata / "entry_points.txt").write_text(
        "[verl.plugins]\ncpu = verl_cpu.plugin\ntir = verl_tir.plugin\n"
        "[vllm.general_plugins]\nverl_cpu = verl_cpu.vllm_engine:register\n"
    )
    return folder
