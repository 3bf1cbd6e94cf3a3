"""ToRL (arXiv 2503.23383): a base model asks for its last program's output by opening an output block.

The model writes ```` ```python ```` blocks as it likes. Where it then writes ```` ```output ````, the last
complete block of the segment is run, and the observation completes what the model began, whose tokens stay its own.
"""

from __future__ import annotations

from collections import deque

from verl_tir.rollout.code_block import code_blocks
from verl_tir.rollout.observation import Frame
from verl_tir.rollout.turn_rule import ParsedTurn, TurnRule

REQUEST = "```output"
FRAME = Frame("\n", "\n```\n")
_TAGS = frozenset({"python"})


def parse_turn(text: str) -> ParsedTurn:
    """The segment up to the first request, and its last ```` ```python ```` block; without a request, no code."""
    before, request, _ = text.partition(REQUEST)
    if not request:
        return ParsedTurn(None, text, closed=False)
    segment = before + request
    last = deque(code_blocks(segment, _TAGS), maxlen=1)
    return ParsedTurn(last[0] if last else None, segment, closed=True)


RULE = TurnRule((REQUEST,), parse_turn, frame=FRAME)
"""Turns and observations continue one text. A box ends nothing, and what a program prints is no answer."""
