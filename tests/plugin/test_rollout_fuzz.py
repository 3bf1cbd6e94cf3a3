"""Random model outputs through every turn rule, 100,000 in a nightly run: nothing raises, and what must hold does."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from nightly import WHOLE, scaled
from observations import OBSERVATIONS, RESULT
from random_world import Coding, RandomWorld, demo_coding, without_waiting

from tir_tools.demo.tokenizer import MESSAGE_END
from verl_tir.rollout.generation import Piece
from verl_tir.rollout.loop import Conversation, OnVoidTurn, Tools, TrajectoryLimits, converse
from verl_tir.rollout.observation import Frame, ObservationSettings, ProgramRun, TokenFrame
from verl_tir.rollout.turn_rule import TURN_RULES, TurnRule, resolve_turn_rule
from verl_tir.rollout.turn_rules.simpletir import FINAL_ANSWER_PRELUDE
from verl_tir.trajectory import Outcome, StopReason, Trajectory

OUTPUTS = scaled(100_000)
"""For each turn rule."""
BATCHES = 4 if WHOLE else 1
"""An output is found again by its rule, its batch and its number."""
REAL_SHARE = 50
"""One output in so many also goes through a real tokenizer, in which characters span tokens."""

CALL = '<tool_call>\n{"name": "code_interpreter", "arguments": {"code": "print(1)"}}\n</tool_call>'
FENCES = ["```", "``", "`", "````", "```py\n", "```python\n", "```Python \r\n", "``` python\n", "```json\n", "```.\n"]
FENCES += ["```output", "```output\n", "\n```output\n", "\n```\n", "\n```\r\n", "  ```\n", "\t```", "```x```", "~~~\n"]
FENCES += ["```pyt\u0130hon\n", "```\u212a\n", "```py\u0301\n", "```\u200bpython\n", "```\x00\n", "``\u0300`\n"]
CALLS = ["<tool_call>", "</tool_call>", "<tool_call>\n</tool_call>", "<TOOL_CALL>", CALL, CALL.replace("_int", "_Int")]
CALLS += [CALL.replace('"print(1)"', given) for given in ('""', "1", '" \\n"', '"\\ud800"', "[[[", '"\\u0000"', "NaN")]
CALLS += [
    f"<tool_call>{body}</tool_call>" for body in ("[" * 3000, "9" * 5000, '{"name": 1}', "null", "{}", "\ufeff{}")
]
BOXES = ["\\boxed{5}", "\\boxed{", "\\boxed", "boxed{5}", "\\boxed {5}", "\\fbox{1}", "\\boxed{{}", "}", "{"]
BOXES += ["\\\\boxed{1}"]
BOXES += ["\\boxed{\\frac{1}{2}}", "\\boxed{}", "\\boxed{\n```py\n}", "\\boxed{\\boxed{1}}", "\\boxe", "d{"]
BOXES += ["\\boxed{🙂}"]
CODE = ["print(1)\n", "final_answer(5)\n", "'''", '"""', "# ```\n", "from __future__ import annotations\n"]
CODE += ["    x = 1\n"]
CODE += ["from __future__ import (a,\n b); y\n", "from __future__ import \\\n a\n", "from __future__ import"]
CODE += ["print('```')\n"]
LETTERS = ["e\u0301", "\u0301", "\u0345", "👩‍👩‍👧", "🏳️‍🌈", "𝔘", "\U0010ffff", "\ufffd", "ﷺ", "שלום", "ß", "\u0130"]
LETTERS += ["\u017f"]
CONTROLS = ["\n", "\r\n", "\r", "\u2028", "\x85", "\x0b", "\x0c", "\x00", "\x1b[31m", "\x7f", "\u200b", "\ufeff"]
CONTROLS += ["\t", " "]
PROSE = ["So we compute. ", "x", "The answer is 5.\n", "Code execution result: 5\n", "\nassistant\n", "<|im_end|", ""]
BLOCKS = ["```py\nprint(1)\n```\n", "```\nx\n```", "```python\nprint(2)\n```\n```output", "```py\r\nx\r\n```\r\n"]
BLOCKS += ["1. ```py\n    x\n   y\n   ```\n", "\n\t```python\n    x\n\t```\n```output"]
HUGE = ["x" * 20_000, "```py\n" * 400, "\n```\n" * 100, "\\boxed{" * 2000, "{" * 4000, "```json\n{}\n```\n" * 40]
HUGE += ["`" * 9999, "<tool_call>" * 900, "\n" * 5000, "é" * 7000, "\u0301" * 3000, "from __future__ import (" * 300]
# How often a group is drawn from, in parts per thousand.
GROUPS = [(FENCES, 250), (CALLS, 120), (BOXES, 120), (CODE, 140), (LETTERS, 90), (CONTROLS, 130), (PROSE, 90)]
GROUPS += [(BLOCKS, 59)]
GROUPS += [(HUGE, 1)]
FRAGMENTS = [fragment for group, _ in GROUPS for fragment in group]
WEIGHTS = np.array([share / len(group) for group, share in GROUPS for _ in group]) / 1000

