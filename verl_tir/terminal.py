"""What the commands of `verl-tir` print on."""

from __future__ import annotations

import sys

from rich.console import Console

_PIPED_WIDTH = 200


def output_console() -> Console:
    """A console on stdout; where that is not a terminal, lines may be 200 wide, as rich's 80 would cut names in two."""
    return Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH)
