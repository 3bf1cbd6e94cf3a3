"""pass@k, majority votes and intervals, against enumeration, hand-computed values and simulation."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from math_answers import Verdict
from tir_tools.evaluation.samples import Sample
from tir_tools.evaluation.statistics import Estimate, Measure, bootstrap, pass_at_k, powers_up_to
from tir_tools.evaluation.voting import canonical, majority_at_k, votes
from verl_tir.trajectory import StopReason

SMALL = [(n, right, k) for n in range(1, 7) for right in range(n + 1) for k in range(1, n + 1)]


@pytest.mark.parametrize(("n", "right", "k"), SMALL)
def test_pass_at_k_is_what_all_draws_give(n: int, right: int, k: int) -> None:
    """The share of all sets of k samples that hold a right one."""
    draws = list(itertools.combinations([True] * right + [False] * (n - right), k))
    assert pass_at_k(n, right, k) == pytest.approx(sum(map(any, draws)) / len(draws))


@pytest.mark.parametrize(
    ("n", "right", "k", "expected"), [(32, 0, 32, 0.0), (32, 1, 32, 1.0), (32, 1, 1, 1 / 32), (4, 2, 2, 5 / 6)]
)
def test_pass_at_k_by_hand(n: int, right: int, k: int, expected: float) -> None:
    """1 - C(n - c, k) / C(n, k), worked out by hand."""
    assert pass_at_k(n, right, k) == pytest.approx(expected)


def won(draw: tuple[str, ...]) -> float:
    """The chance that the most frequent answer of a draw is `r`, ties at random; `-` is no vote."""
    cast = Counter(answer for answer in draw if answer != "-")
    top = [answer for answer, count in cast.items() if count == max(cast.values())]
    return 1 / len(top) if "r" in top else 0.0


@pytest.mark.parametrize("answers", ["r", "-", "ra", "rr-", "rraab", "rab--", "rrraaab", "raabbcc-", "abc", "rrrr"])
def test_a_majority_is_what_all_draws_give(answers: str) -> None:
    """For each k, the mean over all sets of k samples."""
    counts = Counter(answers)
    wrong = tuple(count for answer, count in counts.items() if answer not in "r-")
    for k in range(1, len(answers) + 1):
        draws = list(itertools.combinations(answers, k))
        expected = sum(map(won, draws)) / len(draws)
        assert majority_at_k(counts["r"], wrong, counts["-"], k) == pytest.approx(expected), k


@pytest.mark.parametrize(
    ("right", "wrong", "none", "expected"),
    [(17, (15,), 0, 1.0), (16, (16,), 0, 0.5), (10, (10, 10), 2, 1 / 3), (1, (), 31, 1.0), (0, (), 32, 0.0)],
)
def test_the_majority_of_all_by_hand(right: int, wrong: tuple[int, ...], none: int, expected: float) -> None:
    """Right, wrong, or a chance among the tied."""
    assert majority_at_k(right, wrong, none, right + sum(wrong) + none) == pytest.approx(expected)


def test_a_majority_of_many_samples_is_quick_and_exact() -> None:
    """The worst case of 64 samples, every wrong answer another; and numbers beyond double precision stay exact."""
    assert 0 < majority_at_k(2, (1,) * 62, 0, 32) < 1
    assert majority_at_k(1024, (), 0, 512) == 1.0


@pytest.mark.parametrize("k", [0, 3])
def test_more_than_all_cannot_be_drawn(k: int) -> None:
    """Neither for pass@k nor for majorities."""
    with pytest.raises(ValueError, match=f"k={k} of 2"):
        pass_at_k(2, 1, k)
    with pytest.raises(ValueError, match=f"k={k} of 2"):
        majority_at_k(1, (1,), 0, k)


def test_the_ks_of_a_table() -> None:
    """Powers of two, and all samples."""
    assert [powers_up_to(n) for n in (1, 2, 6, 32)] == [[1], [1, 2], [1, 2, 4, 6], [1, 2, 4, 8, 16, 32]]


def interval(above: list[float], below: list[float] | None = None, **draws: int) -> Estimate:
    """Of one measure, a mean over problems if `below` is not given."""
    return bootstrap({"m": Measure(above, below or [1.0] * len(above))}, **draws)["m"]


def test_an_interval_of_two_problems_by_hand() -> None:
    """Half of the draws of two problems are one of each, a quarter each twice the same."""
    assert interval([0.0, 1.0]) == Estimate(0.5, 0.0, 1.0)
    assert interval([0.25, 0.25]) == Estimate(0.25, 0.25, 0.25)


def test_an_interval_of_three_problems_by_enumeration() -> None:
    """All 27 draws of three problems, each as likely as another."""
    values = [0.0, 0.25, 1.0]
    means = [sum(draw) / 3 for draw in itertools.product(values, repeat=3)]
    low, high = np.percentile(means * 400, [2.5, 97.5])
    found = interval(values)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-9), pytest.approx(high, abs=1e-9))


def test_a_ratio_weighs_problems_by_what_they_hold() -> None:
    """One of ten programs passed and one of one: 2 of 11, and a problem without programs changes nothing."""
    assert interval([1, 1, 0], [10, 1, 0]).value == pytest.approx(2 / 11)


def test_what_has_nothing_to_average_over_has_no_number() -> None:
    """And keeps no other from having one."""
    measures = {"none": Measure([0, 0], [0, 0]), "one": Measure([1, 1], [1, 1])}
    assert bootstrap(measures) == {"one": Estimate(1.0, 1.0, 1.0)}
    assert bootstrap({"none": Measure([], [])}) == {}


def test_an_interval_is_the_same_each_time_and_follows_its_seed() -> None:
    """Numbers in a paper must come out again; the interval is the textbook's where that holds."""
    values = list(np.linspace(0, 1, 30) ** 2)
    assert interval(values) == interval(values)
    assert interval(values, seed=1) != interval(values)
    spread = np.std(values) / math.sqrt(30)
    estimate = interval(values)
    assert estimate.low == pytest.approx(np.mean(values) - 1.96 * spread, abs=0.02)
    assert estimate.high == pytest.approx(np.mean(values) + 1.96 * spread, abs=0.02)


