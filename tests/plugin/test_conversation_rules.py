"""Whole trajectories under ToRL's rule, under tool budgets, and past void turns; a letter is a token here."""

import observations
import pytest
from scripted_world import ABORT, EOS, World, decode, texts_of

from sandbox_client import SandboxOverloaded
from verl_tir.rollout.loop import OnVoidTurn
from verl_tir.rollout.observation import Frame, ProgramRun, TokenFrame
from verl_tir.rollout.turn_rule import TurnRule
from verl_tir.rollout.turn_rules import hermes, simpletir, torl
from verl_tir.trajectory import AnswerSource, Outcome, StopReason, TurnEnd

CALL = "```python\nx\n```\n```output"
SEEN = "\n5\n\n```\n"
FIVE = ProgramRun(Outcome.SUCCESS, "5\n", "", 0)
FAULT = SandboxOverloaded("no room", endpoint="http://sandbox:1", attempts=4)

# id: script, results, settings, stop reason, answer, texts in turn (model, tool, model, ...)
TORL = {
    "call, then the answer": (
        f"So\n{CALL}It is \\boxed{{5}}{EOS}",
        [FIVE],
        {},
        StopReason.ANSWER,
        "5",
        [f"So\n{CALL}", SEEN, f"It is \\boxed{{5}}{EOS}"],
    ),
    "no call": (f"\\boxed{{5}}.{EOS}", [], {}, StopReason.ANSWER, "5", [f"\\boxed{{5}}.{EOS}"]),
    "a box ends nothing": (
        f"\\boxed{{4}}, but\n{CALL}so 5{EOS}",
        [FIVE],
        {},
        StopReason.ANSWER,
        "4",
        [f"\\boxed{{4}}, but\n{CALL}", SEEN, f"so 5{EOS}"],
    ),
    "the last box counts": (
        f"\\boxed{{4}}\n{CALL}\\boxed{{6}} \\boxed{{7}}{EOS}",
        [FIVE],
        {},
        StopReason.ANSWER,
        "7",
        [f"\\boxed{{4}}\n{CALL}", SEEN, f"\\boxed{{6}} \\boxed{{7}}{EOS}"],
    ),
    "a program's box is no answer": (
        f"{CALL}so{EOS}",
        [ProgramRun(Outcome.SUCCESS, "\\boxed{5}", "", 0)],
        {},
        StopReason.VOID,
        None,
        [CALL, "\n\\boxed{5}\n```\n", f"so{EOS}"],
    ),
    "a block that nobody asks for is not run": (
        f"```python\nx\n```\nso \\boxed{{5}}{EOS}",
        [],
        {},
        StopReason.ANSWER,
        "5",
        [f"```python\nx\n```\nso \\boxed{{5}}{EOS}"],
    ),
    "void": (f"so 5{EOS}", [], {}, StopReason.VOID, None, [f"so 5{EOS}"]),
    "request without code": ("so ```output5", [], {}, StopReason.VOID, None, ["so ```output"]),
    "request without code behind a box": (
        "\\boxed{5} ```output5",
        [],
        {},
        StopReason.ANSWER,
        "5",
        ["\\boxed{5} ```output"],
    ),
    "an error is shown": (
        f"{CALL}\\boxed{{5}}",
        [ProgramRun(Outcome.FAILED, "", "Traceback\nNameError: x\n", 1)],
        {},
        StopReason.ANSWER,
        "5",
        [CALL, "\nNameError: x\n```\n", "\\boxed{5}"],
    ),
    "cut by its length behind a box": (
        "\\boxed{5}....",
        [],
        {"max_response_tokens": 10},
        StopReason.ANSWER,
        "5",
        ["\\boxed{5}."],
    ),
    "cut by its length": ("so 5 ....", [], {"max_response_tokens": 5}, StopReason.VOID, None, ["so 5 "]),
    "observation that does not fit behind a box": (
        f"\\boxed{{4}}{CALL}",
        [FIVE],
        {"max_response_tokens": len(CALL) + 10},
        StopReason.RESPONSE_BUDGET,
        "4",
        [f"\\boxed{{4}}{CALL}"],
    ),
    "turns run out": (
        f"{CALL}{CALL}{CALL}",
        [FIVE] * 2,
        {"max_turns": 2},
        StopReason.MAX_TURNS,
        None,
        [CALL, SEEN] * 2,
    ),
    "sandbox fault": (f"{CALL}so", [FAULT], {}, StopReason.SANDBOX_FAULT, None, [CALL]),
    "aborted": (f"so{ABORT}", [], {}, StopReason.ENGINE_ABORT, None, ["so"]),
    "aborted behind a request": (f"{CALL[:-1]}{ABORT}", [], {}, StopReason.ENGINE_ABORT, None, [CALL[:-1]]),
}


