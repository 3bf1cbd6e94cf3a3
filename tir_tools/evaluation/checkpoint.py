"""What a checkpoint is: a Hugging Face folder or name, or the shards that verl's FSDP trainer saves."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

_WEIGHTS = ("*.safetensors", "*.bin", "pytorch_model*.pt")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+|[A-Za-z0-9][\w.-]*")
_SHARD = "model_world_size_{world}_rank_{rank}.pt"
_PROBED_BYTES = 2**20


class CheckpointError(ValueError):
    """What was named is not a checkpoint that can be evaluated; the message says what it is and what to name."""


class CheckpointKind(StrEnum):
    """How the weights are stored."""

    HUB = "hub"
    """A name on the Hugging Face hub."""
    FOLDER = "folder"
    """A folder in Hugging Face's format."""
    SHARDS = "shards"
    """FSDP shards of verl's trainer, to be merged first."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Weights that can be evaluated."""

    kind: CheckpointKind
    location: str
    """The hub's name, or the folder that holds the weights or the shards."""
    fingerprint: str
    """Changes with the weights, as far as names, sizes and the ends of the files tell; of a hub name, that name."""


def find_checkpoint(name: str) -> Checkpoint:
    """The checkpoint that a command line names.

    Args:
        name: a Hugging Face folder or hub name, or verl's `global_step_N` or its `actor` folder.

    Raises:
        CheckpointError: it is none, or shards are missing.
    """
    path = Path(name).expanduser()
    if not path.exists():
        if _HUB_NAME.fullmatch(name) and not re.search(r"global_step_\d+|\.(safetensors|bin|pt)$", name):
            return Checkpoint(CheckpointKind.HUB, name, name)
        raise CheckpointError(f"{name}: there is no such folder, and it is not a name on the Hugging Face hub")
    if not path.is_dir():
        raise CheckpointError(f"{name} is a file; name the folder that it is in")
    path = path.resolve()
    for folder in (path, path / "actor"):
        if _is_shards(folder):
            saved = folder / "huggingface"
            return _in_folder(saved) if _is_model(saved) else _shards(folder)
    if _is_model(path):
        return _in_folder(path)
    raise CheckpointError(f"{name} is not a checkpoint: {_what_it_is(path)}")


def context_problem(config_file: Path, prompt_tokens: int, response_tokens: int) -> str | None:
    """What is wrong where a model's context is shorter than a prompt with its response; None where it is not, or
    where the model stretches its context by a rule that only the engine knows."""
    config = json.loads(config_file.read_text(encoding="utf-8"))
    context = config.get("max_position_embeddings")
    scaled = config.get("rope_scaling") or {}
    kind = {**(config.get("rope_parameters") or {}), **scaled}.get("rope_type", scaled.get("type", "default"))
    if not isinstance(context, int) or kind != "default" or prompt_tokens + response_tokens <= context:
        return None
    return (
        f"the model's context is {context} tokens (max_position_embeddings), and data.max_prompt_length="
        f"{prompt_tokens} with data.max_response_length={response_tokens} is {prompt_tokens + response_tokens}: set "
        f"data.max_response_length={max(1, context - prompt_tokens)} or less, and tir.rollout.max_turn_tokens with it"
    )


def _in_folder(folder: Path) -> Checkpoint:
    files = sorted({file for pattern in (*_WEIGHTS, "*.json") for file in folder.glob(pattern)})
    return Checkpoint(CheckpointKind.FOLDER, str(folder), _fingerprint(files))


def _shards(folder: Path) -> Checkpoint:
    config = folder / "fsdp_config.json"
    if not config.is_file():
        raise CheckpointError(f"{folder} has shards and no fsdp_config.json, which verl's merger reads: save it again")
    world = json.loads(config.read_text(encoding="utf-8")).get("world_size")
    if not isinstance(world, int):
        raise CheckpointError(f"{config} names no world_size: the checkpoint was not saved whole")
    wanted = [folder / _SHARD.format(world=world, rank=rank) for rank in range(world)]
    missing = [file.name for file in wanted if not file.is_file()]
    if missing:
        raise CheckpointError(
            f"{folder}: {len(missing)} of {world} shards are missing, {missing[0]} first; copy those of all nodes into "
            "one folder"
        )
    if not (folder / "huggingface" / "config.json").is_file():
        raise CheckpointError(f"{folder / 'huggingface'} has no config.json, which the merged model needs")
    return Checkpoint(CheckpointKind.SHARDS, str(folder), _fingerprint(wanted))


def _is_shards(folder: Path) -> bool:
    return any(folder.glob("model_world_size_*_rank_*.pt")) or (folder / "fsdp_config.json").is_file()


def _is_model(folder: Path) -> bool:
    return (folder / "config.json").is_file() and any(any(folder.glob(pattern)) for pattern in _WEIGHTS)


def _what_it_is(path: Path) -> str:
    steps = sorted(path.glob("global_step_*"), key=lambda folder: int(folder.name.rsplit("_", 1)[1]))
    if steps:
        return f"it holds those of {len(steps)} steps; name one, the last is {steps[-1]}"
    if (path / "dist_ckpt").is_dir() or (path / "actor" / "dist_ckpt").is_dir() or (path / "model").is_dir():
        return (
            "it is Megatron's; merge it with `python -m verl.model_merger merge --backend megatron` and name the result"
        )
    if (path / "adapter_config.json").is_file():
        return "it is a LoRA adapter; merge it into its base model first"
    if (path / "config.json").is_file():
        return "it has a config.json and no weights (*.safetensors or *.bin)"
    return "it has neither config.json and weights, nor FSDP shards (model_world_size_N_rank_R.pt)"


def _fingerprint(files: list[Path]) -> str:
    """Of names, sizes, and the first and last MiB of each file: reading all of a large model takes minutes."""
    digest = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.name} {size}\n".encode())
        with file.open("rb") as opened:
            digest.update(opened.read(_PROBED_BYTES))
            opened.seek(max(0, size - _PROBED_BYTES))
            digest.update(opened.read(_PROBED_BYTES))
    return digest.hexdigest()
