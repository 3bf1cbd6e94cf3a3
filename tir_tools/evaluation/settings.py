"""What an evaluation's numbers depend on, kept in its folder: samples of two settings are never put together."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tir_tools.evaluation.checkpoint import Checkpoint
from tir_tools.evaluation.problems import Benchmark
from tir_tools.files import write_text

FILE = "settings.json"

DECISIVE = (
    "tir.recipe",
    "tir.prompt",
    "tir.rollout",
    "tir.observation",
    "tir.sandbox.session",
    "tir.sandbox.run_timeout",
    "tir.sandbox.memory_limit_mb",
    "data.max_prompt_length",
    "data.max_response_length",
    "data.apply_chat_template_kwargs",
    "actor_rollout_ref.model.custom_chat_template",
    "actor_rollout_ref.model.lora_adapter_path",
    "actor_rollout_ref.rollout.dtype",
    "actor_rollout_ref.rollout.max_model_len",
    "actor_rollout_ref.rollout.val_kwargs.temperature",
    "actor_rollout_ref.rollout.val_kwargs.top_p",
    "actor_rollout_ref.rollout.val_kwargs.top_k",
    "reward.custom_reward_function",
)
"""Keys of the launch that change the answers or their scores. Machines, endpoints and batch sizes do not."""


class SettingsError(ValueError):
    """The folder holds an evaluation of other settings; the message names what differs."""


@dataclass(frozen=True, slots=True)
class EvalSettings:
    """What is evaluated, and how."""

    checkpoint: str
    fingerprint: str
    """Of the checkpoint."""
    benchmarks: Mapping[str, str]
    """SHA-256 of each benchmark's file, by the benchmark's name, in their order: problems are numbered by it."""
    samples: int
    """Of each problem."""
    launch: Mapping[str, Any]
    """The decisive keys of the launch, as they were composed."""

    def at(self, key: str) -> Any:
        """The value of a decisive key; None where the launch has none."""
        return self.launch.get(key)


def settings_of(
    checkpoint: Checkpoint, benchmarks: Sequence[Benchmark], samples: int, launch: Mapping[str, Any]
) -> EvalSettings:
    """The settings of an evaluation; `launch` is the whole composed configuration as plain containers."""
    chosen = {key: value for name in DECISIVE for key, value in _leaves(name, _at(launch, name))}
    hashes = {benchmark.name: benchmark.sha256 for benchmark in benchmarks}
    return EvalSettings(checkpoint.location, checkpoint.fingerprint, hashes, samples, chosen)


def check_same(folder: Path, settings: EvalSettings) -> None:
    """Refuse to go on in a folder whose samples were taken under other settings. More samples may be asked for.

    Raises:
        SettingsError: names each setting that differs, with both values.
    """
    file = folder / FILE
    if not file.is_file():
        return
    try:
        before = EvalSettings(**json.loads(file.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise SettingsError(
            f"{file} was written by another version of verl-tir ({error}); use another --output"
        ) from None
    differing = list(_differences(before, settings))
    if differing:
        raise SettingsError(
            f"{folder} holds an evaluation with other settings:\n"
            + "\n".join(f"  {line}" for line in differing)
            + "\nrepeat these to go on there, or use another --output"
        )


def write_settings(folder: Path, settings: EvalSettings) -> None:
    """Put them into the folder."""
    text = json.dumps(asdict(settings), indent=2, ensure_ascii=False) + "\n"
    write_text(folder / FILE, text)


def _differences(before: EvalSettings, now: EvalSettings) -> Iterator[str]:
    if before.fingerprint != now.fingerprint:
        yield f"checkpoint: {before.checkpoint} there, {now.checkpoint} now, with other weights"
    if list(before.benchmarks) != list(now.benchmarks):
        yield f"benchmarks: {', '.join(before.benchmarks)} there, {', '.join(now.benchmarks)} now"
    for name, sha256 in now.benchmarks.items():
        if before.benchmarks.get(name, sha256) != sha256:
            yield f"benchmark {name}: its file has changed"
    # A number of samples is a wish and no property of what is there.
    if now.samples < before.samples:
        yield f"samples: {before.samples} there, {now.samples} now; fewer would have to leave some out"
    # As they are in the file: JSON knows no tuples.
    launch = json.loads(json.dumps(dict(now.launch)))
    for key in sorted(before.launch.keys() | launch.keys()):
        if before.launch.get(key) != launch.get(key):
            yield f"{key}: {before.launch.get(key)!r} there, {launch.get(key)!r} now"


def _at(node: Any, path: str) -> Any:
    for part in path.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return None
        node = node[part]
    return node


def _leaves(path: str, node: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping) and node:
        for name, value in node.items():
            yield from _leaves(f"{path}.{name}", value)
    else:
        yield path, node
