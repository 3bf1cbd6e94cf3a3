"""Generating one turn: from the engine's pieces to the sampled ids of a turn that ends at its call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from verl_tir.rollout.tokens import Decode, tokens_up_to
from verl_tir.rollout.turn_rule import ParsedTurn, TurnRule
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
"""`generate(ids_of_this_turn_so_far, max_tokens)`; stops at a stop string, the end of message or the limit."""


@dataclass(frozen=True, slots=True)
class GeneratedTurn:
    """A turn's kept tokens and what they say."""

    ids: list[int]
    log_probs: list[float]
    discarded: int
    """Tokens sampled after the call and cut off."""
    parsed: ParsedTurn
    end: TurnEnd


async def generate_turn(
    generate: Generate, *, max_tokens: int, decode: Decode, end_ids: Collection[int], rule: TurnRule
) -> GeneratedTurn:
    """Sample one turn of at most `max_tokens` (at least 1) tokens.

    The engine stops at any of the rule's stop strings. Where that is no end to the rule (under SimpleTIR's a fence that
    opened a bare block or closed one of another language), sampling continues from the very ids sampled so far.
    """
    ids: list[int] = []
    log_probs: list[float] = []
    text = ""
    while True:
        piece = await generate(ids, max_tokens - len(ids))
        ids.extend(piece.ids)
        log_probs.extend(piece.log_probs)
        seen, text = len(text), decode(ids)
        parsed = rule.parse(text)
        end = _end(piece, parsed, full=len(ids) >= max_tokens)
        if end is None:
            if _stopped_early(piece, text[seen:], rule, end_ids):
                continue
            end = TurnEnd.EOS
        keep = tokens_up_to(ids, text, len(parsed.text), decode)
        return GeneratedTurn(
            ids=ids[:keep], log_probs=log_probs[:keep], discarded=len(ids) - keep, parsed=parsed, end=end
        )


def _end(piece: Piece, parsed: ParsedTurn, *, full: bool) -> TurnEnd | None:
    """Why the turn is over, if it is for any other reason than the engine's."""
    if piece.aborted:
        return TurnEnd.ABORTED
    if parsed.block is not None:
        return TurnEnd.CODE
    if parsed.closed:
        return TurnEnd.CALL
    return TurnEnd.LENGTH if full else None


def _stopped_early(piece: Piece, news: str, rule: TurnRule, end_ids: Collection[int]) -> bool:
    """Whether the engine ended `piece`, whose text is `news`, at a stop string and not at the end of the message."""
    return bool(piece.ids) and piece.ids[-1] not in end_ids and any(stop in news for stop in rule.stop_strings)