@pytest.mark.parametrize(("script", "runs", "settings", "reason", "answer", "texts"), TORL.values(), ids=TORL)
async def test_torl(
    script: str, runs: list, settings: dict, reason: StopReason, answer: str | None, texts: list[str]
) -> None:
    """The request stays the model's, the observation completes it, and only the end of the text is an end."""
    conversation, world = await _talk(torl.RULE, script, runs, rule=observations.TORL, **settings)
    trajectory = conversation.trajectory
    assert trajectory.stop_reason is reason
    assert trajectory.answer == answer
    assert trajectory.answer_source is (None if answer is None else AnswerSource.MODEL)
    assert texts_of(conversation) == list(texts)
    assert conversation.tokens.mask == [1 - i % 2 for i, text in enumerate(texts) for _ in text]
    assert len(world.programs) == len(runs)
    assert trajectory.void is (reason is StopReason.VOID)
    assert trajectory.turns[-1].has_answer is (reason is StopReason.ANSWER)


@pytest.mark.parametrize("calls", [0, 1, 2, 5])
async def test_torls_budget_of_calls(calls: int) -> None:
    """C programs run in C generations, one more is plain text, and a request in it ends the trajectory."""
    plain = f"```python\ny\n```\nso \\boxed{{5}}{EOS}"
    settings = {"max_turns": None, "max_tool_calls": calls}
    conversation, world = await _talk(torl.RULE, CALL * calls + plain, [FIVE] * calls, **settings)
    assert conversation.trajectory.stop_reason is StopReason.ANSWER
    assert decode(conversation.tokens.ids) == (CALL + SEEN) * calls + plain
    assert (len(world.programs), len(world.contexts)) == (calls, calls + 1)

    conversation, world = await _talk(torl.RULE, CALL * (calls + 2), [FIVE] * calls, **settings)
    assert conversation.trajectory.stop_reason is StopReason.CALL_BUDGET
    assert decode(conversation.tokens.ids) == (CALL + SEEN) * calls + CALL
    assert (len(world.programs), len(world.contexts)) == (calls, calls + 1)
    last = conversation.trajectory.turns[-1]
    assert (last.outcome, last.observation_tokens, last.has_answer) == (None, 0, False)

    # Begun with a box in it, the answer stands.
    conversation, _ = await _talk(torl.RULE, f"{CALL * calls}\\boxed{{5}}{CALL}", [FIVE] * calls, **settings)
    assert conversation.trajectory.stop_reason is StopReason.ANSWER
    assert conversation.trajectory.answer == "5"

    # Plain text without a box is void, and none of the budget's doing.
    conversation, _ = await _talk(torl.RULE, f"{CALL * calls}so 5{EOS}", [FIVE] * calls, **settings)
    assert conversation.trajectory.stop_reason is StopReason.VOID

    conversation, _ = await _talk(torl.RULE, f"{CALL * calls}so ```output", [FIVE] * calls, **settings)
    assert conversation.trajectory.stop_reason is StopReason.CALL_BUDGET
    assert conversation.trajectory.turns[-1].end is TurnEnd.CALL


async def test_simpletirs_budget_of_calls() -> None:
    """The turn ends at its block as ever; one too many is not run."""
    code = "```py\nx\n```"
    conversation, world = await _talk(simpletir.RULE, f"{code}\n{code}\n{code}", [FIVE], max_tool_calls=1)
    assert conversation.trajectory.stop_reason is StopReason.CALL_BUDGET
    assert not conversation.trajectory.void
    assert world.programs == ["x"]
    assert decode(conversation.tokens.ids) == f"{code}\nCode execution result: 5\n\n{code}"
    conversation, _ = await _talk(simpletir.RULE, f"\\boxed{{5}}\n{code}", [], max_tool_calls=0)
    assert conversation.trajectory.stop_reason is StopReason.ANSWER


@pytest.mark.parametrize("turns", [11, 40])
async def test_many_turns(turns: int) -> None:
    """Beyond ten turns, with and without a limit on them."""
    code = "```py\nx\n```\n"
    conversation, _ = await _talk(simpletir.RULE, code * 50, [FIVE] * turns, max_turns=turns)
    assert (conversation.trajectory.stop_reason, len(conversation.trajectory.turns)) == (StopReason.MAX_TURNS, turns)
    conversation, _ = await _talk(simpletir.RULE, f"{code * turns}\\boxed{{}}", [FIVE] * turns, max_turns=None)
    assert (conversation.trajectory.stop_reason, len(conversation.trajectory.turns)) == (StopReason.ANSWER, turns + 1)


