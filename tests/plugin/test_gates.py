"""Which groups the gates admit, and what their refusals cost."""

from __future__ import annotations

from typing import Any

import pytest
from finished_rows import finished_row

from math_answers.verdict import Verdict
from verl_tir.sampler.finished_row import FinishedRow
from verl_tir.sampler.gates import (
    AccuracyGate,
    NoVerdictError,
    RefillBudget,
    SoundGate,
    UsableGate,
    VarianceGate,
    first_refusal,
)
from verl_tir.sampler.loss_plan import LossRule, OverlongPolicy, VoidPolicy

RULE = LossRule()
WITHOUT_VOID = LossRule(void_in_baseline=False)


def group(*rewards: float | str, **fields: Any) -> list[FinishedRow]:
    """Rows from rewards; `v` after one makes its row void, `x` aborted, `o` overlong, `e` empty."""
    rows = []
    for i, word in enumerate(map(str, rewards)):
        number = word.rstrip("vxoe")
        marks = word[len(number) :]
        reward = float(number)
        rows.append(
            finished_row(
                f"g_{i}_0",
                reward=reward,
                tokens=0 if "e" in marks else 7,
                aborted="x" in marks,
                overlong="o" in marks,
                **{
                    "verdict": Verdict.CORRECT if reward > 0 else Verdict.WRONG,
                    "void_from": 0 if "v" in marks else None,
                }
                | fields,
            )
        )
    return rows


@pytest.mark.parametrize(
    ("rollout_n", "min_ratio", "sound", "aborted", "admitted"),
    [
        (8, 0.5, 8, 0, True),
        (8, 0.5, 4, 4, True),
        (8, 0.5, 3, 5, False),
        (8, 0.5, 0, 8, False),
        # A group of which rows are missing altogether is as poor as one with as many aborted.
        (8, 0.5, 3, 0, False),
        # Half of an odd number is rounded up.
        (5, 0.5, 3, 2, True),
        (5, 0.5, 2, 3, False),
        # Whatever the share, a baseline takes two.
        (8, 0.0, 2, 6, True),
        (8, 0.0, 1, 7, False),
        (8, 1.0, 8, 0, True),
        (8, 1.0, 7, 1, False),
        # verl samples single rows here, and there is no baseline.
        (1, 0.5, 1, 0, True),
        (1, 0.5, 0, 1, False),
    ],
)
def test_sound_gate(rollout_n: int, min_ratio: float, sound: int, aborted: int, admitted: bool) -> None:
    """A group needs its share of sound rows, and two of them."""
    rows = group(*["0"] * sound, *["0x"] * aborted)
    assert SoundGate(rollout_n, min_ratio).admit(rows) is admitted


@pytest.mark.parametrize(
    ("rewards", "rule", "admitted"),
    [
        ((1, 0, 0, 0), RULE, True),
        ((1, 1, 1, 1), RULE, False),
        ((0, 0, 0, 0), RULE, False),
        ((-1, -1), RULE, False),
        # The reward of an aborted row says nothing, so it makes no difference.
        ((1, 1, "0x", 1), RULE, False),
        ((1, "0x", 0), RULE, True),
        # A void row's reward is part of the baseline, unless it leaves it.
        ((1, 1, "0v"), RULE, True),
        ((1, 1, "0v"), WITHOUT_VOID, False),
        ((1, 0, "0v"), WITHOUT_VOID, True),
        # An overlong row's always is.
        ((1, 1, "0o"), LossRule(overlong=OverlongPolicy.MASK), True),
        # The reference's bound is 1e-3, and the deviation verl's: of 0 and d it is d / sqrt 2.
        ((0, 0.0014), RULE, False),
        ((0, 0.0015), RULE, True),
        # Sums of equal rewards that are no binary fractions are not mistaken for a spread.
        ((0.1,) * 16, RULE, False),
        # One reward alone has no spread.
        ((1, "0x"), RULE, False),
        ((), RULE, False),
    ],
)
def test_variance_gate(rewards: tuple, rule: LossRule, admitted: bool) -> None:
    """A group whose advantages would all be zero is refused."""
    assert VarianceGate(1e-3, rule).admit(group(*rewards)) is admitted


@pytest.mark.parametrize(
    ("rewards", "admitted"),
    [
        ((1, 0, 0, 0, 0, 0, 0, 0, 0, 0), True),
        ((0,) * 10, False),
        ((1,) * 9 + (0,), True),
        ((1,) * 10, False),
        ((1,) * 19 + (0,), False),
        # Of the rows that say something.
        ((1, 1, "0x"), False),
        ((1, 0, "0x", "0x"), True),
        (("0x", "0x"), False),
    ],
)
def test_accuracy_gate(rewards: tuple, admitted: bool) -> None:
    """Both ends of the window belong to it; what is always or never solved is refused."""
    assert AccuracyGate(0.1, 0.9, RULE).admit(group(*rewards)) is admitted


