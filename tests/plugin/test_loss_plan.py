"""Which rows train, which are masked and which leave, and that verl can always update on what is left."""

import itertools
import math
from collections import Counter

import pytest
from finished_rows import finished_row
from hypothesis import given, settings
from hypothesis import strategies as st

from verl_tir.sampler.finished_row import FinishedRow
from verl_tir.sampler.loss_plan import LossPlan, LossRule, MaskCause, OverlongPolicy, VoidPolicy, plan_loss


def _row(name: str, *, reward: float = 0.0, tokens: int = 10) -> FinishedRow:
    """A row from a short name: group, number and marks: `a1`, `a2v` (void in its first turn), `a3w` (void later), `b1x`
    (aborted), `b2o` (overlong)."""
    marks = name[2:]
    void_from = 0 if "v" in marks else 4 if "w" in marks else None
    key, aborted, overlong = _key(name), "x" in marks, "o" in marks
    return finished_row(key, reward=reward, tokens=tokens, void_from=void_from, aborted=aborted, overlong=overlong)


def _key(name: str) -> str:
    """verl's key of the row: its group is the name's letter."""
    return f"{name[0]}_{name[1:]}_0"


def _keys(names: str) -> tuple[str, ...]:
    return tuple(map(_key, names.split()))


MASK, SUFFIX, OFF = (LossRule(policy) for policy in VoidPolicy)
OUT = LossRule(void_in_baseline=False)
OVERLONG = LossRule(overlong=OverlongPolicy.MASK)


def _plan(names: str, **settings: object) -> LossPlan:
    arguments = {"rule": MASK, "mini_batch_rows": 4, "rollout_n": 2} | settings
    return plan_loss([_row(name) for name in names.split()], **arguments)


# id: rows, settings, train, mask, drop, loss anchors, placeholder row
PLANS = {
    "all sound": ("a1 a2 b1 b2", {}, "a1 a2 b1 b2", "", "", "", None),
    "void rows are masked": ("a1 a2v b1v b2", {}, "a1 b2", "a2v b1v", "", "", None),
    "policy off trains on void rows": (
        "a1 a2v b1v b2v",
        {"rule": OFF},
        "a1 a2v b1v b2v",
        "",
        "",
        "",
        None,
    ),
    "policy off with nothing else": ("a1v a2v", {"rule": OFF}, "a1v a2v", "", "", "", None),
    "aborted rows leave": ("a1 a2 a3x b1 b2 b3", {}, "a1 a2 b1 b2 b3", "", "a3x", "", None),
    "aborted rows leave with the policy off": ("a1 a2 a3x", {"rule": OFF}, "a1 a2", "", "a3x", "", None),
    "void and aborted is aborted": ("a1 a2 a3vx", {}, "a1 a2", "", "a3vx", "", None),
    "a group of one leaves": ("a1 a2x b1 b2", {}, "b1 b2", "", "a1 a2x", "", None),
    "a group of one void leaves": ("a1v a2x b1 b2", {}, "b1 b2", "", "a1v a2x", "", None),
    "a void row keeps its partner's baseline": ("a1 a2v", {}, "a1", "a2v", "", "", None),
    "single rows stay where verl samples single rows": ("a1 b1 c1v", {"rollout_n": 1}, "a1 b1", "c1v", "", "", None),
    "single aborted rows leave all the same": ("a1 b1x", {"rollout_n": 1}, "a1", "", "b1x", "", None),
    "groups of one leave for any larger n": ("a1 a2x b1 b2", {"rollout_n": 16}, "b1 b2", "", "a1 a2x", "", None),
    "everything aborted": ("a1x a2x", {}, "", "", "a1x a2x", "", None),
    "nothing": ("", {}, "", "", "", "", None),
    "three empty rows of four need no anchor": ("a1 a2v a3v a4v", {}, "a1", "a2v a3v a4v", "", "", None),
    "four empty rows need one": (
        "a1 a2v a3v a4v b1 b2 b3 b4v",
        {},
        "a1 b1 b2 b3",
        "a2v a3v a4v b4v",
        "",
        "a2v",
        None,
    ),
    "rows of padding count": ("a1 a2v b1 b2 b3v", {}, "a1 b1 b2", "a2v b3v", "", "a2v b3v", None),
    "a mini-batch of one row needs every anchor": (
        "a1 a2v b1 b2v",
        {"mini_batch_rows": 1},
        "a1 b1",
        "a2v b2v",
        "",
        "a2v b2v",
        None,
    ),
    "a suffix leaves what came before": ("a1 a2w", {"rule": SUFFIX}, "a1 a2w", "", "", "", None),
    "a suffix from the first turn on leaves nothing": ("a1 a2v", {"rule": SUFFIX}, "a1", "a2v", "", "", None),
    "void rows out of the baseline leave": ("a1 a2 a3w b1 b2", {"rule": OUT}, "a1 a2 b1 b2", "", "a3w", "", None),
    "and what they leave alone goes with them": ("a1 a2v b1 b2", {"rule": OUT}, "b1 b2", "", "a1 a2v", "", None),
    "wholly void out of the baseline": ("a1v a2v", {"rule": OUT}, "", "", "a1v a2v", "", None),
    "overlong rows are kept": ("a1 a2o", {}, "a1 a2o", "", "", "", None),
    "or masked": ("a1 a2o", {"rule": OVERLONG}, "a1", "a2o", "", "", None),
    "overlong and void": ("a1 a2ov a3o a4", {"rule": OVERLONG}, "a1 a4", "a2ov a3o", "", "", None),
    "overlong, and void rows train": (
        "a1 a2ov a3v a4",
        {"rule": LossRule(VoidPolicy.OFF, overlong=OverlongPolicy.MASK)},
        "a1 a3v a4",
        "a2ov",
        "",
        "",
        None,
    ),
    "wholly overlong": ("a1o a2o", {"rule": OVERLONG}, "a1o", "a2o", "", "", "a1o"),
    "rows of which the token rule left nothing": ("a1 a2 a3", {"empty_rows": {"a_2_0"}}, "a1 a3", "a2", "", "", None),
    "nothing left of any row": ("a1 a2", {"empty_rows": {"a_1_0", "a_2_0"}}, "a1", "a2", "", "", "a1"),
    "wholly void": ("a1v a2v b1v b2v", {}, "a1v", "a2v b1v b2v", "", "", "a1v"),
    "wholly void but for aborted rows": ("a1v a2v b1 b2x", {}, "a1v", "a2v", "b1 b2x", "", "a1v"),
}


