"""The three recorded runs that reports are tested on; `tests/recording/make_report_runs.py` made them."""

from __future__ import annotations

import tarfile
from pathlib import Path

NAMES = ("healthy", "filter_off", "sandbox_down")
_DATA = Path(__file__).parents[1] / "data" / "report_runs"


def unpack(name: str, folder: Path) -> Path:
    """A run's folder, as the demo leaves it."""
    target = folder / name
    with tarfile.open(_DATA / f"{name}.tar.gz") as archive:
        archive.extractall(target, filter="data")
    return target
