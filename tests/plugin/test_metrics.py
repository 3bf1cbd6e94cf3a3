"""One batch of trajectories as metrics."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from math_answers.verdict import Verdict
from verl_tir.metrics.log_probs import reduce_log_probs
from verl_tir.metrics.summary import summarize
from verl_tir.sampler.finished_row import FinishedRow, verdict_of
from verl_tir.trajectory import AnswerSource, Outcome, StopReason, Trajectory, Turn, TurnEnd


def _turn(
    outcome: Outcome | None,
    *log_probs: float,
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
        log_probs=reduce_log_probs(log_probs),
    )


def row(trajectory: Trajectory, reward: float, verdict: Verdict | None = None) -> FinishedRow:
    """A row of any group."""
    return FinishedRow("a_0_0", trajectory, reward, verdict)


BATCH = [
    row(
        Trajectory(
            (
                _turn(Outcome.FAILED, 0.0, -1.0, observed=6, discarded=1, cut=True, generate=2.0, tool=0.5),
                _turn(Outcome.SUCCESS, -4.0, observed=4, tool=1.5),
                _turn(None, model=20, answer=True),
            ),
            StopReason.ANSWER,
            answer="5",
            answer_source=AnswerSource.MODEL,
        ),
        1.0,
        Verdict.CORRECT,
    ),
    row(
        Trajectory((_turn(Outcome.TIME_LIMIT, 0.0, observed=10, tool=3.0), _turn(None, discarded=2)), StopReason.VOID),
        -1.0,
        Verdict.WRONG,
    ),
    row(Trajectory((_turn(None, -7.0, model=30),), StopReason.VOID, "5", AnswerSource.MODEL), 0.5, Verdict.CORRECT),
    row(Trajectory((_turn(Outcome.FAULT, tool=5.0),), StopReason.SANDBOX_FAULT, fault="no room"), 0.0),
    row(Trajectory((), StopReason.PROMPT_TOO_LONG), -1.0),
]

METRICS = {
    "tir/trajectories/total": 5,
    "tir/stop/answer": 1 / 5,
    "tir/stop/void": 2 / 5,
    "tir/stop/turn_limit": 0,
    "tir/stop/call_budget": 0,
    "tir/stop/response_budget": 0,
    "tir/stop/tool_time": 0,
    "tir/stop/sandbox_fault": 1 / 5,
    "tir/stop/engine_abort": 0,
    "tir/stop/prompt_too_long": 1 / 5,
    "tir/turn_end/code": 4 / 7,
    "tir/turn_end/call": 0,
    "tir/turn_end/eos": 3 / 7,
    "tir/turn_end/length": 0,
    "tir/turn_end/aborted": 0,
    "tir/void_ratio": 2 / 5,
    "tir/void_correct/total": 1,
    "tir/void_correct_ratio": 1 / 2,
    "tir/aborted_ratio": 2 / 5,
    "tir/answer_ratio": 2 / 5,
    "tir/correct_ratio": 2 / 3,
    "tir/code_ratio": 3 / 5,
    "tir/code_pass_ratio": 1 / 3,
    "tir/code_pass_ratio/correct": 1 / 2,
    "tir/code_pass_ratio/incorrect": 0,
    "tir/tool/success/total": 1,
    "tir/tool/failed/total": 1,
    "tir/tool/time_limit/total": 1,
    "tir/tool/memory_limit/total": 0,
    "tir/tool/fault/total": 1,
    "tir/tool/calls/total": 4,
    "tir/tool/calls/mean": 4 / 5,
    "tir/tool/calls/max": 2,
    "tir/turns/mean": 7 / 5,
    "tir/turns/max": 3,
    "tir/observation/truncated_ratio": 1 / 3,
    # Responses of 50, 30, 30, 10 and 0 tokens, of which 40, 20, 30, 10 and 0 are the model's.
    "tir/tokens/response/mean": 24,
    "tir/tokens/response/p50": 30,
    "tir/tokens/response/p90": 50,
    "tir/tokens/response/p99": 50,
    "tir/tokens/response/max": 50,
    "tir/tokens/response/min": 0,
    "tir/tokens/model/mean": 20,
    "tir/tokens/model/p50": 20,
    "tir/tokens/model/p90": 40,
    "tir/tokens/model/p99": 40,
    "tir/tokens/model/max": 40,
    "tir/tokens/model/min": 0,
    "tir/tokens/observation/mean": 4,
    "tir/tokens/observation/p50": 0,
    "tir/tokens/observation/p90": 10,
    "tir/tokens/observation/p99": 10,
    "tir/tokens/observation/max": 10,
    "tir/tokens/observation/min": 0,
    "tir/tokens/model/total": 100,
    "tir/tokens/observation/total": 20,
    "tir/tokens/discarded/total": 3,
    "tir/tokens/mask_coverage": 100 / 120,
    # 4, 2, 1, 1 and 0 seconds in the engine, and 2, 3, 0, 5 and 0 in tools.
    "tir/agent_loop/generate_sequences/mean": 8 / 5,
    "tir/agent_loop/generate_sequences/max": 4,
    "tir/agent_loop/generate_sequences/min": 0,
    "tir/agent_loop/tool_calls/mean": 10 / 5,
    "tir/agent_loop/tool_calls/max": 5,
    "tir/agent_loop/tool_calls/min": 0,
    "tir/agent_loop/slowest/generate_sequences": 4,
    "tir/agent_loop/slowest/tool_calls": 2,
    "tir/log_prob/min": -7,
    "tir/log_prob/mean": -12 / 5,
    "tir/log_prob/p1": -7,
    "tir/log_prob/p5": -7,
    "tir/log_prob/p50": -1,
    "tir/turn/1/reached_ratio": 4 / 5,
    "tir/turn/1/void_ratio": 1 / 4,
    "tir/turn/1/code_pass_ratio": 0,
    "tir/turn/1/log_prob/min": -7,
    "tir/turn/1/log_prob/mean": -8 / 4,
    "tir/turn/1/log_prob/p1": -7,
    "tir/turn/1/log_prob/p5": -7,
    "tir/turn/1/log_prob/p50": -1,
    "tir/turn/2/reached_ratio": 2 / 5,
    "tir/turn/2/void_ratio": 1 / 2,
    "tir/turn/2/code_pass_ratio": 1,
    **{f"tir/turn/2/log_prob/{rank}": -4 for rank in ("min", "mean", "p1", "p5", "p50")},
    "tir/turn/3/reached_ratio": 1 / 5,
    "tir/turn/3/void_ratio": 0,
    **{f"tir/turn/{turn}/reached_ratio": 0 for turn in (4, 5, 6, 7, 8, "9plus")},
}


def test_batch_computed_by_hand() -> None:
    """Every metric is there, and nothing else, with the value worked out on paper; percentiles within their bins."""
    found = summarize(BATCH)
    ranks = {name for name in METRICS if "log_prob/p" in name}
    assert {name: found[name] for name in ranks} == pytest.approx({name: METRICS[name] for name in ranks}, rel=0.05)
    rest = METRICS.keys() - ranks
    assert {name: found[name] for name in found.keys() - ranks} == pytest.approx({name: METRICS[name] for name in rest})
    assert all(type(value) is float for value in found.values())


WITHOUT = {
    "no trajectory": (
        [],
        {"tir/trajectories/total"},
        {"tir/void_ratio", "tir/stop/answer", "tir/turns/mean", "tir/turns/max", "tir/agent_loop/tool_calls/min"},
    ),
    "no void trajectory": (BATCH[:1], {"tir/void_ratio"}, {"tir/void_correct_ratio"}),
    "no program": (
        BATCH[2:3],
        {"tir/code_ratio", "tir/tool/calls/total", "tir/agent_loop/tool_calls/mean"},
        {
            "tir/code_pass_ratio",
            "tir/code_pass_ratio/correct",
            "tir/observation/truncated_ratio",
            "tir/turn/1/code_pass_ratio",
        },
    ),
    "no program that ran": (BATCH[3:4], {"tir/tool/fault/total"}, {"tir/code_pass_ratio", "tir/correct_ratio"}),
    "no right one": (BATCH[1:2], {"tir/code_pass_ratio/incorrect"}, {"tir/code_pass_ratio/correct"}),
    "no wrong one": (BATCH[:1], {"tir/code_pass_ratio/correct"}, {"tir/code_pass_ratio/incorrect"}),
    "no token": (BATCH[4:], {"tir/tokens/model/total", "tir/turns/mean"}, {"tir/tokens/mask_coverage"}),
    "no turn": (BATCH[4:], {"tir/turns/max"}, {"tir/turn_end/code", "tir/turn/1/void_ratio"}),
    "no log-probability": (
        [row(Trajectory((_turn(None),), StopReason.VOID), 0.0, Verdict.UNDECIDED)],
        {"tir/turn/1/void_ratio"},
        {"tir/log_prob/mean", "tir/turn/1/log_prob/min"},
    ),
}


@pytest.mark.parametrize(("batch", "present", "absent"), WITHOUT.values(), ids=WITHOUT)
def test_empty_denominators_are_left_out(batch: list[FinishedRow], present: set[str], absent: set[str]) -> None:
    """A share of nothing is not reported as zero, and what can be measured still is."""
    names = set(summarize(batch))
    assert present <= names
    assert not absent & names


def test_the_sandbox_is_not_blamed_on_the_model() -> None:
    """Calls that ended in a fault lower neither the share of programs that pass nor that of right answers."""
    sound = summarize(BATCH[:3])
    outage = summarize([*BATCH[:3], *[BATCH[3]] * 10])
    shares = [name for name in sound if "pass_ratio" in name or name.endswith("/correct_ratio")]
    assert len(shares) == 6
    assert {name: outage[name] for name in shares} == {name: sound[name] for name in shares}
    assert outage["tir/tool/fault/total"] == 10


def test_what_could_not_be_scored_is_no_wrong_answer() -> None:
    """A void trajectory of which nothing is known is no false positive and no true one."""
    unknown = row(Trajectory((_turn(None),), StopReason.VOID), 0.0, Verdict.UNDECIDED)
    metrics = summarize([*BATCH[1:3], unknown])
    assert (metrics["tir/void_ratio"], metrics["tir/void_correct_ratio"]) == (1, 1 / 2)


def test_many_turns_share_the_last_names() -> None:
    """From the ninth turn on there is one entry, so that a run of 50 turns logs no more than one of 9."""
    long = Trajectory((*[_turn(Outcome.SUCCESS, -1.0)] * 8, *[_turn(None, -2.0)] * 42), StopReason.VOID)
    short = Trajectory((_turn(None, -3.0),), StopReason.VOID)
    metrics = summarize([row(long, 0.0), row(short, 0.0)])
    assert {name.split("/")[2] for name in metrics if name.startswith("tir/turn/")} == {*"12345678", "9plus"}
    assert metrics["tir/turn/8/code_pass_ratio"] == 1
    assert metrics["tir/turn/9plus/reached_ratio"] == 1 / 2
    assert metrics["tir/turn/9plus/void_ratio"] == 1
    assert metrics["tir/turn/9plus/log_prob/min"] == -2
    assert metrics["tir/turns/max"] == 50


SAID = {
    "its own word": (StopReason.ANSWER, -0.5, {"correct": 1.0}, True),
    "its own word against the reward": (StopReason.ANSWER, 0.5, {"correct": 0.0}, False),
    "no word, a reward": (StopReason.VOID, 1.0, {}, True),
    "no word, none": (StopReason.VOID, 0.0, {"boxed": 1.0}, False),
    "no word, a penalty": (StopReason.VOID, -1.0, {}, False),
    "undecided": (StopReason.ANSWER, 0.0, {"correct": 0.0, "undecided": 1.0}, None),
    "decided": (StopReason.ANSWER, 0.0, {"correct": 0.0, "undecided": 0.0}, False),
    "aborted": (StopReason.SANDBOX_FAULT, 0.0, {}, None),
}


@pytest.mark.parametrize(("reason", "reward", "extra", "expected"), SAID.values(), ids=SAID)
def test_correctness_is_what_the_reward_function_says(
    reason: StopReason, reward: float, extra: dict[str, float], expected: bool | None
) -> None:
    """Its `correct` where there is one, else a reward above zero; nothing of what was not scored."""
    assert row(Trajectory((), reason), reward, verdict_of(extra)).correct is expected


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
    log_probs=st.builds(reduce_log_probs, st.lists(st.floats(-2000, 0), max_size=4)),
)
trajectories = st.builds(
    Trajectory, st.lists(turns, max_size=3).map(tuple), st.sampled_from(StopReason), st.none() | st.just("5")
)


@given(batch=st.lists(st.builds(row, trajectories, st.floats(-1, 1), st.none() | st.sampled_from(Verdict)), max_size=5))
def test_metrics_are_finite_numbers(batch: list[FinishedRow]) -> None:
    """No batch gives NaN, infinity, a ratio outside 0 to 1, or a log-probability above 0."""
    metrics = summarize(batch)
    assert all(math.isfinite(value) for value in metrics.values())
    assert all((value <= 0) if "log_prob" in name else (value >= 0) for name, value in metrics.items())
    assert all(value <= 1 for name, value in metrics.items() if "ratio" in name or "/stop/" in name or "mask" in name)
    turn_three = {name for name in metrics if name.startswith("tir/turn/3/")}
    assert {name.replace("turn/3", "turn/2") for name in turn_three} <= METRICS.keys()
    assert metrics.keys() - turn_three <= METRICS.keys()
    if batch:
        assert sum(value for name, value in metrics.items() if "/stop/" in name) == pytest.approx(1)
