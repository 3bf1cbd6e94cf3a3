"""What holds in every conversation, whatever the model, the engine and the sandbox do: thousands of random ones."""

import itertools
import random
from collections.abc import Iterator, Sequence

import pytest
from observations import OBSERVATIONS
from random_world import Call, RandomWorld, demo_coding

from tir_tools.demo.tokenizer import MESSAGE_END
from verl_tir.rollout.loop import Conversation, TrajectoryLimits
from verl_tir.rollout.observation import ObservationSettings, observe
from verl_tir.rollout.tokens import fit_observation
from verl_tir.rollout.turn_rules import simpletir
from verl_tir.trajectory import AnswerSource, Outcome, StopReason, TurnEnd

CONVERSATIONS = 8000
BATCHES = 8
"""The conversations are split for pytest, so that a failure names a small seed range."""

FRAGMENTS = (
    ["```py\nprint(1)\n```\n"] * 12
    + ["```Python\r\nprint(2)\r\n```\r\n", "```\nx = '🙂'\n```\n", "so ```py\nx\n  ```  \nprose", "```py\nx\n```.\n"]
    + ["```json\n{}\n```\n", "```\n", "\n```\n", "```", "`", "```py\n", "\n", "\r\n", "```x``` "]
    + ["So we compute. ", "é🙂中文👩‍👩‍👧 ", "The answer is 5.", "\\boxed{5}", "\\boxed{", "final_answer(5)\n"]
)
OUTPUTS = ["", "5\n", "5", "\\boxed{6}\n", "🙂" * 30, "a b " * 40, "x" * 300 + "\\boxed{7}" + "y" * 300, MESSAGE_END]


CODING = demo_coding()


def _messages(chance: random.Random) -> Iterator[list[int]]:
    """Random text, whose pieces are cut anywhere, so that token boundaries fall anywhere too."""
    while True:
        ids: list[int] = []
        while CODING.end not in ids[-1:]:
            text = "".join(chance.choices(FRAGMENTS, k=chance.randint(1, 4)))
            cut = chance.randint(0, len(text))
            ids += CODING.encode(text[:cut]) + CODING.encode(text[cut:])
            if chance.random() < 0.05:
                ids.append(chance.choice(CODING.encode("🙂")))
            if chance.random() < 0.25:
                ids.append(CODING.end)
        yield ids


def _turns(calls: Sequence[Call]) -> list[list[Call]]:
    """The calls turn by turn: a call that continues all of the last one's tokens is of the same turn."""
    turns: list[list[Call]] = []
    for call in calls:
        if turns and call.context == turns[-1][-1].context + turns[-1][-1].piece.ids:
            turns[-1].append(call)
        else:
            turns.append([call])
    return turns


def _random_conversation(seed: int) -> tuple[RandomWorld, Conversation, TrajectoryLimits, ObservationSettings]:
    chance = random.Random(seed)
    limits = TrajectoryLimits(
        max_turns=chance.randint(1, 5),
        max_turn_tokens=chance.choice([1, 8, 40, 200, 200]),
        max_response_tokens=chance.choice([1, 30, 90, 200, 1000, 1000]),
        max_tool_seconds=chance.choice([None, None, None, 1e-12]),
    )
    settings = ObservationSettings(
        rule=chance.choice(OBSERVATIONS),
        max_chars=chance.choice([2, 20, 512]),
        max_tokens=chance.choice([2, 15, 256]),
    )
    world = RandomWorld(chance, simpletir.RULE, CODING, _messages(chance), OUTPUTS)
    return world, world.converse(limits, settings), limits, settings


