"""Trajectories as the page carries them: JSON, packed, of a bounded size.

Packed as gzip in base64, text compresses to a fifth; and nothing that a model wrote is in the page as text at all, so
that none of it can be taken for markup. The page's script builds text nodes from it.
"""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tir_tools.report.dump_index import Entry, load
from tir_tools.report.highlight import colour_runs
from verl_tir.dump.format import DumpedTrajectory
from verl_tir.trajectory import SampledTokens, Turn

HEAD_CHARS, TAIL_CHARS = 5000, 3000
"""Of a text; what lies between is left out, with a note."""
_BATCH = 64
"""Trajectories that are read at a time."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """What goes into the page."""

    data: str
    """gzip in base64 of a JSON object with `prompts` and `trajectories`."""
    shown: int
    total: int
    full: bool
    """Whether fewer are shown because the page would have become too large."""
    cut: int
    """Texts of which the middle is left out."""


def embed(chosen: Sequence[Entry], total: int, max_bytes: int) -> Embedded:
    """Pack trajectories.

    Args:
        chosen: the trajectories, the most worth showing first.
        total: how many there are.
        max_bytes: of the packed data; what does not fit is left out.
    """
    packer = zlib.compressobj(wbits=31)
    packed = [packer.compress(b'{"trajectories":[')]
    size = shown = cut = 0
    prompts: dict[str, int] = {}
    for entry, item in _loaded(chosen):
        transcript = _Transcript(item, entry)
        text = json.dumps(transcript.record(prompts), separators=(",", ":"), allow_nan=False)
        # Flushed, so that the size is known; a few bytes each.
        piece = packer.compress(f"{',' if shown else ''}{text}".encode()) + packer.flush(zlib.Z_SYNC_FLUSH)
        packed.append(piece)
        size += len(piece)
        shown += 1
        cut += transcript.cut
        if size > max_bytes:
            break
    packed += [packer.compress(f'],"prompts":{json.dumps(list(prompts))}}}'.encode()), packer.flush()]
    return Embedded(base64.b64encode(b"".join(packed)).decode("ascii"), shown, total, shown < len(chosen), cut)


def _loaded(chosen: Sequence[Entry]) -> Iterator[tuple[Entry, DumpedTrajectory]]:
    for start in range(0, len(chosen), _BATCH):
        part = chosen[start : start + _BATCH]
        yield from zip(part, load(part), strict=True)


@dataclass(slots=True)
class _Transcript:
    """One trajectory on its way into the page."""

    item: DumpedTrajectory
    entry: Entry
    cut: int = 0
    """Its texts of which the middle was left out."""

    def record(self, prompts: dict[str, int]) -> dict[str, Any]:
        """Plain data; new prompts are added to `prompts`."""
        item, trajectory = self.item, self.item.trajectory
        prompt = item.prompt
        if len(prompt) > HEAD_CHARS + TAIL_CHARS:
            prompt = f"{prompt[:HEAD_CHARS]}\n...\n{prompt[-TAIL_CHARS:]}"
        return {
            "key": item.key,
            "group": item.uid,
            "prompt": prompts.setdefault(prompt, len(prompts)),
            "partition": item.partition,
            "step": item.step,
            "source": self.entry.source,
            "fate": str(item.fate),
            "reason": item.reason,
            "reward": _plain(item.reward),
            "parts": {str(name): _plain(value) for name, value in item.reward_extra.items()},
            "outcome": _outcome(self.entry),
            "truth": _short(item.ground_truth),
            "answer": _short(trajectory.answer),
            "answeredBy": trajectory.answer_source,
            "stop": trajectory.stop_reason,
            "fault": _short(trajectory.fault),
            "void": trajectory.void,
            "behaviours": sorted(self.entry.behaviours),
            "turns": [
                _times(turn)
                | {
                    "model": self._pieces(said.text, said.tokens, code=True),
                    "tool": self._pieces(said.observation, None, code=False) if said.observation else [],
                }
                for turn, said in zip(trajectory.turns, item.texts, strict=True)
            ],
        }

    def _pieces(self, text: str, tokens: SampledTokens | None, code: bool) -> list[dict[str, Any]]:
        """The text, in two pieces with a gap between them where it is too long."""
        if len(text) <= HEAD_CHARS + TAIL_CHARS:
            return [_piece(text, tokens, code)]
        self.cut += 1
        head, tail = HEAD_CHARS, len(text) - TAIL_CHARS
        first, last = None, None
        if tokens is not None:
            # Where there are tokens, the cuts are between two of them.
            before, after = _fitting(tokens.lengths, head), _fitting(tokens.lengths[::-1], TAIL_CHARS)
            head, tail = before.characters, len(text) - after.characters
            first = SampledTokens(tokens.lengths[: before.tokens], tokens.log_probs[: before.tokens])
            start = len(tokens.lengths) - after.tokens
            last = SampledTokens(tokens.lengths[start:], tokens.log_probs[start:])
        return [_piece(text[:head], first, code), {"gap": tail - head}, _piece(text[tail:], last, code)]


def _piece(text: str, tokens: SampledTokens | None, code: bool) -> dict[str, Any]:
    piece: dict[str, Any] = {"text": text}
    if code:
        piece["colours"] = [[run.kind, utf16(run.text)] for run in colour_runs(text)]
    if tokens is not None:
        position = 0
        lengths = []
        for length in tokens.lengths:
            lengths.append(utf16(text[position : position + length]))
            position += length
        piece["lengths"], piece["logProbs"] = lengths, tokens.log_probs
    return piece


def utf16(text: str) -> int:
    """The length that JavaScript gives a text."""
    return len(text) if text.isascii() else len(text) + sum(letter > "\uffff" for letter in text)


class _Fit(NamedTuple):
    tokens: int
    characters: int


def _fitting(lengths: Sequence[int], most: int) -> _Fit:
    """The first tokens, as many as fit into so many characters."""
    total = 0
    for count, length in enumerate(lengths):
        if total + length > most:
            return _Fit(count, total)
        total += length
    return _Fit(len(lengths), total)


def _times(turn: Turn) -> dict[str, Any]:
    log_probs = turn.log_probs
    call = turn.call
    return {
        "end": turn.end,
        "modelTokens": turn.model_tokens,
        "toolTokens": turn.observation_tokens,
        "discarded": turn.discarded_tokens,
        "void": turn.void,
        "outcome": turn.outcome,
        "truncated": turn.observation_truncated,
        "generate": round(turn.generate_seconds, 4),
        "toolTime": round(turn.tool_seconds, 4),
        "call": None
        if call is None
        else {part: round(getattr(call, part), 4) for part in ("wait", "connect", "queue", "run", "attempts")},
        "mean": None if log_probs is None else round(log_probs.total / log_probs.count, 3),
        "lowest": None if log_probs is None else round(log_probs.minimum, 2),
    }


def _outcome(entry: Entry) -> str:
    if entry.undecided:
        return "undecided"
    return {True: "right", False: "wrong", None: "not scored"}[entry.correct]


def _plain(value: object) -> object:
    """What JSON has for it; text for all else, which is for people to read."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, bool | int | float) else _short(value)


def _short(value: object) -> str | None:
    if value is None:
        return None
    text = str(value)
    return text if len(text) <= 400 else text[:400] + " ..."
