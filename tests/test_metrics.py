"""One batch of trajectories as metrics."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_tir.metrics.summary import Scored, summarize
from verl_tir.trajectory import AnswerSource, Outcome, StopReason, Trajectory, Turn, TurnEnd


def _turn(
    outcome: Outcome | None,
    *,
    model: int = 10,
    observed: int = 0,
    discarded: int = 0,
    cut: bool = False,
    answer: bool = False,
    generate: float = 1.0,
    tool: float = 0.0,
) -> Turn:
    return Turn(
        end=TurnEnd.CODE if outcome else TurnEnd.EOS,
        model_tokens=model,
        observation_tokens=observed,
        discarded_tokens=discarded,
        has_code=outcome is not None,
        has_answer=answer,
        outcome=outcome,
        observation_truncated=cut,
        generate_seconds=generate,
        tool_seconds=tool,
    )


BATCH = [
    Scored(
        Trajectory(
            (
                _turn(Outcome.FAILED, observed=6, discarded=1, cut=True, generate=2.0, tool=0.5),
                _turn(Outcome.SUCCESS, observed=4, tool=1.5),
                _turn(None, model=20, answer=True),
            ),
            StopReason.ANSWER,
            answer="5",
            answer_source=AnswerSource.MODEL,
        ),
        reward=1.0,
    ),
    Scored(
        Trajectory((_turn(Outcome.TIME_LIMIT, observed=10, tool=3.0), _turn(None, discarded=2)), StopReason.VOID), 0.0
    ),
    Scored(Trajectory((_turn(None, model=30),), StopReason.VOID, "5", AnswerSource.MODEL), reward=0.5),
    Scored(Trajectory((_turn(Outcome.FAULT, tool=5.0),), StopReason.SANDBOX_FAULT, fault="no room"), reward=0.0),
    Scored(Trajectory((), StopReason.PROMPT_TOO_LONG), reward=-1.0),
]

METRICS = {
    "tir/trajectories": 5,
    "tir/stop/answer": 1 / 5,
    "tir/stop/void": 2 / 5,
    "tir/stop/max_turns": 0,
    "tir/stop/call_budget": 0,
    "tir/stop/response_budget": 0,
    "tir/stop/tool_time": 0,
    "tir/stop/sandbox_fault": 1 / 5,
    "tir/stop/engine_abort": 0,
    "tir/stop/prompt_too_long": 1 / 5,
    "tir/void_ratio": 2 / 5,
    "tir/void_rewarded_ratio": 1 / 2,
    "tir/aborted_ratio": 2 / 5,
    "tir/answer_ratio": 2 / 5,
    "tir/code_ratio": 3 / 5,
    "tir/code_pass_ratio": 1 / 4,
    "tir/code_pass_ratio/rewarded": 1 / 2,
    "tir/code_pass_ratio/unrewarded": 0,
    "tir/tool/success": 1,
    "tir/tool/failed": 1,
    "tir/tool/time_limit": 1,
    "tir/tool/memory_limit": 0,
    "tir/tool/fault": 1,
    "tir/tool/calls": 4,
    "tir/turns/mean": 7 / 5,
    "tir/turns/max": 3,
    "tir/observation/truncated_ratio": 1 / 4,
    "tir/tokens/model": 100,
    "tir/tokens/observation": 20,
    "tir/tokens/discarded": 3,
    "tir/tokens/mask_coverage": 100 / 120,
    "tir/timing_s/generate/mean": 8 / 5,
    "tir/timing_s/tool/mean": 10 / 5,
    "tir/timing_s/tool/call_mean": 10 / 4,
    "tir/timing_s/tool/call_max": 5,
}


def test_batch_computed_by_hand() -> None:
    """Every metric is there, and nothing else, with the value worked out on paper."""
    assert summarize(BATCH) == pytest.approx(METRICS)
    assert all(type(value) is float for value in summarize(BATCH).values())


WITHOUT = {
    "no trajectory": (
        [],
        {"tir/trajectories"},
        {"tir/void_ratio", "tir/stop/answer", "tir/turns/mean", "tir/turns/max"},
    ),
    "no void trajectory": (BATCH[:1], {"tir/void_ratio"}, {"tir/void_rewarded_ratio"}),
    "no program": (
        BATCH[2:3],
        {"tir/code_ratio", "tir/tool/calls", "tir/timing_s/tool/mean"},
        {
            "tir/code_pass_ratio",
            "tir/code_pass_ratio/rewarded",
            "tir/observation/truncated_ratio",
            "tir/timing_s/tool/call_mean",
            "tir/timing_s/tool/call_max",
        },
    ),
    "no reward": (BATCH[1:2], {"tir/code_pass_ratio/unrewarded"}, {"tir/code_pass_ratio/rewarded"}),
    "no wrong one": (BATCH[:1], {"tir/code_pass_ratio/rewarded"}, {"tir/code_pass_ratio/unrewarded"}),
    "no token": (BATCH[4:], {"tir/tokens/model", "tir/turns/mean"}, {"tir/tokens/mask_coverage"}),
}


@pytest.mark.parametrize(("batch", "present", "absent"), WITHOUT.values(), ids=WITHOUT)
def test_empty_denominators_are_left_out(batch: list[Scored], present: set[str], absent: set[str]) -> None:
    """A share of nothing is not reported as zero, and what can be measured still is."""
    names = set(summarize(batch))
    assert present <= names
    assert not absent & names


turns = st.builds(
    Turn,
    end=st.sampled_from(TurnEnd),
    model_tokens=st.integers(0, 10),
    observation_tokens=st.integers(0, 10),
    discarded_tokens=st.integers(0, 10),
    has_code=st.booleans(),
    has_answer=st.booleans(),
    outcome=st.none() | st.sampled_from(Outcome),
    observation_truncated=st.booleans(),
    generate_seconds=st.floats(0, 100),
    tool_seconds=st.floats(0, 100),
)
trajectories = st.builds(
    Trajectory, st.lists(turns, max_size=3).map(tuple), st.sampled_from(StopReason), st.none() | st.just("5")
)


@given(batch=st.lists(st.builds(Scored, trajectories, st.sampled_from([-1.0, 0.0, 1.0])), max_size=5))
def test_metrics_are_finite_numbers(batch: list[Scored]) -> None:
    """No batch gives NaN, infinity or a ratio outside 0 to 1."""
    metrics = summarize(batch)
    assert all(math.isfinite(value) and value >= 0 for value in metrics.values())
    assert all(value <= 1 for name, value in metrics.items() if "ratio" in name or "/stop/" in name or "mask" in name)
    assert set(metrics) <= set(METRICS)
    if batch:
        assert sum(value for name, value in metrics.items() if "/stop/" in name) == pytest.approx(1)
