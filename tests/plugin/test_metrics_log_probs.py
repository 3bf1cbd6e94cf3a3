"""Log-probabilities reduced in the workers and added up in the driver."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from verl_tir.metrics.log_probs import PERCENTS, UNKNOWN_LOG_PROB, TokenSpread, add_up, reduce_log_probs
from verl_tir.trajectory import LogProbs

log_probs = st.one_of(st.floats(-90, 0), st.floats(-0.01, 0), st.sampled_from([0.0, -1e-4, -1e-5]))
samples = st.lists(log_probs, min_size=1, max_size=60)


def spread(*turns: list[float]) -> TokenSpread:
    """The spread of the tokens of some turns, each reduced by itself."""
    parts = [reduce_log_probs(turn) for turn in turns]
    return add_up(parts, np.zeros(len(parts), dtype=np.int64), 1).spread()


def close(read: float, true: float) -> bool:
    """Within 5%, or both so near zero that they share the first bin."""
    return math.isclose(read, true, rel_tol=0.0501) or (read == 0 and true >= -1.0001e-4)


@given(turns=st.lists(samples, min_size=1, max_size=4))
@example(turns=[[-(1e-4 * 1.1**power) for power in range(140)]])
def test_percentiles_are_the_samples_own_within_five_percent(turns: list[list[float]]) -> None:
    """Whatever turns the tokens came in: minimum and mean are exact, and percentiles are by nearest rank."""
    tokens = sorted(token for turn in turns for token in turn)
    found = spread(*turns)
    assert found.minimum == tokens[0]
    assert found.mean == pytest.approx(sum(tokens) / len(tokens))
    for percent, read in zip(PERCENTS, found.percentiles, strict=True):
        true = tokens[math.ceil(len(tokens) * percent / 100) - 1]
        assert close(read, true), (percent, read, true)


@given(turns=st.lists(st.tuples(st.integers(0, 2), samples), max_size=6))
def test_groups_are_added_up_apart(turns: list[tuple[int, list[float]]]) -> None:
    """A group's spread is that of its own turns; one without turns has none, and all are the union."""
    parts = [reduce_log_probs(turn) for _, turn in turns]
    table = add_up(parts, np.array([group for group, _ in turns], dtype=np.int64), 3)
    for group in range(3):
        own = [turn for where, turn in turns if where == group]
        assert table.spread(group) == (spread(*own) if own else None)
    every = [turn for _, turn in turns]
    assert (table.spread() is None) is (not every)
    if every:
        assert table.spread().percentiles == spread(*every).percentiles


def test_the_union_of_turns_is_the_turn_of_all_tokens() -> None:
    """Adding up loses nothing that one reduction of all tokens would have kept."""
    tokens = [-0.1 * number for number in range(400)]
    whole, pieces = spread(tokens), spread(tokens[:7], tokens[7:300], tokens[300:])
    assert (whole.minimum, whole.percentiles) == (pieces.minimum, pieces.percentiles)
    assert whole.mean == pytest.approx(pieces.mean)


EXTREMES = {
    "impossible tokens": ([-math.inf] * 3, TokenSpread(-1000.0, -1000.0, (-1000.0,) * 3)),
    "below the last bin": ([-95.0] * 4, TokenSpread(-95.0, -95.0, (-95.0,) * 3)),
    "certain tokens": ([0.0, -0.0, 1e-7], TokenSpread(0.0, 0.0, (0.0,) * 3)),
    "one alone": ([-2.0], TokenSpread(-2.0, -2.0, (-2.0,) * 3)),
}


@pytest.mark.parametrize(("values", "expected"), EXTREMES.values(), ids=EXTREMES)
def test_extremes(values: list[float], expected: TokenSpread) -> None:
    """What lies outside the bins is finite, and never read as less probable than the minimum."""
    found = spread(values)
    assert (found.minimum, found.mean) == (expected.minimum, expected.mean)
    assert found.percentiles == pytest.approx(expected.percentiles, rel=0.05)
    assert all(value >= found.minimum for value in found.percentiles)
    assert "-0.0" not in repr(found)


@pytest.mark.parametrize("values", [[], [UNKNOWN_LOG_PROB], [UNKNOWN_LOG_PROB] * 9], ids=["no token", "one", "nine"])
def test_what_is_not_known_is_none(values: list[float]) -> None:
    """An engine that was not asked for log-probabilities does not make every token certain."""
    assert reduce_log_probs(values) is None


def test_unknown_tokens_among_known_ones_are_left_out() -> None:
    """They move neither the count nor the mean."""
    assert reduce_log_probs([-1.0, UNKNOWN_LOG_PROB, -3.0]) == reduce_log_probs([-1.0, -3.0])


@pytest.mark.parametrize("count", [1, 65535, 65536, 200_000])
def test_counts_of_any_size_are_kept(count: int) -> None:
    """A bin's count is stored in words of two bytes, as many as it takes."""
    part = reduce_log_probs([-1.0] * count + [-50.0])
    table = add_up([part, part], np.array([0, 0]), 1)
    assert sorted(table.counts[table.counts > 0].tolist()) == [2, 2 * count]


def test_a_turn_travels_small_and_as_plain_data() -> None:
    """Through JSON and back, and in no more than four characters a bin, however many tokens there were."""
    tokens = np.random.default_rng(0).lognormal(-5, 3.5, 8192)
    part = reduce_log_probs((-tokens).tolist())
    assert LogProbs(**json.loads(json.dumps(asdict(part)))) == part
    assert len(json.dumps(asdict(part))) < 4 * 146 + 100
    assert len(reduce_log_probs([-1.0] * 1000).histogram) == 4