def _check(seed: int) -> StopReason:
    world, conversation, limits, settings = _random_conversation(seed)
    tokens, trajectory = conversation.tokens, conversation.trajectory
    turns, sampled = trajectory.turns, _turns(world.calls)
    assert len(turns) == len(sampled)

    expected_ids: list[int] = []
    expected_mask: list[int] = []
    expected_log_probs: list[float] = []
    answer = False
    runs = iter(world.runs)
    for turn, calls in zip(turns, sampled, strict=True):
        # The context is the response so far: nothing that was discarded, nothing re-tokenised.
        assert calls[0].context == expected_ids
        room = limits.max_response_tokens - len(expected_ids)
        assert room >= 1
        ids = [token for call in calls for token in call.piece.ids]
        log_probs = [value for call in calls for value in call.piece.log_probs]
        left = min(limits.max_turn_tokens, room)
        for call in calls:
            assert call.max_tokens == left
            left -= len(call.piece.ids)
        assert left >= 0
        # Sampling goes on only from a fence that ended nothing.
        for call in calls[:-1]:
            assert any(stop in CODING.decode(call.piece.ids) for stop in simpletir.RULE.stop_strings)
            assert simpletir.parse_turn(CODING.decode(call.context[len(expected_ids) :] + call.piece.ids)).block is None

        kept = ids[: turn.model_tokens]
        parsed = simpletir.parse_turn(CODING.decode(ids))
        assert turn.discarded_tokens == len(ids) - len(kept)
        assert turn.has_code is (parsed.block is not None)
        if parsed.block is None:
            assert kept == ids
        else:
            assert CODING.decode(kept).startswith(parsed.text)
            assert not CODING.decode(kept[:-1]).startswith(parsed.text)
            assert simpletir.parse_turn(CODING.decode(kept)).block == parsed.block
        expected_ids += kept
        expected_mask += [1] * len(kept)
        expected_log_probs += log_probs[: len(kept)]
        answer = "\\boxed{" in parsed.text

        if calls[-1].piece.aborted:
            assert turn.end is TurnEnd.ABORTED
            assert turn is turns[-1]
            assert trajectory.stop_reason is StopReason.ENGINE_ABORT
        elif parsed.block is not None:
            assert turn.end is TurnEnd.CODE
        else:
            assert turn.end is (TurnEnd.LENGTH if left == 0 else TurnEnd.EOS)

        if parsed.block is None or turn.end is TurnEnd.ABORTED:
            assert turn.outcome is None
            assert turn.observation_tokens == 0
            continue
        program, run = next(runs)
        assert program == simpletir.program_of(parsed.block.code)
        if run is None:
            assert turn.outcome is Outcome.FAULT
            assert turn.observation_tokens == 0
            assert turn is turns[-1]
            assert trajectory.stop_reason is StopReason.SANDBOX_FAULT
            continue
        assert turn.outcome is run.outcome
        answer = answer or "\\boxed{" in run.stdout
        observation = observe(run, settings.rule, settings.max_chars)
        shown, cut = fit_observation(CODING.encode(observation.text), settings.max_tokens)
        assert turn.observation_truncated is (cut or observation.truncated)
        if turn.observation_tokens == 0:
            assert len(expected_ids) + len(shown) > limits.max_response_tokens
            assert turn is turns[-1]
            assert trajectory.stop_reason is (StopReason.ANSWER if answer else StopReason.RESPONSE_BUDGET)
            continue
        assert turn.observation_tokens == len(shown)
        expected_ids += shown
        expected_mask += [0] * len(shown)
        expected_log_probs += [0.0] * len(shown)
    assert next(runs, None) is None

    assert tokens.ids == expected_ids
    assert tokens.mask == expected_mask
    assert tokens.log_probs == expected_log_probs
    assert len(tokens) <= limits.max_response_tokens
    assert 1 <= len(turns) <= limits.max_turns
    assert all(turn.model_tokens + turn.discarded_tokens <= limits.max_turn_tokens for turn in turns)
    assert not any(turn.void or turn.has_answer for turn in turns[:-1])
    assert turns[-1].has_answer is answer
    assert [said.text for said in conversation.texts(CODING.decode)] == [
        CODING.decode(ids)
        for ids in _runs_of_ones(
            tokens.ids, [turn.model_tokens for turn in turns], [t.observation_tokens for t in turns]
        )
    ]

    reason = trajectory.stop_reason
    assert trajectory.void is (reason is StopReason.VOID)
    assert (trajectory.fault is not None) is (reason is StopReason.SANDBOX_FAULT)
    assert trajectory.aborted is (reason in (StopReason.SANDBOX_FAULT, StopReason.ENGINE_ABORT))
    assert trajectory.answer_source is None or trajectory.answer_source in AnswerSource
    assert (trajectory.answer is None) is (trajectory.answer_source is None)
    if not trajectory.aborted:
        assert (reason is StopReason.VOID) is turns[-1].void
        assert (reason is StopReason.ANSWER) is answer
    if reason is StopReason.MAX_TURNS:
        assert len(turns) == limits.max_turns
    if reason is StopReason.TOOL_TIME:
        assert limits.max_tool_seconds is not None
    return reason


def _runs_of_ones(ids: Sequence[int], model: Sequence[int], observed: Sequence[int]) -> list[Sequence[int]]:
    starts = list(itertools.accumulate((m + o for m, o in zip(model, observed, strict=True)), initial=0))
    return [ids[start : start + m] for start, m in zip(starts, model, strict=False)]


@pytest.mark.parametrize("batch", range(BATCHES))
def test_every_conversation_keeps_its_invariants(batch: int) -> None:
    """Ids, masks and log-probabilities are exactly the engine's and the sandbox's, in order and within all limits."""
    size = CONVERSATIONS // BATCHES
    reasons = set()
    for seed in range(batch * size, (batch + 1) * size):
        try:
            reasons.add(_check(seed))
        except AssertionError as error:
            error.add_note(f"conversation seed: {seed}")
            raise
    # Every ending is among them, so that the invariants are not kept by conversations that never get anywhere.
    assert reasons == set(StopReason) - {StopReason.PROMPT_TOO_LONG, StopReason.CALL_BUDGET}
