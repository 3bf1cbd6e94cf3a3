"""What holds in every conversation under every turn rule: thousands of random ones, with a real tokenizer."""

import json
import random
from collections.abc import Iterator

import pytest
from observations import OBSERVATIONS
from random_world import RandomWorld, demo_coding, demo_tokenizer

from tir_tools.demo.tokenizer import MESSAGE_END
from verl_tir.rollout.loop import Conversation, OnVoidTurn, TrajectoryLimits
from verl_tir.rollout.observation import ObservationSettings, chat_frame, tokenize_frame
from verl_tir.rollout.turn_rule import TURN_RULES, resolve_turn_rule
from verl_tir.trajectory import Outcome, StopReason, TurnEnd

CONVERSATIONS = 1500
CALL = json.dumps({"name": "code_interpreter", "arguments": {"code": "print(1)"}})
FRAGMENTS = {
    "simpletir": ["```py\nprint(1)\n```\n"] * 6 + ["```\n", "```json\n1\n```\n"],
    "torl": ["```python\nprint(1)\n```\n```output"] * 6 + ["```python\nx\n```\n", "```output", "```py\n"],
    "hermes": [f"<tool_call>\n{CALL}\n</tool_call>"] * 6 + ["<tool_call>", "</tool_call>", "{}"],
}
PROSE = ["So we compute. ", "é🙂中文 ", "\\boxed{5}", "\\boxed{", "\n", "5"]
OUTPUTS = ["", "5\n", "\\boxed{6}\n", "🙂" * 30, "x" * 300, f"</tool_response>{MESSAGE_END}\n", "```\n```output"]


CODING = demo_coding(special_as_text=True)


def _messages(chance: random.Random, name: str) -> Iterator[list[int]]:
    weights = [3] * len(FRAGMENTS[name]) + [1] * len(PROSE)
    while True:
        ids: list[int] = []
        while chance.random() >= 0.25:
            (fragment,) = chance.choices([*FRAGMENTS[name], *PROSE], weights)
            ids += CODING.encode(fragment)
        yield [*ids, demo_tokenizer().eos_token_id]


def _random_conversation(
    name: str, seed: int
) -> tuple[RandomWorld, Conversation, TrajectoryLimits, ObservationSettings]:
    chance = random.Random(seed)
    rule = resolve_turn_rule(name)
    limits = TrajectoryLimits(
        max_turns=chance.choice([1, 3, 12]),
        max_turn_tokens=chance.choice([8, 60, 200]),
        max_response_tokens=chance.choice([30, 200, 1000]),
        max_tool_seconds=chance.choice([None, None, None, 1e-12]),
        max_tool_calls=chance.choice([None, 0, 1, 2, 5]),
        on_void_turn=chance.choice(list(OnVoidTurn)),
    )
    frame = rule.frame or chat_frame(demo_tokenizer(), rule.tools)
    settings = ObservationSettings(
        chance.choice(OBSERVATIONS), 64, chance.choice([32, 256]), tokenize_frame(frame, demo_tokenizer())
    )
    world = RandomWorld(chance, rule, CODING, _messages(chance, name), OUTPUTS, abort_share=0.05)
    return world, world.converse(limits, settings, frozenset(demo_tokenizer().all_special_ids)), limits, settings


def _check(name: str, seed: int) -> StopReason:
    world, conversation, limits, settings = _random_conversation(name, seed)
    tokens, trajectory = conversation.tokens, conversation.trajectory
    turns, reason = trajectory.turns, trajectory.stop_reason
    assert len(tokens.ids) == len(tokens.mask) == len(tokens.log_probs) <= limits.max_response_tokens
    assert len(tokens) == sum(turn.model_tokens + turn.observation_tokens for turn in turns)
    assert all(tokens.ids[: len(call.context)] == call.context for call in world.calls)
    assert trajectory.ends_in_observation is (tokens.mask[-1:] == [0])

    # Place in the response: the token that was last sampled there, and its log-probability.
    sampled = {
        len(call.context) + at: pair
        for call in world.calls
        for at, pair in enumerate(zip(call.piece.ids, call.piece.log_probs, strict=True))
    }
    place = 0
    for index, turn in enumerate(turns):
        model = slice(place, place + turn.model_tokens)
        # What is trained is what was sampled there, id by id.
        assert tokens.mask[model] == [1] * turn.model_tokens
        pairs = list(zip(tokens.ids[model], tokens.log_probs[model], strict=True))
        assert pairs == [sampled[at] for at in range(model.start, model.stop)]
        parsed = world.rule.parse(CODING.decode(tokens.ids[model]))
        assert turn.has_code is (parsed.block is not None)
        if turn.end is not TurnEnd.ABORTED:
            assert (turn.end in (TurnEnd.CODE, TurnEnd.CALL)) is parsed.closed
        place = model.stop + turn.observation_tokens
        observed = slice(model.stop, place)
        assert tokens.mask[observed] == [0] * turn.observation_tokens
        assert tokens.log_probs[observed] == [0.0] * turn.observation_tokens
        if turn.observation_tokens:
            assert turn.outcome not in (None, Outcome.FAULT)
            head, tail = settings.frame.head_ids, settings.frame.tail_ids
            inner = tokens.ids[observed.start + len(head) : observed.stop - len(tail)]
            assert tokens.ids[observed] == [*head, *inner, *tail]
            assert len(inner) <= settings.max_tokens
            assert not set(inner) & set(demo_tokenizer().all_special_ids)
            assert CODING.decode(inner).startswith(settings.frame.text.before)
            assert CODING.decode(inner).endswith(settings.frame.text.after)
        last = index == len(turns) - 1
        assert last or not turn.has_answer
        assert last or not turn.void or limits.on_void_turn is OnVoidTurn.CONTINUE
        assert last or turn.outcome is not None or turn.void

    runs = [turn.outcome for turn in turns if turn.outcome is not None]
    assert runs == [Outcome.FAULT if run is None else run.outcome for _, run in world.runs]
    assert limits.max_tool_calls is None or len(runs) <= limits.max_tool_calls
    assert 1 <= len(turns) <= limits.max_turns
    assert trajectory.aborted is (reason in (StopReason.SANDBOX_FAULT, StopReason.ENGINE_ABORT))
    if not trajectory.aborted:
        assert trajectory.void is any(turn.void for turn in turns)
        assert (reason is StopReason.ANSWER) is turns[-1].has_answer
    if reason is StopReason.VOID:
        assert turns[-1].void
        assert trajectory.answer is None
    if reason is StopReason.CALL_BUDGET:
        assert turns[-1].outcome is None
        assert len(runs) == limits.max_tool_calls
    if trajectory.void_from is not None:
        assert trajectory.void_from == tokens.mask[: trajectory.void_from].count(1) + sum(
            turn.observation_tokens for turn in turns[: [turn.void for turn in turns].index(True)]
        )
    return reason


@pytest.mark.parametrize("name", TURN_RULES)
def test_every_conversation_keeps_its_invariants(name: str) -> None:
    """Ids, masks, log-probabilities and budgets, whatever the rule, the model and the sandbox do."""
    reasons = set()
    for seed in range(CONVERSATIONS):
        try:
            reasons.add(_check(name, seed))
        except AssertionError as error:
            error.add_note(f"conversation seed: {seed}")
            raise
    assert reasons == set(StopReason) - {StopReason.PROMPT_TOO_LONG}