def test_accuracy_is_of_verdicts_and_not_of_rewards() -> None:
    """A reward of -1, or one with a penalty in it, does not move the accuracy."""
    rows = group(-1, -1, verdict=Verdict.CORRECT)
    assert AccuracyGate(0.9, 1.0, RULE).admit(rows)


def test_a_reward_without_verdict_is_named() -> None:
    """A custom reward function that does not say `correct` is told so, and how to go on."""
    with pytest.raises(NoVerdictError, match=r"`correct`.*beside `score`.*tir\.filter\.accuracy_window=null"):
        AccuracyGate(0.1, 0.9, RULE).admit(group(1, 0, verdict=None))


@pytest.mark.parametrize(
    ("rewards", "rule", "usable"),
    [
        ((1, 0, 0, 0), RULE, 4),
        ((1, 0, "0v", "0x"), RULE, 2),
        ((1, 0, "0v", "0x"), LossRule(VoidPolicy.OFF), 3),
        ((1, "0o", "0o"), RULE, 3),
        ((1, "0o", "0o"), LossRule(overlong=OverlongPolicy.MASK), 1),
        ((1, "0vo"), LossRule(VoidPolicy.OFF, overlong=OverlongPolicy.MASK), 1),
        ((1, "0e"), RULE, 1),
        # Of a void row something is left only if something came before the void turn.
        ((1, "0v"), LossRule(VoidPolicy.SUFFIX), 1),
    ],
)
def test_usable_gate(rewards: tuple, rule: LossRule, usable: int) -> None:
    """Rows count that have a loss, by the same rule that masks them."""
    assert UsableGate(usable, rule).admit(group(*rewards))
    assert not UsableGate(usable + 1, rule).admit(group(*rewards))


def test_a_suffix_leaves_the_row_usable() -> None:
    """What came before the void turn trains."""
    assert UsableGate(2, LossRule(VoidPolicy.SUFFIX)).admit(group("0v", "0v", void_from=5))


def test_the_first_refusal_counts() -> None:
    """A group is counted once, by the first gate that does not admit it."""
    gates = [SoundGate(2, 0.5), VarianceGate(1e-3, RULE)]
    assert first_refusal(gates, group("1x", "1x")) == "unsound"
    assert first_refusal(gates, group(1, 1)) == "zero_variance"
    assert first_refusal(gates, group(1, 0)) is None


def test_names_of_gates_do_not_change_how_verl_joins_their_counts() -> None:
    """verl takes the largest of a metric with `max` in its name, and sums one only if no such word comes first."""
    from verl.trainer.ppo.v1.utils import MetricsAggregator

    for gate in (SoundGate, UsableGate, VarianceGate, AccuracyGate):
        name = f"tir/filter/evicted_groups/{gate.name}/total"
        assert MetricsAggregator()._get_aggregation_type(name) == "sum", name


def test_refill_budget() -> None:
    """All gates together share it, it is counted per prompt of the batch, and a new batch has it whole again."""
    budget = RefillBudget(2)
    budget.refused.update({"zero_variance": 4, "accuracy": 1})
    assert budget.allows(1, batch_size=3)
    assert not budget.allows(2, batch_size=3)
    assert not budget.only_unsound()
    budget.clear()
    assert budget.allows(6, batch_size=3)
    assert not budget.only_unsound()
    budget.refused["unsound"] += 1
    assert budget.only_unsound()


def test_the_complaint_names_counts_keys_and_the_way_out() -> None:
    """What stops the run says what was refused, by which setting, and whether the data is too hard or too easy."""
    budget = RefillBudget(2)
    budget.refused.update({"zero_variance": 8, "accuracy": 1})
    gates = [SoundGate(4, 0.5), VarianceGate(1e-3, RULE), AccuracyGate(0.1, 0.9, RULE)]
    text = budget.complaint(gates, 4, 0.03125)
    for part in (
        "9 prompt groups were evicted for one batch of 4",
        "tir.filter.max_refills=2 per prompt",
        "zero_variance 8, accuracy 1",
        "mean reward of what was evicted: 0.0312",
        "(tir.filter.min_reward_std=0.001, tir.filter.accuracy_window=[0.1, 0.9])",
    ):
        assert part in text