@pytest.mark.parametrize(
    ("names", "settings", "train", "mask", "drop", "loss_anchors", "placeholder_row"), PLANS.values(), ids=PLANS
)
def test_plan(
    names: str, settings: dict, train: str, mask: str, drop: str, loss_anchors: str, placeholder_row: str | None
) -> None:
    """Every row has its place, in the order of the batch."""
    assert _plan(names, **settings) == LossPlan(
        train=_keys(train),
        mask=_keys(mask),
        drop=_keys(drop),
        loss_anchors=_keys(loss_anchors),
        placeholder_row=None if placeholder_row is None else _key(placeholder_row),
    )


@pytest.mark.parametrize("rule", [MASK, OFF, SUFFIX, OUT, OVERLONG])
def test_row_without_tokens_is_masked(rule: LossRule) -> None:
    """A row that sampled nothing cannot train, whatever the policy, and stays in the baseline."""
    plan = plan_loss([_row("a1"), _row("a2", tokens=0)], rule, mini_batch_rows=2, rollout_n=2)
    assert (plan.train, plan.mask, plan.drop) == (("a_1_0",), ("a_2_0",), ())


@pytest.mark.parametrize(
    ("name", "rule", "cause"),
    [
        ("a1", MASK, None),
        ("a1v", MASK, MaskCause.VOID),
        ("a1w", SUFFIX, None),
        ("a1v", SUFFIX, MaskCause.VOID),
        ("a1vo", OVERLONG, MaskCause.VOID),
        ("a1o", OVERLONG, MaskCause.OVERLONG),
        ("a1o", MASK, None),
    ],
)
def test_cause_of_a_mask(name: str, rule: LossRule, cause: MaskCause | None) -> None:
    """Each masked row is counted under one cause."""
    assert rule.mask_cause(_row(name)) is cause
    assert rule.trains(_row(name)) is (cause is None)


def test_a_row_without_tokens_has_a_cause_of_its_own() -> None:
    """Nothing was sampled, which is nobody's policy."""
    assert OFF.mask_cause(_row("a1", tokens=0)) is MaskCause.EMPTY


# id: (name, reward, tokens) of rows that are all masked, the row that keeps its mask
SIGNALS = {
    "a reward of zero": ([("a1v", 1, 9), ("a2v", 0, 4), ("b1v", -1, 9), ("b2v", 0.5, 5)], "a2v"),
    "the longest among equals": ([("a1v", 0, 5), ("a2v", 0, 7), ("b1v", 0, 6), ("b2v", 0, 6)], "a2v"),
    "the smallest where none is zero": ([("a1v", 1, 5), ("a2v", -0.5, 5), ("b1v", 1, 9), ("b2v", 1, 9)], "a2v"),
    "not an aborted one": ([("a1v", 1, 5), ("a2v", 1, 6), ("a3vx", 0, 9)], "a2v"),
    "not one without tokens": ([("a1v", 0, 0), ("a2v", 0, 0), ("b1v", 0, 9), ("b2v", 1, 9)], "b1v"),
}


@pytest.mark.parametrize(("rows", "signal"), SIGNALS.values(), ids=SIGNALS)
def test_a_batch_in_which_nothing_trains_keeps_one_row(rows: list[tuple], signal: str) -> None:
    """One row keeps its mask, so that verl does not raise: the one whose reward is missed least."""
    plan = plan_loss(
        [_row(name, reward=reward, tokens=tokens) for name, reward, tokens in rows],
        MASK,
        mini_batch_rows=8,
        rollout_n=2,
    )
    assert plan.placeholder_row == _key(signal)
    assert plan.train == (_key(signal),)


