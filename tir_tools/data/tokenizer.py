"""Lengths of texts in the tokens of a model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tir_tools.data.errors import FileError


class TokenLengths:
    """A tokenizer, as a function from texts to numbers of tokens, without those of a chat template."""

    def __init__(self, place: Path) -> None:
        """Load it.

        Args:
            place: a `tokenizer.json`, or the model folder that has one.

        Raises:
            FileError: there is none, or it cannot be read.
        """
        from tokenizers import Tokenizer

        path = place / "tokenizer.json" if place.is_dir() else place
        if not path.is_file():
            raise FileError(
                f"{path} does not exist: name the folder of a model, or its tokenizer.json "
                "(hf download MODEL tokenizer.json --local-dir FOLDER fetches one)"
            )
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise FileError(f"{path} is not a tokenizer: {error}") from error
        if not isinstance(content, dict) or "model" not in content:
            raise FileError(f"{path} is not a tokenizer: it has no entry 'model'; name the folder of a model")
        self._tokenizer = Tokenizer.from_file(str(path))

    def __call__(self, texts: Sequence[str]) -> list[int]:
        encoded = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [len(item) for item in encoded]
