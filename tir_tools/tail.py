"""A text file that another process still writes to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


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
