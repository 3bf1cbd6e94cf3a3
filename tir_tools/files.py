"""Files beside another process: written whole or not at all, and read while they grow."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Another path to write to, in the same folder; what is there takes the name `path` when the block ends well.

    What stood at `path` stays until then, so that whoever reads it never finds half of a file. After an exception the
    new file is removed.
    """
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        yield new
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8, whole or not at all."""
    with replacing(path) as new:
        new.write_text(text, encoding="utf-8")


@dataclass(slots=True)
class Tail:
    """Reads what was appended to a file since the last look; complete lines only."""

    path: Path
    _offset: int = 0

    @classmethod
    def from_end(cls, path: Path) -> Tail:
        """Reads what is appended from now on."""
        return cls(path, path.stat().st_size if path.exists() else 0)

    def lines(self) -> Iterator[str]:
        """The new lines, without their ends; none where there is no file. One that begins anew is read from there."""
        if not self.path.exists():
            return
        if self.path.stat().st_size < self._offset:
            self._offset = 0
        with self.path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._offset += len(line)
                yield line.decode("utf-8", "replace").rstrip("\n")
