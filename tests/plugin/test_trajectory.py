"""The record that every stage shares, and its way through storage."""

import dataclasses
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_tir.trajectory import AnswerSource, Outcome, StopReason, Trajectory, Turn, TurnEnd

TURN = Turn(
    end=TurnEnd.CODE,
    model_tokens=10,
    observation_tokens=5,
    discarded_tokens=1,
    has_code=True,
    has_answer=False,
    outcome=Outcome.SUCCESS,
    observation_truncated=False,
    generate_seconds=0.5,
    tool_seconds=0.25,
)
LAST = Turn(
    end=TurnEnd.EOS,
    model_tokens=3,
    observation_tokens=0,
    discarded_tokens=0,
    has_code=False,
    has_answer=True,
    outcome=None,
    observation_truncated=False,
    generate_seconds=0.5,
    tool_seconds=0.0,
)

turns = st.builds(
    Turn,
    end=st.sampled_from(TurnEnd),
    outcome=st.none() | st.sampled_from(Outcome),
    model_tokens=st.integers(0),
    observation_tokens=st.integers(0),
    discarded_tokens=st.integers(0),
    has_code=st.booleans(),
    has_answer=st.booleans(),
    observation_truncated=st.booleans(),
    generate_seconds=st.floats(0, 1e6),
    tool_seconds=st.floats(0, 1e6),
)
trajectories = st.builds(
    Trajectory,
    turns=st.lists(turns, max_size=3).map(tuple),
    stop_reason=st.sampled_from(StopReason),
    answer=st.none() | st.text(max_size=5),
    answer_source=st.none() | st.sampled_from(AnswerSource),
    fault=st.none() | st.text(max_size=5),
)


def _through_json(record: dict) -> dict:
    return json.loads(json.dumps(record))


def _through_pickle(record: dict) -> dict:
    return pickle.loads(pickle.dumps(record))


@pytest.mark.parametrize("carry", [dict, _through_json, _through_pickle])
@given(trajectory=trajectories)
def test_record_survives_storage(carry, trajectory: Trajectory) -> None:
    """What comes back from verl's `extra_fields` or from a dump is the same trajectory, enums included."""
    back = Trajectory.from_record(carry(trajectory.to_record()))
    assert back == trajectory
    assert back.stop_reason is trajectory.stop_reason
    assert [(turn.end, turn.outcome) for turn in back.turns] == [(turn.end, turn.outcome) for turn in trajectory.turns]
    assert all(type(turn.end) is TurnEnd for turn in back.turns)
    assert isinstance(back.turns, tuple)
    assert back.answer_source is trajectory.answer_source


def test_record_may_hold_more() -> None:
    """Keys that others add beside the trajectory's do not disturb it."""
    trajectory = Trajectory((TURN, LAST), StopReason.ANSWER, "5", AnswerSource.MODEL)
    assert Trajectory.from_record(trajectory.to_record() | {"texts": []}) == trajectory


@pytest.mark.parametrize(
    "damage",
    [
        lambda record: record.pop("turns"),
        lambda record: record.pop("answer"),
        lambda record: record.update(stop_reason="tired"),
        lambda record: record.update(answer_source="me"),
        lambda record: record["turns"][0].update(end="tired"),
        lambda record: record["turns"][0].update(outcome="tired"),
        lambda record: record["turns"][0].update(mood="tired"),
        lambda record: record["turns"][0].pop("end"),
        lambda record: record["turns"][0].pop("model_tokens"),
    ],
    ids=["turns", "answer", "reason", "source", "end", "outcome", "extra", "no end", "no tokens"],
)
def test_record_of_another_version_is_refused(damage) -> None:
    """A record that does not match is never read as something else."""
    record = Trajectory((TURN, LAST), StopReason.ANSWER, "5", AnswerSource.MODEL).to_record()
    damage(record)
    with pytest.raises((KeyError, TypeError, ValueError)):
        Trajectory.from_record(record)


def test_closed_sets_are_written_as_words() -> None:
    """Dumps and metric names carry the values, which later versions have to keep reading."""
    assert [str(reason) for reason in StopReason] == [
        "answer",
        "void",
        "max_turns",
        "call_budget",
        "response_budget",
        "tool_time",
        "sandbox_fault",
        "engine_abort",
        "prompt_too_long",
    ]
    assert [str(end) for end in TurnEnd] == ["code", "call", "eos", "length", "aborted"]
    assert [str(outcome) for outcome in Outcome] == ["success", "failed", "time_limit", "memory_limit", "fault"]
    assert json.dumps(StopReason.VOID) == '"void"'


ABORTED = {StopReason.SANDBOX_FAULT, StopReason.ENGINE_ABORT, StopReason.PROMPT_TOO_LONG}


VOID = dataclasses.replace(LAST, has_answer=False)
EMPTY = dataclasses.replace(VOID, model_tokens=0)


@pytest.mark.parametrize("reason", StopReason)
@pytest.mark.parametrize("turns", [(TURN,), (TURN, VOID), (VOID, LAST)])
def test_void_and_aborted_say_different_things(turns: tuple[Turn, ...], reason: StopReason) -> None:
    """Void follows from the turns and says something about the model, aborted does not; no trajectory is both."""
    trajectory = Trajectory(turns, reason)
    assert trajectory.aborted is (reason in ABORTED)
    assert trajectory.void is (VOID in turns and reason not in ABORTED)


@pytest.mark.parametrize(
    ("turns", "start"),
    [((TURN, LAST), None), ((VOID, TURN), 0), ((TURN, VOID, TURN, VOID), 15), ((TURN, LAST, VOID), 18), ((), None)],
)
def test_void_from_counts_what_stands_before_the_first_void_turn(turns: tuple[Turn, ...], start: int | None) -> None:
    """From that response token on, observations counted, a trajectory is void."""
    assert Trajectory(turns, StopReason.MAX_TURNS).void_from == start
    assert Trajectory(turns, StopReason.ENGINE_ABORT).void_from is None


@pytest.mark.parametrize(
    ("turns", "tool"),
    [((), False), ((TURN,), True), ((TURN, LAST), False), ((LAST, TURN), True), ((TURN, EMPTY), True)],
)
def test_the_tool_has_the_last_token(turns: tuple[Turn, ...], tool: bool) -> None:
    """Whatever ended the trajectory; a turn of which nothing was kept does not count."""
    for reason in StopReason:
        assert Trajectory(turns, reason).ends_in_observation is tool


@pytest.mark.parametrize(("code", "answer", "void"), [(0, 0, True), (1, 0, False), (0, 1, False), (1, 1, False)])
def test_void_turn_has_neither_code_nor_answer(code: int, answer: int, void: bool) -> None:
    """A failing program is no void turn: its outcome does not matter."""
    fields = {**Trajectory((TURN,), StopReason.VOID).to_record()["turns"][0], "has_code": bool(code)}
    for outcome in [None, *Outcome]:
        assert Turn(**{**fields, "has_answer": bool(answer), "outcome": outcome}).void is void