# id: script, results, settings, stop reason, model texts, void turns
CONTINUED = {
    "answer behind a void turn": (
        f"so{EOS}then \\boxed{{5}}",
        [],
        {},
        StopReason.ANSWER,
        [f"so{EOS}", "then \\boxed{5}"],
        [0],
    ),
    "code behind two void turns": (
        f"so{EOS}and{EOS}```py\nx\n```\n\\boxed{{5}}",
        [FIVE],
        {},
        StopReason.ANSWER,
        [f"so{EOS}", f"and{EOS}", "```py\nx\n```", "\\boxed{5}"],
        [0, 1],
    ),
    "void turn behind code": (
        f"```py\nx\n```\nso{EOS}\\boxed{{5}}",
        [FIVE],
        {},
        StopReason.ANSWER,
        ["```py\nx\n```", f"so{EOS}", "\\boxed{5}"],
        [1],
    ),
    "turns cut by their limit": (
        "abcdefgh",
        [],
        {"max_turn_tokens": 3, "max_turns": 2},
        StopReason.MAX_TURNS,
        ["abc", "def"],
        [0, 1],
    ),
    "response used up": (
        f"so{EOS}abcdefgh",
        [],
        {"max_response_tokens": 6},
        StopReason.RESPONSE_BUDGET,
        [f"so{EOS}", "abc"],
        [0, 1],
    ),
    "nothing more is sampled": (f"so{EOS}", [], {}, StopReason.VOID, [f"so{EOS}", ""], [0, 1]),
    "aborted": (f"so{EOS}x{ABORT}", [], {}, StopReason.ENGINE_ABORT, [f"so{EOS}", "x"], [0, 1]),
}


@pytest.mark.parametrize(("script", "runs", "settings", "reason", "texts", "void"), CONTINUED.values(), ids=CONTINUED)
async def test_going_on_behind_a_void_turn(
    script: str, runs: list, settings: dict, reason: StopReason, texts: list[str], void: list[int]
) -> None:
    """Nothing is appended to a void turn, every one is recorded, and the trajectory stays void whatever comes."""
    settings = {"on_void_turn": OnVoidTurn.CONTINUE} | settings
    conversation, world = await _talk(simpletir.RULE, script, runs, **settings)
    trajectory = conversation.trajectory
    assert trajectory.stop_reason is reason
    assert [said.text for said in conversation.texts(decode)] == texts
    assert [index for index, turn in enumerate(trajectory.turns) if turn.void] == void
    assert all(turn.observation_tokens == 0 for turn in trajectory.turns if turn.void)
    assert trajectory.void is not trajectory.aborted
    if not trajectory.aborted:
        before = trajectory.turns[: void[0]]
        assert trajectory.void_from == sum(turn.model_tokens + turn.observation_tokens for turn in before)
    # Sampling went on from the very ids of the response.
    assert all(decode(conversation.tokens.ids).startswith(context) for context in world.contexts)


async def test_torl_goes_on_behind_a_request_without_code() -> None:
    """Then the model writes the output itself, which is what the ablation is about."""
    settings = {"on_void_turn": OnVoidTurn.CONTINUE}
    conversation, _ = await _talk(torl.RULE, f"so ```output\n5\n```\n\\boxed{{5}}{EOS}", [], **settings)
    assert conversation.trajectory.stop_reason is StopReason.ANSWER
    assert [turn.void for turn in conversation.trajectory.turns] == [True, False]
    assert decode(conversation.tokens.ids) == f"so ```output\n5\n```\n\\boxed{{5}}{EOS}"


async def test_tool_messages_close_the_models_message() -> None:
    """The frame's tokens carry mask 0, are never cut, and the next turn begins a message."""
    call = '<tool_call>{"name": "code_interpreter", "arguments": {"code": "x"}}</tool_call>'
    frame = TokenFrame(Frame("t:", ":t"), head_ids=(2, 3), tail_ids=(4, 5))
    script = f"so {call} more\\boxed{{4}}{EOS}"
    conversation, world = await _talk(hermes.RULE, script, [FIVE], frame=frame)
    assert world.programs == ["x"]
    assert conversation.trajectory.stop_reason is StopReason.ANSWER
    model, tool, last = texts_of(conversation)
    assert (model, tool, last) == (f"so {call}", "\2\3t:5\n:t\4\5", f" more\\boxed{{4}}{EOS}")
    conversation, _ = await _talk(
        hermes.RULE, script, [ProgramRun(Outcome.SUCCESS, "5" * 99, "", 0)], frame=frame, max_tokens=8
    )
    assert texts_of(conversation)[1] == "\2\3t:5555:t\4\5"
    assert conversation.trajectory.turns[0].observation_truncated


@pytest.mark.parametrize(
    "call", ["<tool_call>{}</tool_call>", '<tool_call>{"name": "search", "arguments": {"code": "x"}}</tool_call>']
)
async def test_a_call_without_code_is_a_void_turn(call: str) -> None:
    """Nothing is run and nothing is shown; behind a box it is an answer."""
    frame = TokenFrame(Frame("", ""))
    conversation, world = await _talk(hermes.RULE, f"so {call} on", [], frame=frame)
    assert (conversation.trajectory.stop_reason, world.programs) == (StopReason.VOID, [])
    assert conversation.trajectory.turns[0].end is TurnEnd.CALL
    conversation, _ = await _talk(hermes.RULE, f"\\boxed{{5}} {call} on", [], frame=frame)
    assert (conversation.trajectory.stop_reason, conversation.trajectory.answer) == (StopReason.ANSWER, "5")


async def _talk(turn_rule: TurnRule, script: str, runs: list, **settings: object):
    world = World(script, list(runs), rule=turn_rule)
    conversation = await world.talk(**settings)
    assert not world.runs
    return conversation, world
