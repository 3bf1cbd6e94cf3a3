"""Which tokens of a row that trains leave the loss."""

from __future__ import annotations

import math

import pytest
import torch
from finished_rows import finished_row

from verl_tir.sampler.loss_plan import VoidPolicy
from verl_tir.sampler.token_rule import TokenRule, reward_at_last_token

# Model, model, tool, tool, model, model: the tool's output is in no loss.
MASK = [1, 1, 0, 0, 1, 1]
PROBABILITIES = [0.9, 0.005, 1.0, 1.0, 0.01, 0.001]

# id: rule, where the first void turn begins, the mask, tokens taken out for their probability
RULES = {
    "nothing asked for": (TokenRule(), 4, MASK, 0),
    "the suffix of a row that is not void": (TokenRule(VoidPolicy.SUFFIX), None, MASK, 0),
    "the suffix": (TokenRule(VoidPolicy.SUFFIX), 4, [1, 1, 0, 0, 0, 0], 0),
    "the whole row": (TokenRule(VoidPolicy.SUFFIX), 0, [0, 0, 0, 0, 0, 0], 0),
    "improbable tokens, the bound itself stays": (TokenRule(VoidPolicy.OFF, 0.01), None, [1, 0, 0, 0, 1, 0], 2),
    "a void row that trains": (TokenRule(VoidPolicy.OFF, 0.01), 4, [1, 0, 0, 0, 1, 0], 2),
    "both": (TokenRule(VoidPolicy.SUFFIX, 0.01), 4, [1, 0, 0, 0, 0, 0], 1),
    "all too improbable": (TokenRule(VoidPolicy.OFF, 0.95), None, [0, 0, 0, 0, 0, 0], 4),
}


@pytest.mark.parametrize(("rule", "void_from", "left", "low"), RULES.values(), ids=RULES)
def test_mask(rule: TokenRule, void_from: int | None, left: list[int], low: int) -> None:
    """What is left of the mask, in its own type; the stored one is not changed in place."""
    row = finished_row("a_0_0", tokens=6, void_from=void_from)
    mask = torch.tensor(MASK)
    log_probs = torch.tensor([math.log(p) for p in PROBABILITIES], dtype=torch.float64)
    after = rule.mask(row, mask, log_probs)
    assert (after.mask.tolist(), after.low_probability) == (left, low)
    assert after.mask.dtype == mask.dtype
    assert mask.tolist() == MASK
    assert rule.applies_to(row) or left == MASK


# id: the mask after all rules, where the reward stands
PLACES = {
    "the model has the last word": ([1, 1, 0, 0, 1, 1], 5),
    "a program answered": ([1, 1, 0, 0], 1),
    "two programs, the second answered": ([1, 0, 1, 1, 0, 0], 3),
    "a suffix left the loss": ([1, 1, 0, 0, 0, 0], 1),
    "improbable tokens left the loss": ([1, 0, 0, 0, 1, 0], 4),
    "one token": ([1], 0),
}


@pytest.mark.parametrize("reward", [1.0, -1.0, 0.0, 0.1])
@pytest.mark.parametrize(("mask", "place"), PLACES.values(), ids=PLACES)
def test_the_reward_stands_at_the_last_token_in_the_loss(mask: list[int], place: int, reward: float) -> None:
    """There alone, as verl's own type, and its sum is the reward to the last bit."""
    stored = torch.tensor(reward)
    scores = reward_at_last_token(torch.tensor(mask), float(stored))
    assert scores.dtype == torch.float32
    assert scores.nonzero().flatten().tolist() == ([place] if reward else [])
    assert torch.equal(scores.sum(), stored)
