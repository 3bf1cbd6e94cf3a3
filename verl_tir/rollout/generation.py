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
        if piece.aborted:
            end = TurnEnd.ABORTED
        elif parsed.block is not None:
            end = TurnEnd.CODE
        elif parsed.closed:
            end = TurnEnd.CALL
        elif len(ids) >= max_tokens:
            end = TurnEnd.LENGTH
        elif piece.ids and piece.ids[-1] not in end_ids and any(stop in text[seen:] for stop in rule.stop_strings):
            # The engine stopped at a stop string, not at the end of the message.
            continue
        else:
            end = TurnEnd.EOS
        keep = tokens_up_to(ids, text, len(parsed.text), decode)
        return GeneratedTurn(ids[:keep], log_probs[:keep], len(ids) - keep, parsed, end)
