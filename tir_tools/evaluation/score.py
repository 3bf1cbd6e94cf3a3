r"""Generations scored line by line: JSON objects in, the same objects with `score`, `extracted` and `status` out.

`score_lines` does that, `score_file` from one file into another, and `score_command` is `verl-tir score`. An answer is
the last complete `\boxed{}` of the whole response, tool output that stands in it included.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import sys
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn
from rich.table import Table

from math_answers import ScoringError, ScoringPool, Verdict, accepted_answers, last_boxed
from tir_tools.files import replacing

ADDED = ("score", "extracted", "status")
"""Keys that every scored line has; a line that has all three was scored before, and is scored anew."""

STANDARD = Path("-")
"""Standard input, or output."""
_IN_FLIGHT = 512
"""Lines that are compared or wait for an earlier one; what bounds the memory for a file of any length."""
_STANDARD_NORMAL_95 = 1.959964


class LineError(ValueError):
    """A line that cannot be scored; the message names its number, what is wrong, and the fix."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Where a line has what is compared."""

    response: str = "response"
    ground_truth: str = "ground_truth"


DEFAULT_KEYS = Keys()


@dataclass(frozen=True, slots=True)
class ScoredResponse:
    """One response."""

    verdict: Verdict
    extracted: str | None
    """What stands in its last box; None where it has none."""

    @property
    def score(self) -> float | None:
        """1 for a right answer, else 0; None where it is undecided, which counts for nothing."""
        return None if self.verdict is Verdict.UNDECIDED else float(self.verdict is Verdict.CORRECT)


@dataclass(frozen=True, slots=True)
class ScoredLine:
    """One line of the input."""

    fields: dict[str, Any]
    """All that it had, in its order, and `score`, `extracted` and `status`."""
    verdict: Verdict

    def to_json(self) -> bytes:
        """The line as it is written, line feed included."""
        # Half a surrogate pair becomes the escape that JSON has for it.
        return (json.dumps(self.fields, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


@dataclass(slots=True)
class Tally:
    """How many responses have each verdict."""

    counts: Counter[Verdict] = field(default_factory=Counter)

    @property
    def decided(self) -> int:
        return self.counts.total() - self.counts[Verdict.UNDECIDED]

    @property
    def accuracy(self) -> float | None:
        """Share of right answers among the decided; None where there is none."""
        return self.counts[Verdict.CORRECT] / self.decided if self.decided else None

    def interval(self) -> tuple[float, float] | None:
        """Wilson's score interval of the accuracy, at 95%; None where nothing is decided."""
        if self.accuracy is None:
            return None
        square, share, n = _STANDARD_NORMAL_95**2, self.accuracy, self.decided
        centre = (share + square / (2 * n)) / (1 + square / n)
        half = _STANDARD_NORMAL_95 * math.sqrt(share * (1 - share) / n + square / (4 * n * n)) / (1 + square / n)
        return max(0.0, centre - half), min(1.0, centre + half)


async def score_response(pool: ScoringPool, response: str, accepted: list[str]) -> ScoredResponse:
    """Compare the last box of a response with the accepted answers."""
    extracted = last_boxed(response)
    if extracted is None:
        return ScoredResponse(Verdict.NO_ANSWER, None)
    return ScoredResponse(await pool.compare(extracted, accepted), extracted)


async def score_lines(
    lines: Iterable[bytes], pool: ScoringPool, keys: Keys = DEFAULT_KEYS, *, overwrite: bool = False
) -> AsyncIterator[ScoredLine]:
    """Score JSON lines in their order, many at the same time; blank lines are passed over.

    Args:
        lines: UTF-8, each at least with the two keys of `keys`.
        pool: where comparisons are made; it stays open.
        keys: names of the two keys.
        overwrite: whether keys that scoring adds may already stand in a line that was not scored here.

    Raises:
        LineError: a line cannot be scored. Nothing is said of the lines after it.
    """
    waiting: deque[asyncio.Task[ScoredLine]] = deque()
    try:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            waiting.append(asyncio.ensure_future(_score_line(_read(line, number, overwrite), number, pool, keys)))
            if len(waiting) >= _IN_FLIGHT:
                yield await waiting.popleft()
            else:
                # So that what needs no worker is done while the next line is read.
                await asyncio.sleep(0)
        while waiting:
            yield await waiting.popleft()
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def _score_line(fields: dict[str, Any], number: int, pool: ScoringPool, keys: Keys) -> ScoredLine:
    for key in (keys.response, keys.ground_truth):
        if key not in fields:
            raise LineError(f"line {number}: no key {key!r}; it has {', '.join(map(repr, fields)) or 'none'}")
    response = fields[keys.response]
    if not isinstance(response, str):
        raise LineError(f"line {number}: {keys.response!r} must be text, not {response!r:.80}")
    try:
        accepted = accepted_answers(fields[keys.ground_truth], f"line {number}")
    except TypeError as error:
        raise LineError(str(error)) from None
    scored = await score_response(pool, response, accepted)
    added = {"score": scored.score, "extracted": scored.extracted, "status": scored.verdict}
    return ScoredLine(fields | added, scored.verdict)


def _read(line: bytes, number: int, overwrite: bool) -> dict[str, Any]:
    try:
        fields = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
    # A number of too many digits is a ValueError too.
    except (ValueError, RecursionError) as error:
        raise LineError(f"line {number}: no JSON: {error}") from None
    if not isinstance(fields, dict):
        raise LineError(f"line {number}: must be an object, not {line[:80]!r}")
    own = [key for key in ADDED if key in fields]
    if own and len(own) < len(ADDED) and not overwrite:
        raise LineError(
            f"line {number}: has {', '.join(map(repr, own))} of its own, which scoring would overwrite: rename it, or "
            "allow that with --overwrite"
        )
    return fields


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
    with replacing(output) as new, new.open("wb") as file:
        yield file


def score_command(
    file: Path, output: Path, keys: Keys, workers: int, timeout: float, memory_limit_mb: int, *, overwrite: bool
) -> int:
    """Score a file, and say on stderr what came out; the exit status."""
    console = Console(stderr=True)
    columns = (BarColumn(), DownloadColumn(), TimeRemainingColumn())
    pool = ScoringPool(workers, timeout, memory_limit_mb)
    try:
        with contextlib.closing(pool), Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task("scoring", total=None if file == STANDARD else file.stat().st_size)
            tally = score_file(
                file, output, pool, keys, overwrite=overwrite, on_line=lambda size: progress.advance(task, size)
            )
    except (LineError, OSError, ScoringError) as error:
        console.print(f"verl-tir score: {file}: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        return 1
    console.print(_summary(tally))
    return 0


def _summary(tally: Tally) -> Table:
    table = Table("status", "responses", "share")
    total = tally.counts.total()
    for verdict in Verdict:
        count = tally.counts[verdict]
        table.add_row(verdict, str(count), f"{count / total:.3f}" if total else "")
    interval = tally.interval()
    if tally.accuracy is not None and interval is not None:
        table.add_section()
        low, high = interval
        table.add_row("accuracy", f"of {tally.decided} decided", f"{tally.accuracy:.3f} [{low:.3f}, {high:.3f}]")
        table.caption = "in brackets: Wilson's interval, 95%"
    return table
