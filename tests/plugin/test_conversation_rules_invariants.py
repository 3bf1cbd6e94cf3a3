"""What holds in every conversation under every turn rule: thousands of random ones, with a real tokenizer."""

import asyncio
import copy
import functools
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from observations import OBSERVATIONS

from sandbox_client import SandboxUnreachable
from tir_tools.demo.tokenizer import MESSAGE_END, train_tokenizer
from verl_tir.rollout.generation import Piece
from verl_tir.rollout.loop import Conversation, OnVoidTurn, Tools, TrajectoryLimits, converse
from verl_tir.rollout.observation import ObservationSettings, ProgramRun, chat_frame, tokenize_frame
from verl_tir.rollout.turn_rule import TURN_RULES, TurnRule, resolve_turn_rule
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


@functools.cache
def _tokenizer():
    """The demo's, whose template writes a tool's message as it does any other."""
    return train_tokenizer(seed=0)


@functools.cache
def _fast():
    """Its backend: the same ids, and several times faster. Of its own, for a switch of it is set."""
    backend = copy.deepcopy(_tokenizer().backend_tokenizer)
    backend.encode_special_tokens = True
    return backend


def _encode(text: str) -> list[int]:
    return _fast().encode(text, add_special_tokens=False).ids


def _decode(ids: Sequence[int]) -> str:
    return _fast().decode(list(ids), skip_special_tokens=False)


@dataclass
class World:
    """A random engine that stops as vLLM does, and a random sandbox; both remember."""

    chance: random.Random
    name: str
    rule: TurnRule
    sampled: dict[int, tuple[int, float]] = field(default_factory=dict)
    """Place in the response: the token that was last sampled there, and its log-probability."""
    contexts: list[list[int]] = field(default_factory=list)
    runs: list[ProgramRun | None] = field(default_factory=list)

    async def generate(self, context: list[int], max_tokens: int) -> Piece:
        assert max_tokens >= 1
        self.contexts.append(list(context))
        ids: list[int] = []
        while len(ids) < max_tokens and not any(stop in _decode(ids) for stop in self.rule.stop_strings):
            if self.chance.random() < 0.02:
                return self._piece(context, ids, aborted=True)
            if self.chance.random() < 0.25:
                ids.append(_tokenizer().eos_token_id)
                break
            weights = [3] * len(FRAGMENTS[self.name]) + [1] * len(PROSE)
            (fragment,) = self.chance.choices([*FRAGMENTS[self.name], *PROSE], weights)
            for token in _encode(fragment):
                ids.append(token)
                if len(ids) == max_tokens or any(stop in _decode(ids[-20:]) for stop in self.rule.stop_strings):
                    break
        return self._piece(context, ids, aborted=False)

    def _piece(self, context: list[int], ids: list[int], *, aborted: bool) -> Piece:
        log_probs = [-self.chance.random() for _ in ids]
        pairs = zip(ids, log_probs, strict=True)
        self.sampled.update({len(context) + place: pair for place, pair in enumerate(pairs)})
        return Piece(list(ids), log_probs, aborted)

    async def run_program(self, program: str) -> ProgramRun:
        if self.chance.random() < 0.03:
            self.runs.append(None)
            raise SandboxUnreachable("refused", endpoint="http://sandbox:1")
        outcome = self.chance.choice([Outcome.SUCCESS, Outcome.SUCCESS, Outcome.FAILED, Outcome.TIME_LIMIT])
        self.runs.append(
            ProgramRun(outcome, self.chance.choice(OUTPUTS), self.chance.choice(["", "a\nError: 🙂\n"]), 1)
        )
        return self.runs[-1]


def _random_conversation(name: str, seed: int) -> tuple[World, Conversation, TrajectoryLimits, ObservationSettings]:
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
    frame = rule.frame or chat_frame(_tokenizer(), rule.tools)
    settings = ObservationSettings(
        chance.choice(OBSERVATIONS), 64, chance.choice([32, 256]), tokenize_frame(frame, _tokenizer())
    )
    world = World(chance, name, rule)
    tools = Tools(world.generate, world.run_program, _encode, _decode, frozenset(_tokenizer().all_special_ids))
    return world, asyncio.run(converse(tools, limits, settings, rule)), limits, settings


def _check(name: str, seed: int) -> StopReason:
    world, conversation, limits, settings = _random_conversation(name, seed)
    tokens, trajectory = conversation.tokens, conversation.trajectory
    turns, reason = trajectory.turns, trajectory.stop_reason
    assert len(tokens.ids) == len(tokens.mask) == len(tokens.log_probs) <= limits.max_response_tokens
    assert len(tokens) == sum(turn.model_tokens + turn.observation_tokens for turn in turns)
    assert all(tokens.ids[: len(context)] == context for context in world.contexts)
    assert trajectory.ends_in_observation is (tokens.mask[-1:] == [0])

    place = 0
    for index, turn in enumerate(turns):
        model = slice(place, place + turn.model_tokens)
        # What is trained is what was sampled there, id by id.
        assert tokens.mask[model] == [1] * turn.model_tokens
        pairs = list(zip(tokens.ids[model], tokens.log_probs[model], strict=True))
        assert pairs == [world.sampled[at] for at in range(model.start, model.stop)]
        parsed = world.rule.parse(_decode(tokens.ids[model]))
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
            assert not set(inner) & set(_tokenizer().all_special_ids)
            assert _decode(inner).startswith(settings.frame.text.before)
            assert _decode(inner).endswith(settings.frame.text.after)
        last = index == len(turns) - 1
        assert last or not turn.has_answer
        assert last or not turn.void or limits.on_void_turn is OnVoidTurn.CONTINUE
        assert last or turn.outcome is not None or turn.void

    runs = [turn.outcome for turn in turns if turn.outcome is not None]
    assert runs == [Outcome.FAULT if run is None else run.outcome for run in world.runs]
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
