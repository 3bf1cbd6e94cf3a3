"""A file of generations scored into another, whole or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from math_answers import ScoringPool
from tir_tools.evaluation.score_lines import DEFAULT_KEYS, Keys, Tally, score_lines

STANDARD = Path("-")
"""Standard input, or output."""


def score_file(
    source: Path,
    output: Path,
    pool: ScoringPool,
    keys: Keys = DEFAULT_KEYS,
    *,
    overwrite: bool = False,
    on_line: Callable[[int], None] = lambda size: None,
) -> Tally:
    """Score the JSON lines of a file into another, in their order, within bounded memory.

    The output appears under its name when it is complete; it may be the source.

    Args:
        source: JSON lines; `-` for standard input.
        output: where the scored lines go; `-` for standard output, line by line.
        pool: where comparisons are made; it stays open.
        keys: names of the keys that are compared.
        overwrite: see `score_lines`.
        on_line: called for each line read, with its bytes.

    Raises:
        LineError: a line cannot be scored; then there is no output.
        OSError: a file cannot be read or written.
    """
    tally = Tally()

    async def score(lines: Iterator[bytes], file: BinaryIO) -> None:
        scored = score_lines(lines, pool, keys, overwrite=overwrite)
        async with contextlib.aclosing(scored):
            async for line in scored:
                tally.counts[line.verdict] += 1
                file.write(line.to_json())

    with _opened(source) as lines, _written(output) as file:
        asyncio.run(score(_counted(lines, on_line), file))
    return tally


def _counted(lines: BinaryIO, on_line: Callable[[int], None]) -> Iterator[bytes]:
    for line in lines:
        on_line(len(line))
        yield line


@contextlib.contextmanager
def _opened(source: Path) -> Iterator[BinaryIO]:
    if source == STANDARD:
        yield sys.stdin.buffer
        return
    with source.open("rb") as file:
        yield file


@contextlib.contextmanager
def _written(output: Path) -> Iterator[BinaryIO]:
    """A file that takes its name when the block ends well, and is gone otherwise."""
    if output == STANDARD:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with tempfile.NamedTemporaryFile(dir=output.parent, prefix=f".{output.name}.", delete=False) as file:
        try:
            yield file  # type: ignore[misc]
            file.flush()
            # A temporary file is its owner's alone; the output is as any other new file.
            os.chmod(file.name, 0o666 & ~_umask())
            os.replace(file.name, output)
        except BaseException:
            os.unlink(file.name)
            raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
