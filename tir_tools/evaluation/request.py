"""What an evaluation is asked for, read and checked before anything is started or written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tir_tools.evaluation.checkpoint import (
    Checkpoint,
    CheckpointError,
    CheckpointKind,
    context_problem,
    find_checkpoint,
)
from tir_tools.evaluation.command import OverrideError, check_overrides, eval_overrides, recipe_for
from tir_tools.evaluation.folder import dumped
from tir_tools.evaluation.problems import Benchmark, BenchmarkProblem, read_benchmarks, validation_table
from tir_tools.evaluation.protocol import PRESETS, Protocol
from tir_tools.evaluation.published import Published, published
from tir_tools.evaluation.samples import Collected, collect
from tir_tools.evaluation.settings import EvalSettings, settings_of

if TYPE_CHECKING:
    from omegaconf import DictConfig

MERGED = "model"
"""Folder of the weights merged from shards, in the evaluation's."""

PROBLEMS = "problems.parquet"
"""What verl validates on, in the evaluation's folder."""

_SEED_STRIDE = 1000
"""Between the seeds of attempts: one attempt's engines take neighbouring seeds."""


@dataclass(frozen=True, slots=True)
class EvalRequest:
    """What the command line asks for."""

    checkpoint: str
    files: tuple[Path, ...]
    folder: Path
    protocol: Protocol
    recipe: str | None
    samples: int | None
    """Of each problem; the protocol's if None."""
    seed: int
    compare: tuple[str, ...]
    dry_run: bool
    overrides: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The request as it was understood."""

    request: EvalRequest
    checkpoint: Checkpoint
    benchmarks: tuple[Benchmark, ...]
    config: DictConfig
    settings: EvalSettings
    compared: tuple[Published, ...]

    @property
    def problems(self) -> list[BenchmarkProblem]:
        return [problem for benchmark in self.benchmarks for problem in benchmark.problems]

    def collect(self) -> Collected:
        return collect(dumped(self.request.folder), self.problems, self.settings.samples)


def understand(request: EvalRequest) -> Evaluation:
    """Read and check all of it, before anything is started or written.

    Raises:
        BenchmarkError, CheckpointError, OverrideError, RegistryError: something is wrong; the message says what to do.
    """
    check_overrides(request.overrides)
    preset = PRESETS[request.protocol]
    recipe = recipe_for(preset, request.recipe, request.overrides)
    compared = tuple(published(key) for key in request.compare)
    benchmarks = read_benchmarks(request.files)
    checkpoint = find_checkpoint(request.checkpoint)
    samples = preset.samples if request.samples is None else request.samples
    config = _compose(overrides_of(request, recipe, samples, checkpoint, 0))

    from omegaconf import OmegaConf

    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    settings = settings_of(checkpoint, benchmarks, samples, plain)
    evaluation = Evaluation(request, checkpoint, benchmarks, config, settings, compared)
    # Whether all files go into one table is known here, and not after the shards were merged.
    validation_table({problem.number: samples for problem in evaluation.problems}, evaluation.problems)
    _check_context(evaluation)
    return evaluation


def overrides_of(request: EvalRequest, recipe: str, samples: int, checkpoint: Checkpoint, attempt: int) -> list[str]:
    """Hydra's overrides for an attempt, the first of which is 1; 0 to look at them, before shards are merged."""
    if checkpoint.kind is CheckpointKind.SHARDS:
        # What is chosen by the model's size needs its configuration, which stands beside the shards.
        model = str(request.folder / MERGED) if attempt else str(Path(checkpoint.location) / "huggingface")
    else:
        model = checkpoint.location
    return eval_overrides(
        preset=PRESETS[request.protocol],
        recipe=recipe,
        samples=samples,
        # Another attempt draws other samples: it may take more samples of problems that have some.
        seed=request.seed + _SEED_STRIDE * attempt,
        model=model,
        problems=request.folder / PROBLEMS,
        folder=request.folder,
        overrides=request.overrides,
    )


def _compose(words: Sequence[str]) -> DictConfig:
    # verl takes seconds to import, which a wrong file should not cost.
    from verl_tir.config import TirConfigError
    from verl_tir.launch import ComposeError, compose_launch, load_verl
    from verl_tir.launch import validate as validate_launch

    load_verl(words)
    try:
        config = compose_launch(words)
        validate_launch(config)
    except (ComposeError, TirConfigError) as error:
        raise OverrideError(str(error)) from None
    return config


def _check_context(evaluation: Evaluation) -> None:
    """Raise CheckpointError where the model, or its configuration on the hub, does not go with the lengths."""
    checkpoint, config = evaluation.checkpoint, evaluation.config
    match checkpoint.kind:
        case CheckpointKind.HUB:
            file = _from_hub(checkpoint.location)
        case CheckpointKind.SHARDS:
            file = Path(checkpoint.location) / "huggingface" / "config.json"
        case _:
            file = Path(checkpoint.location) / "config.json"
    if config.actor_rollout_ref.rollout.max_model_len is not None:
        return
    problem = context_problem(file, config.data.max_prompt_length, config.data.max_response_length)
    if problem is not None:
        raise CheckpointError(f"{checkpoint.location}: {problem}")


def _from_hub(name: str) -> Path:
    from transformers.utils import cached_file

    try:
        return Path(cached_file(name, "config.json"))
    except OSError as error:
        raise CheckpointError(
            f"{name} is not a folder here, and the Hugging Face hub did not give it: {error}"
        ) from None
