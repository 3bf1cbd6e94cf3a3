"""Is there an accelerator? Asked of the device files, so that no driver library is loaded for the answer."""

from __future__ import annotations

from pathlib import Path

_DEVICE_FILES = ("nvidia0", "davinci0", "kfd", "dxg")
"""NVIDIA, Ascend, AMD, and a GPU inside WSL."""


def find_accelerator(devices: Path = Path("/dev")) -> str | None:
    """The device file of the first accelerator found, or None."""
    return next((str(devices / name) for name in _DEVICE_FILES if (devices / name).exists()), None)