STDOUTS = ["", "5\n", "5", "\\boxed{6}\n", "🙂" * 300, "x" * 300 + "\\boxed{7}" + "y" * 300, MESSAGE_END]
STDOUTS += ["```py\nx\n```\n"]
STDOUTS += ["```output", "</tool_call>", "\x00", "\r\n\r\n"]
STDERRS = ["", "", "Warning: old\n", "Traceback\nValueError: 🙂\n", "\n\n", "\\boxed{8}"]

END = len(FRAGMENTS)
"""The id that ends a message; those above are letters, those below fragments."""


class _Letters(dict[int, str]):
    def __missing__(self, token: int) -> str:
        return self.setdefault(token, chr(token - END - 1))


TOKENS = _Letters(enumerate([*FRAGMENTS, MESSAGE_END]))


def _fragments() -> Coding:
    def encode(text: str) -> list[int]:
        return [END + 1 + ord(letter) for letter in text]

    def decode(ids: Sequence[int]) -> str:
        return "".join(map(TOKENS.__getitem__, ids))

    return Coding(encode, decode, END)


def _drawn(seed: int, count: int) -> list[list[int]]:
    """Random outputs as ids: from empty to some dozens of fragments, half of them with an end of message."""
    chance = np.random.default_rng(seed)
    lengths = chance.geometric(0.12, count) - 1
    ids = chance.choice(len(FRAGMENTS), p=WEIGHTS, size=int(lengths.sum())).tolist()
    ends = np.cumsum(lengths).tolist()
    ended = (chance.random(count) < 0.5).tolist()
    return [
        ids[end - length : end] + ([END] if closed else [])
        for end, length, closed in zip(ends, lengths.tolist(), ended, strict=True)
    ]


def _check_parse(rule: TurnRule, text: str) -> None:
    parsed = rule.parse(text)
    assert text.startswith(parsed.text)
    assert rule.parse(parsed.text) == parsed
    assert parsed.closed or (parsed.block is None and parsed.text == text)
    if parsed.block is not None:
        assert parsed.block.code.strip()
        assert parsed.block.end <= len(parsed.text)
        # The whole code and nothing else is run, but for the prelude between its lines.
        program = rule.program(parsed.block.code).replace(FINAL_ANSWER_PRELUDE, "", 1)
        assert program.replace("\n", "") == parsed.block.code.replace("\n", "")


def _check_conversation(world: RandomWorld, conversation: Conversation, limits: TrajectoryLimits) -> None:
    tokens, trajectory = conversation.tokens, conversation.trajectory
    turns = trajectory.turns
    assert len(tokens.ids) == len(tokens.mask) == len(tokens.log_probs) <= limits.max_response_tokens
    assert 1 <= len(turns) <= (limits.max_turns or len(turns))
    # Turn by turn: the sampled ids themselves under mask 1, then the observation under mask 0.
    calls = iter(world.calls)
    position = 0
    for turn in turns:
        ids: list[int] = []
        log_probs: list[float] = []
        while not log_probs or len(ids) < turn.model_tokens + turn.discarded_tokens:
            call = next(calls)
            assert len(call.context) == position + len(ids)
            ids += call.piece.ids
            log_probs += call.piece.log_probs
            if not call.piece.ids:
                break
        assert len(ids) == turn.model_tokens + turn.discarded_tokens <= limits.max_turn_tokens
        kept, observed = position + turn.model_tokens, position + turn.model_tokens + turn.observation_tokens
        assert tokens.ids[position:kept] == ids[: turn.model_tokens]
        # What is kept reaches the end of the call, and no token further.
        decode, parsed = world.coding.decode, world.rule.parse(world.coding.decode(ids))
        assert decode(ids[: turn.model_tokens]).startswith(parsed.text)
        assert not turn.discarded_tokens or not decode(ids[: turn.model_tokens - 1]).startswith(parsed.text)
        assert turn.has_code is (parsed.block is not None)
        assert tokens.log_probs[position:kept] == log_probs[: turn.model_tokens]
        assert tokens.mask[position:observed] == [1] * turn.model_tokens + [0] * turn.observation_tokens
        assert not any(tokens.log_probs[kept:observed])
        assert turn.outcome not in (None, Outcome.FAULT) or turn.observation_tokens == 0
        assert turn.outcome is None or turn.has_code
        position = observed
    assert position == len(tokens.ids)
    void = [number for number, turn in enumerate(turns, 1) if turn.void]
    if limits.on_void_turn is OnVoidTurn.STOP:
        assert void in ([], [len(turns)])
    assert trajectory.void is (bool(void) and not trajectory.aborted)
    runs = sum(turn.outcome is not None for turn in turns)
    assert limits.max_tool_calls is None or runs <= limits.max_tool_calls


def _rule_frame(rule: TurnRule) -> TokenFrame:
    """The rule's own, or one as a chat template would give it."""
    return TokenFrame(rule.frame) if rule.frame else TokenFrame(Frame("tool\n", ""), (END,), (END, END))


