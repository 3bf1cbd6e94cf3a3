r"""Generations scored line by line: JSON objects in, the same objects with `score`, `extracted` and `status` out.

An answer is the last complete `\boxed{}` of the whole response, tool output that stands in it included.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Any

from math_answers import ScoringPool, Verdict, accepted_answers, last_boxed

ADDED = ("score", "extracted", "status")
"""Keys that every scored line has; a line that has all three was scored before, and is scored anew."""

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
        LineError: a line cannot be scored. Nothing is said of the lines behind it.
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
