"""Generating one turn: from the engine's pieces to the sampled ids of a turn that ends at its code block."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from verl_tir.rollout.code_block import STOP_STRINGS
from verl_tir.rollout.tokens import Decode, tokens_up_to
from verl_tir.rollout.turn import ParsedTurn, parse_turn
from verl_tir.trajectory import TurnEnd


@dataclass(frozen=True, slots=True)
class Piece:
    """What one call of the engine returned."""

    ids: list[int]
    log_probs: list[float]
    aborted: bool

    def __post_init__(self) -> None:
        # Checked before anything is cut off: a surplus of one piece would hide a lack in another.
        if len(self.ids) != len(self.log_probs):
            raise ValueError(f"{len(self.ids)} sampled token ids came with {len(self.log_probs)} log-probabilities")


Generate = Callable[[list[int], int], Awaitable[Piece]]
"""`generate(ids_of_this_turn_so_far, max_tokens)`; stops at `STOP_STRINGS`, at the end of message or at the limit."""


@dataclass(frozen=True, slots=True)
class GeneratedTurn:
    """A turn's kept tokens and what they say."""

    ids: list[int]
    log_probs: list[float]
    discarded: int
    """Tokens sampled behind the code block and cut off."""
    parsed: ParsedTurn
    end: TurnEnd


async def generate_turn(
    generate: Generate, *, max_tokens: int, decode: Decode, end_ids: Collection[int]
) -> GeneratedTurn:
    """Sample one turn of at most `max_tokens` (at least 1) tokens.

    The engine stops at any lone fence. Where that fence opened a bare block or closed one of another language, the turn
    is not over and sampling goes on from the very ids sampled so far.
    """
    ids: list[int] = []
    log_probs: list[float] = []
    text = ""
    while True:
        piece = await generate(ids, max_tokens - len(ids))
        ids.extend(piece.ids)
        log_probs.extend(piece.log_probs)
        seen, text = len(text), decode(ids)
        parsed = parse_turn(text)
        end = _end(piece, ids, parsed, text[seen:], max_tokens, end_ids)
        if end is None:
            continue
        keep = len(ids) if parsed.block is None else tokens_up_to(ids, text, parsed.block.end, decode)
        return GeneratedTurn(
            ids=ids[:keep], log_probs=log_probs[:keep], discarded=len(ids) - keep, parsed=parsed, end=end
        )


def _end(
    piece: Piece, ids: list[int], parsed: ParsedTurn, news: str, max_tokens: int, end_ids: Collection[int]
) -> TurnEnd | None:
    if piece.aborted:
        return TurnEnd.ABORTED
    if parsed.block is not None:
        return TurnEnd.CODE
    if len(ids) >= max_tokens:
        return TurnEnd.LENGTH
    stopped_at_fence = piece.ids and piece.ids[-1] not in end_ids and any(stop in news for stop in STOP_STRINGS)
    return None if stopped_at_fence else TurnEnd.EOS
