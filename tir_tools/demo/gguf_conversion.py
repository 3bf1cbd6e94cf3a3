"""A GGUF file as an ordinary model folder: `python -m tir_tools.demo.gguf_conversion FILE FOLDER`.

A process of its own, which needs the package `gguf`: its end frees the memory, several times the file's size.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def convert(file: Path, folder: Path) -> None:
    """Write the weights of `file` in fp32, and its tokenizer, to `folder` in Hugging Face's format."""
    model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    # transformers takes a Llama's first token for its last one; the configuration has both as the file has them.
    for name in ("bos", "eos", "pad"):
        token = getattr(model.config, f"{name}_token_id")
        if token is not None:
            setattr(tokenizer, f"{name}_token", tokenizer.convert_ids_to_tokens(token))
    # It would take blanks before punctuation away from programs.
    tokenizer.clean_up_tokenization_spaces = False
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
