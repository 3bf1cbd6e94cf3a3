"""Which rows train, which are masked and which leave, and that verl can always update on what is left."""

import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verl_tir.filters.void import Plan, Row, VoidPolicy, plan_batch


def _row(name: str, *, reward: float = 0.0, tokens: int = 10) -> Row:
    """A row from a short name: group, number and marks, such as `a1`, `a2v` (void) or `b1x` (aborted)."""
    return Row(
        key=name, group=name[0], void="v" in name[2:], aborted="x" in name[2:], reward=reward, model_tokens=tokens
    )


def _plan(names: str, **settings: object) -> Plan:
    arguments = {"policy": VoidPolicy.MASK, "mini_batch_rows": 4, "rollout_n": 2} | settings
    return plan_batch([_row(name) for name in names.split()], **arguments)


# id: rows, settings, train, mask, drop, loss anchors, signal anchor
PLANS = {
    "all sound": ("a1 a2 b1 b2", {}, "a1 a2 b1 b2", "", "", "", None),
    "void rows are masked": ("a1 a2v b1v b2", {}, "a1 b2", "a2v b1v", "", "", None),
    "policy off trains on void rows": (
        "a1 a2v b1v b2v",
        {"policy": VoidPolicy.OFF},
        "a1 a2v b1v b2v",
        "",
        "",
        "",
        None,
    ),
    "policy off with nothing else": ("a1v a2v", {"policy": VoidPolicy.OFF}, "a1v a2v", "", "", "", None),
    "aborted rows leave": ("a1 a2 a3x b1 b2 b3", {}, "a1 a2 b1 b2 b3", "", "a3x", "", None),
    "aborted rows leave with the policy off": ("a1 a2 a3x", {"policy": VoidPolicy.OFF}, "a1 a2", "", "a3x", "", None),
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
    "wholly void": ("a1v a2v b1v b2v", {}, "a1v", "a2v b1v b2v", "", "", "a1v"),
    "wholly void but for aborted rows": ("a1v a2v b1 b2x", {}, "a1v", "a2v", "b1 b2x", "", "a1v"),
}


@pytest.mark.parametrize(
    ("names", "settings", "train", "mask", "drop", "loss_anchors", "signal_anchor"), PLANS.values(), ids=PLANS
)
def test_plan(
    names: str, settings: dict, train: str, mask: str, drop: str, loss_anchors: str, signal_anchor: str | None
) -> None:
    """Every row has its place, in the order of the batch."""
    assert _plan(names, **settings) == Plan(
        train=tuple(train.split()),
        mask=tuple(mask.split()),
        drop=tuple(drop.split()),
        loss_anchors=tuple(loss_anchors.split()),
        signal_anchor=signal_anchor,
    )


@pytest.mark.parametrize("policy", list(VoidPolicy))
def test_row_without_tokens_is_masked(policy: VoidPolicy) -> None:
    """A row that sampled nothing cannot train, whatever the policy, and stays in the baseline."""
    plan = plan_batch([_row("a1"), _row("a2", tokens=0)], policy, mini_batch_rows=2, rollout_n=2)
    assert (plan.train, plan.mask, plan.drop) == (("a1",), ("a2",), ())


# id: (name, reward, tokens) of wholly void rows, the row that keeps its mask
SIGNALS = {
    "closest to its group's mean": ([("a1v", 0, 9), ("a2v", 1, 9), ("a3v", 0, 9), ("b1v", 0, 5), ("b2v", 0, 5)], "b1v"),
    "the longest among equals": ([("a1v", 0, 5), ("a2v", 0, 7), ("b1v", 0, 6), ("b2v", 0, 6)], "a2v"),
    "means are of groups": ([("a1v", 1, 5), ("a2v", 1, 5), ("b1v", 0, 9), ("b2v", 1, 9)], "a1v"),
    "aborted rows do not move the mean": (
        [("a1v", 0, 5), ("a2v", 0, 5), ("a3vx", 9, 5), ("b1v", 0, 9), ("b2v", 1, 9)],
        "a1v",
    ),
    "not one without tokens": ([("a1v", 0, 0), ("a2v", 0, 0), ("b1v", 0, 9), ("b2v", 1, 9)], "b1v"),
}


@pytest.mark.parametrize(("rows", "signal"), SIGNALS.values(), ids=SIGNALS)
def test_wholly_void_batch_keeps_the_row_with_the_least_advantage(rows: list[tuple], signal: str) -> None:
    """One row keeps its mask, so that verl does not raise: the one whose advantage is nearest to zero."""
    plan = plan_batch(
        [_row(name, reward=reward, tokens=tokens) for name, reward, tokens in rows],
        VoidPolicy.MASK,
        mini_batch_rows=8,
        rollout_n=2,
    )
    assert plan.signal_anchor == signal
    assert plan.train == (signal,)


@st.composite
def batches(draw: st.DrawFn) -> tuple[list[Row], VoidPolicy, int, int]:
    rollout_n = draw(st.sampled_from([1, 2, 4]))
    groups = draw(st.integers(0, 6))
    prompts_per_mini_batch = draw(st.integers(1, 4))
    marks = st.sampled_from(draw(st.sampled_from([["", "v", "x", "0"], ["v"], ["v", "v", "v", ""], ["v", "x"]])))
    rows = [
        _row(
            f"{'abcdef'[group]}{i}{mark}", reward=draw(st.sampled_from([0.0, 1.0])), tokens=0 if mark == "0" else 5 + i
        )
        for group in range(groups)
        for i in range(rollout_n)
        for mark in [draw(marks)]
    ]
    return rows, draw(st.sampled_from(VoidPolicy)), prompts_per_mini_batch * rollout_n, rollout_n


@settings(max_examples=400, deadline=None)
@given(batch=batches(), order=st.randoms(use_true_random=False))
def test_verl_can_update_on_any_batch(batch: tuple[list[Row], VoidPolicy, int, int], order) -> None:
    """Every key has one place, and however verl shuffles, pads and cuts the rest, each mini-batch has a loss token."""
    rows, policy, mini_batch_rows, rollout_n = batch
    plan = plan_batch(rows, policy, mini_batch_rows=mini_batch_rows, rollout_n=rollout_n)
    keys = [row.key for row in rows]
    assert Counter(plan.train + plan.mask + plan.drop) == Counter(keys)
    assert all(list(part) == sorted(part, key=keys.index) for part in (plan.train, plan.mask, plan.drop))

    by_key = {row.key: row for row in rows}
    sound = Counter(row.group for row in rows if not row.aborted)
    for row in rows:
        assert (row.key in plan.drop) is (row.aborted or (rollout_n >= 2 and sound[row.group] < 2))
    if policy is VoidPolicy.MASK:
        assert {key for key in plan.train if by_key[key].void} <= {plan.signal_anchor}
    else:
        assert all(by_key[key].model_tokens == 0 for key in plan.mask)

    kept = [*plan.train, *plan.mask]
    assert set(plan.loss_anchors) <= set(plan.mask)
    assert (plan.signal_anchor is not None) is (plan.signal_anchor in plan.train)
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
        plan = plan_batch(rows, VoidPolicy.MASK, mini_batch_rows=4, rollout_n=3)
        filled = [row.key in plan.train or row.key in plan.loss_anchors for row in rows] + [False, False]
        for order in set(itertools.permutations(filled)):
            assert any(order[:4])
            assert any(order[4:])