@pytest.mark.parametrize(("problems", "least"), [(30, 0.90), (100, 0.91)])
def test_intervals_hold_the_truth_about_as_often_as_they_say(problems: int, least: float) -> None:
    """Benchmarks drawn from problems whose chances are mostly near 0 or 1, as AIME's are: 95%, less a little if few."""
    random = np.random.default_rng(0)
    held = 0
    runs = 300
    for run in range(runs):
        chances = random.beta(0.3, 0.5, size=problems)
        estimate = interval(list(random.binomial(32, chances) / 32), seed=run, resamples=400)
        held += bool(estimate.holds(0.3 / 0.8))
    assert least <= held / runs <= 0.985


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("70", Fraction(70)),
        (" 070. ", Fraction(70)),
        ("1,234", Fraction(1234)),
        ("-0.50", Fraction(-1, 2)),
        (r"\dfrac{1}{2}", Fraction(1, 2)),
        ("1/2", Fraction(1, 2)),
        ("1/0", "1/0"),
        ("2**10", "2^{10}"),
        (r"\text{Monday}", "monday"),
        ("x + 1", "x+1"),
        ("9" * 60, "9" * 60),
    ],
)
def test_answers_by_value_or_text(answer: str, expected: Fraction | str) -> None:
    """Numbers are told apart by their values; what is none by its normalised text."""
    assert canonical(answer) == expected


def sample(status: Verdict | None, answer: str | None = None) -> Sample:
    """A sample of which only the answer matters."""
    return Sample("k", status, False, answer, StopReason.ANSWER, 1, False, 0, 0, False, False, 1)


async def test_votes_go_to_answers_and_not_to_their_spelling() -> None:
    """Right ones are one vote; wrong ones are asked about only where their texts do not tell."""
    asked = []

    async def same(one: str, other: str) -> bool:
        asked.append((one, other))
        return {one, other} == {"x+1", "1+x"}

    wrong, right = Verdict.WRONG, Verdict.CORRECT
    given = [
        sample(wrong, "5"),
        sample(right, "1/2"),
        sample(wrong, "5.0"),
        sample(wrong, "6"),
        sample(Verdict.NO_ANSWER),
        sample(right, "0.5"),
        sample(wrong, "x+1"),
        sample(wrong, "1+x"),
        sample(wrong, "1+x"),
        sample(Verdict.UNDECIDED, "7"),
    ]
    assert await votes(given, same) == [1, 0, 1, 2, None, 0, 3, 3, 3, None]
    assert ("6", "5") not in asked
    assert len(asked) == len(set(asked))