def _converse(outputs: Iterator[list[int]], rule: TurnRule, coding: Coding, chance: random.Random) -> Conversation:
    limits = TrajectoryLimits(
        max_turns=chance.choice([1, 2, 3, 5, 8]),
        max_turn_tokens=chance.choice([1, 4, 20, 5000]),
        max_response_tokens=chance.choice([1, 30, 400, 20_000, 20_000]),
        max_tool_seconds=None,
        max_tool_calls=chance.choice([None, None, 0, 1, 2]),
        on_void_turn=chance.choice(list(OnVoidTurn)),
    )
    settings = ObservationSettings(
        chance.choice(OBSERVATIONS), chance.choice([2, 20, 512]), chance.choice([30, 256]), _rule_frame(rule)
    )
    world = RandomWorld(
        chance,
        rule,
        coding,
        outputs,
        STDOUTS,
        STDERRS,
        stops=chance.random() < 0.5,
        abort_share=0.01,
        fault_share=0.02,
    )
    conversation = world.converse(limits, settings)
    _check_conversation(world, conversation, limits)
    return conversation


def _reasons(outputs: list[list[int]], rule: TurnRule, coding: Coding, seed: int) -> set[StopReason]:
    """Why the conversations that all `outputs` make stopped."""
    chance = random.Random(seed)
    at = 0

    def said() -> Iterator[list[int]]:
        nonlocal at
        while True:
            # The last conversation may need more than there are: the first ones come again.
            at += 1
            yield outputs[(at - 1) % len(outputs)]

    reasons = set()
    stream = said()
    while at < len(outputs):
        before = at
        try:
            conversation = _converse(stream, rule, coding, chance)
        except Exception as error:
            error.add_note(f"rule {rule}, seed {seed}, outputs {before} to {at}")
            raise
        reasons.add(conversation.trajectory.stop_reason)
        if before % 97 == 0:
            assert Trajectory.from_record(conversation.trajectory.to_record()) == conversation.trajectory
    return reasons


@pytest.mark.parametrize("batch", range(BATCHES))
@pytest.mark.parametrize("name", TURN_RULES)
def test_no_output_breaks_a_turn_rule(name: str, batch: int) -> None:
    """Parsing twice is parsing once, ids and masks are the engine's, and a void turn is the last one."""
    rule = resolve_turn_rule(name)
    seed = 1000 * list(TURN_RULES).index(name) + batch
    outputs = _drawn(seed, OUTPUTS // BATCHES)
    coding = _fragments()
    for number, ids in enumerate(outputs):
        text = coding.decode(ids)
        try:
            _check_parse(rule, text)
        except Exception as error:
            error.add_note(f"rule {name}, seed {seed}, output {number}: {text[:2000]!r}")
            raise
    reasons = _reasons(outputs, rule, coding, seed)
    # They get everywhere, so that nothing holds only because nothing happens.
    assert reasons == set(StopReason) - {StopReason.PROMPT_TOO_LONG, StopReason.TOOL_TIME}
    real = demo_coding()
    spelled = [real.encode(coding.decode(ids)) for ids in outputs[::REAL_SHARE]]
    assert {StopReason.ANSWER, StopReason.VOID} <= _reasons(spelled, rule, real, seed)


@dataclass
class _CountingDecode:
    """Counts the tokens that it is asked to decode."""

    tokens: int = 0

    def __call__(self, ids: Sequence[int]) -> str:
        self.tokens += len(ids)
        return "".join(map(TOKENS.__getitem__, ids))


@pytest.mark.parametrize("behind", [0, 1, 50, 4000])
@pytest.mark.parametrize("size", [2_000, 32_000])
@pytest.mark.parametrize("name", TURN_RULES)
def test_a_turns_work_is_linear_in_its_tokens(name: str, size: int, behind: int) -> None:
    """All of it is decoded a few times, however long it is; the end of a surplus is found by bisection."""
    rule = resolve_turn_rule(name)
    coding = _fragments()
    call = {"simpletir": BLOCKS[0], "torl": BLOCKS[2], "hermes": CALL}[name]
    ids = coding.encode("x" * size + "\n" + call + "y" * behind)
    decode = _CountingDecode()

    async def generate(context: list[int], max_tokens: int) -> Piece:
        return Piece(ids, [0.0] * len(ids), aborted=False)

    async def run_program(program: str) -> ProgramRun:
        return ProgramRun(Outcome.SUCCESS, "", "", 0)

    tools = Tools(generate, run_program, coding.encode, decode, frozenset({END}))
    settings = ObservationSettings(RESULT, 512, 256, _rule_frame(rule))
    conversation = without_waiting(converse(tools, TrajectoryLimits(1, 1 << 20, 1 << 20, None), settings, rule))
    assert conversation.trajectory.turns[0].has_code
    assert decode.tokens <= 4 * len(ids) + 2 * behind * behind.bit_length() + 300