@st.composite
def batches(draw: st.DrawFn) -> tuple[list[FinishedRow], LossRule, int, int]:
    rollout_n = draw(st.sampled_from([1, 2, 4]))
    groups = draw(st.integers(0, 6))
    prompts_per_mini_batch = draw(st.integers(1, 4))
    marks = st.sampled_from(
        draw(st.sampled_from([["", "v", "w", "o", "x", "0"], ["v"], ["o"], ["v", "v", "v", ""], ["v", "x"]]))
    )
    rows = [
        _row(
            f"{'abcdef'[group]}{i}{mark}", reward=draw(st.sampled_from([0.0, 1.0])), tokens=0 if mark == "0" else 5 + i
        )
        for group in range(groups)
        for i in range(rollout_n)
        for mark in [draw(marks)]
    ]
    rule = draw(st.sampled_from([MASK, OFF, SUFFIX, OUT, OVERLONG]))
    return rows, rule, prompts_per_mini_batch * rollout_n, rollout_n


@settings(max_examples=400, deadline=None)
@given(batch=batches(), order=st.randoms(use_true_random=False))
def test_verl_can_update_on_any_batch(batch: tuple[list[FinishedRow], LossRule, int, int], order) -> None:
    """Every key has one place, and however verl shuffles, pads and cuts the rest, each mini-batch has a loss token."""
    rows, rule, mini_batch_rows, rollout_n = batch
    plan = plan_loss(rows, rule, mini_batch_rows=mini_batch_rows, rollout_n=rollout_n)
    keys = [row.key for row in rows]
    assert Counter(plan.train + plan.mask + plan.drop) == Counter(keys)
    assert all(list(part) == sorted(part, key=keys.index) for part in (plan.train, plan.mask, plan.drop))

    by_key = {row.key: row for row in rows}
    staying = Counter(row.uid for row in rows if rule.in_baseline(row))
    for row in rows:
        assert (row.key in plan.drop) is (not rule.in_baseline(row) or (rollout_n >= 2 and staying[row.uid] < 2))
    assert {key for key in plan.train if not rule.trains(by_key[key])} <= {plan.placeholder_row}
    assert not any(rule.trains(by_key[key]) for key in plan.mask)

    kept = [*plan.train, *plan.mask]
    assert set(plan.loss_anchors) <= set(plan.mask)
    assert (plan.placeholder_row is not None) is (plan.placeholder_row in plan.train)
    if any(by_key[key].model_tokens for key in kept):
        assert all(by_key[key].model_tokens for key in plan.train)
        assert plan.train
    if not kept or not any(by_key[key].model_tokens for key in kept):
        return
    # True for a row of which verl counts at least one token; padding has none.
    filled = [key in plan.train or key in plan.loss_anchors for key in kept]
    filled += [False] * (-len(filled) % mini_batch_rows)
    for _ in range(5):
        order.shuffle(filled)
        for start in range(len(filled) - mini_batch_rows + 1):
            assert any(filled[start : start + mini_batch_rows])
    # No token more than needed is kept.
    assert not plan.loss_anchors or filled.count(False) == mini_batch_rows - 1


def test_every_order_of_a_small_batch_has_a_loss_token_in_each_mini_batch() -> None:
    """All patterns of void rows, in all orders, of a batch of one and a half mini-batches."""
    for pattern in itertools.product(["", "v"], repeat=6):
        rows = [_row(f"{'ab'[i // 3]}{i}{mark}") for i, mark in enumerate(pattern)]
        plan = plan_loss(rows, MASK, mini_batch_rows=4, rollout_n=3)
        filled = [row.key in plan.train or row.key in plan.loss_anchors for row in rows] + [False, False]
        for order in set(itertools.permutations(filled)):
            assert any(order[:4])
            assert any(order[4:])


@settings(max_examples=200, deadline=None)
@given(batch=batches(), lengths=st.randoms(use_true_random=False), ranks=st.sampled_from([1, 2, 4]))
def test_every_mini_batch_has_a_loss_token_on_data_parallel_ranks(
    batch: tuple[list[FinishedRow], LossRule, int, int], lengths, ranks: int
) -> None:
    """verl pads to whole mini-batches, deals rows to ranks by length, and each rank takes its share of a mini-batch."""
    from verl.utils.seqlen_balancing import get_seqlen_balanced_partitions

    rows, rule, mini_batch_rows, rollout_n = batch
    # verl wants mini-batches that divide by the ranks.
    mini_batch_rows *= ranks
    plan = plan_loss(rows, rule, mini_batch_rows=mini_batch_rows, rollout_n=rollout_n)
    kept = [*plan.train, *plan.mask]
    if not any(row.model_tokens for row in rows if row.key in kept):
        return
    filled = [key in plan.train or key in plan.loss_anchors for key in kept]
    filled += [False] * (-len(filled) % math.lcm(ranks, mini_batch_rows))
    weights = [lengths.randint(1, 50) for _ in filled]
    parts = get_seqlen_balanced_partitions(weights, k_partitions=ranks, equal_size=True)
    share = mini_batch_rows // ranks
    for start in range(0, len(filled) // ranks, share):
        assert any(filled[i] for part in parts for i in part[start : start + share])
