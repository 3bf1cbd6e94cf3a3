"""How long work says how far it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int | None], None]
"""`progress(stage, done, total)`; the total is None where it is not known before the end."""


def silent(stage: str, done: int, total: int | None) -> None:
    """Progress that nobody looks at."""
