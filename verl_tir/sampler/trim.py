"""Applies the token rule to rows in storage, and puts their rewards where every advantage estimator sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from verl_tir.sampler.finished_row import FinishedRow
from verl_tir.sampler.storage import read_tokens, write_masks
from verl_tir.sampler.token_rule import TokenRule, reward_at_last_token

_ROWS_AT_ONCE = 256
"""Rows of 16k tokens, masks and log-probabilities, then take about 50 MB of the driver's memory."""


@dataclass(frozen=True, slots=True)
class Trimmed:
    """What the token rule took out of a batch."""

    rows: int = 0
    """Rows that lost some of their tokens."""
    tokens: int = 0
    """Tokens that they lost."""
    low_probability: int = 0
    """Those of them that were too improbable."""
    emptied: frozenset[str] = frozenset()
    """Keys of rows of which nothing would be left; their masks are as they were."""


def trim_rows(rows: Sequence[FinishedRow], rule: TokenRule, partition_id: str) -> Trimmed:
    """Overwrite the masks of the rows, each of which trains, with what the rule leaves of them.

    The reward of a row whose last token is not in the loss moves to its last one that is.
    """
    concerned = [row for row in rows if row.ends_in_observation or rule.applies_to(row)]
    trimmed = tokens = low_probability = 0
    emptied: set[str] = set()
    for start in range(0, len(concerned), _ROWS_AT_ONCE):
        part = concerned[start : start + _ROWS_AT_ONCE]
        stored = read_tokens([row.key for row in part], partition_id, log_probs=rule.min_probability is not None)
        masks, rewards = {}, {}
        for row, before in zip(part, stored, strict=True):
            after = rule.mask(row, before.mask, before.log_probs)
            lost = int(before.mask.sum() - after.mask.sum())
            trimmed += lost > 0
            tokens += lost
            low_probability += after.low_probability
            if not after.mask.any():
                emptied.add(row.key)
            elif lost or not after.mask[-1]:
                masks[row.key] = after.mask
                rewards[row.key] = reward_at_last_token(after.mask, row.reward)
        write_masks(masks, rewards, partition_id)
    return Trimmed(trimmed, tokens, low_probability, frozenset(emptied))
