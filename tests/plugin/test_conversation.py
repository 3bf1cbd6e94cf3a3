"""One trajectory from its first token to its stop reason, example by example; a letter is a token here."""

import asyncio
import itertools
from types import SimpleNamespace

import pytest
from scripted_world import ABORT, EOS, World, texts_of
from scripted_world import decode as _decode

from sandbox_client import SandboxOverloaded
from verl_tir.rollout.generation import Piece, generate_turn
from verl_tir.rollout.observation import ProgramRun
from verl_tir.rollout.turn_rules import simpletir
from verl_tir.trajectory import AnswerSource, Outcome, StopReason, TurnEnd

CODE = "```py\nx\n```"
FAULT = SandboxOverloaded("no room", endpoint="http://sandbox:1", attempts=4)


def _out(stdout: str) -> ProgramRun:
    return ProgramRun(Outcome.SUCCESS, stdout, "", 0)


def _shown(text: str) -> str:
    return f"\nCode execution result: {text}\n"


OBSERVED = _shown("5\n")

# id: script, results, settings, stop reason, segments in turn (model, tool, model, ...), programs run
EXAMPLES = {
    "answer at once": (f"\\boxed{{5}}{EOS}", [], {}, StopReason.ANSWER, [f"\\boxed{{5}}{EOS}"], 0),
    "code, then the answer": (
        f"So\n{CODE}\nI guess\\boxed{{5}}{EOS}",
        [_out("5\n")],
        {},
        StopReason.ANSWER,
        [f"So\n{CODE}", OBSERVED, f"I guess\\boxed{{5}}{EOS}"],
        1,
    ),
    "text behind the code on its line": (
        f"{CODE} I guess 6{EOS}5\\boxed{{5}}",
        [_out("5\n")],
        {},
        StopReason.ANSWER,
        [CODE, OBSERVED, "5\\boxed{5}"],
        1,
    ),
    "code beside an answer is run": (
        f"\\boxed{{4}}\n{CODE}\n",
        [_out("5\n")],
        {},
        StopReason.ANSWER,
        [f"\\boxed{{4}}\n{CODE}", OBSERVED],
        1,
    ),
    "answer in the output": (
        f"{CODE}\nmore",
        [_out("\\boxed{5}\n")],
        {},
        StopReason.ANSWER,
        [CODE, _shown("\\boxed{5}\n")],
        1,
    ),
    "failing code is an observation": (
        f"{CODE}\n\\boxed{{5}}",
        [ProgramRun(Outcome.FAILED, "", "a\nNameError: x", 1)],
        {},
        StopReason.ANSWER,
        [CODE, _shown("NameError: x"), "\\boxed{5}"],
        1,
    ),
    "last turn's code is run and shown": (
        f"{CODE}\n{CODE}\n{CODE}\n",
        [_out("5\n"), _out("5\n")],
        {"max_turns": 2},
        StopReason.MAX_TURNS,
        [CODE, OBSERVED, CODE, OBSERVED],
        2,
    ),
    "bare block": (
        "So\n```\nx\n```\n\\boxed{}",
        [_out("5\n")],
        {},
        StopReason.ANSWER,
        ["So\n```\nx\n```", OBSERVED, "\\boxed{}"],
        1,
    ),
    "bare fences that never close": (f"So\n```\nx\n{EOS}", [], {}, StopReason.VOID, [f"So\n```\nx\n{EOS}"], 0),
    "json goes on": (
        f"```json\n5\n```\nso\n{CODE}\n\\boxed{{}}",
        [_out("5\n")],
        {},
        StopReason.ANSWER,
        [f"```json\n5\n```\nso\n{CODE}", OBSERVED, "\\boxed{}"],
        1,
    ),
    "json alone is void": (f"```json\n5\n```\nso{EOS}", [], {}, StopReason.VOID, [f"```json\n5\n```\nso{EOS}"], 0),
    "end of message right behind a fence": (f"a\n```\n{EOS}{CODE}", [], {}, StopReason.VOID, [f"a\n```\n{EOS}"], 0),
    "void": (f"So 5.{EOS}", [], {}, StopReason.VOID, [f"So 5.{EOS}"], 0),
    "void after code": (f"{CODE}\nSo 5.{EOS}", [_out("5\n")], {}, StopReason.VOID, [CODE, OBSERVED, f"So 5.{EOS}"], 1),
    "void by length": ("So 5." + "." * 99, [], {"max_turn_tokens": 5}, StopReason.VOID, ["So 5."], 0),
    "void by length within code": (CODE, [], {"max_turn_tokens": 8}, StopReason.VOID, ["```py\nx\n"], 0),
    "code that just fits": (
        CODE,
        [_out("5\n")],
        {"max_turn_tokens": len(CODE), "max_turns": 1},
        StopReason.MAX_TURNS,
        [CODE, OBSERVED],
        1,
    ),
    "void by budget": ("So 5....", [], {"max_response_tokens": 5}, StopReason.VOID, ["So 5."], 0),
    "answer by length": ("\\boxed{5}....", [], {"max_turn_tokens": 9}, StopReason.ANSWER, ["\\boxed{5}"], 0),
    "observation that does not fit": (
        f"{CODE}\n\\boxed{{5}}",
        [_out("5\n")],
        {"max_response_tokens": len(CODE + OBSERVED) - 1},
        StopReason.RESPONSE_BUDGET,
        [CODE],
        1,
    ),
    "answer in an observation that does not fit": (
        f"{CODE}\n",
        [_out("\\boxed{5}")],
        {"max_response_tokens": len(CODE) + 5},
        StopReason.ANSWER,
        [CODE],
        1,
    ),
    "observation that fills the budget": (
        f"{CODE}\n\\boxed{{5}}",
        [_out("5\n")],
        {"max_response_tokens": len(CODE + OBSERVED)},
        StopReason.RESPONSE_BUDGET,
        [CODE, OBSERVED],
        1,
    ),
    "one token left": (
        f"{CODE}\n\\boxed{{5}}",
        [_out("5\n")],
        {"max_response_tokens": len(CODE + OBSERVED) + 1},
        StopReason.VOID,
        [CODE, OBSERVED, "\\"],
        1,
    ),
    "long observation loses its middle": (
        f"{CODE}\n\\boxed{{5}}",
        [_out("5" * 40)],
        {"max_tokens": 10},
        StopReason.ANSWER,
        [CODE, _shown("")[:5] + "5555\n", "\\boxed{5}"],
        1,
    ),
    "sandbox fault": (f"\\boxed{{4}}{CODE}\n{CODE}", [FAULT], {}, StopReason.SANDBOX_FAULT, [f"\\boxed{{4}}{CODE}"], 1),
    "fault on the last turn, budget used up": (
        CODE,
        [FAULT],
        {"max_turns": 1, "max_response_tokens": len(CODE)},
        StopReason.SANDBOX_FAULT,
        [CODE],
        1,
    ),
    "aborted": (f"So{ABORT}", [], {}, StopReason.ENGINE_ABORT, ["So"], 0),
    "aborted before the first token": (ABORT, [], {}, StopReason.ENGINE_ABORT, [""], 0),
    "aborted with an answer": (f"\\boxed{{5}}{ABORT}", [], {}, StopReason.ENGINE_ABORT, ["\\boxed{5}"], 0),
    "aborted with complete code": (f"{CODE} {ABORT}", [], {}, StopReason.ENGINE_ABORT, [CODE], 0),
    "aborted in the second turn": (
        f"{CODE}\nSo{ABORT}",
        [_out("5\n")],
        {},
        StopReason.ENGINE_ABORT,
        [CODE, OBSERVED, "So"],
        1,
    ),
    "nothing sampled": ("", [], {}, StopReason.VOID, [""], 0),
}


@pytest.mark.parametrize(("script", "runs", "settings", "reason", "texts", "programs"), EXAMPLES.values(), ids=EXAMPLES)
async def test_conversation(
    script: str, runs: list, settings: dict, reason: StopReason, texts: list[str], programs: int
) -> None:
    """A script leads to its stop reason, with these texts in the context and so many programs run."""
    world = World(script, list(runs))
    conversation = await world.talk(**settings)
    assert conversation.trajectory.stop_reason is reason
    assert texts_of(conversation) == list(texts)
    assert _decode(conversation.tokens.ids) == "".join(texts)
    assert conversation.tokens.mask == [1 - i % 2 for i, text in enumerate(texts) for _ in text]
    assert len(world.programs) == programs
    assert conversation.trajectory.void is (reason is StopReason.VOID)


async def test_next_turn_sees_the_code_and_its_result_and_nothing_else() -> None:
    """What the engine sampled behind the code is not in the context, and sampling goes on from the same ids."""
    world = World(f"a\n```json\n1\n```\nb\n{CODE} c{EOS}\\boxed{{1}}", [_out("5")])
    await world.talk(max_turn_tokens=50, max_response_tokens=80)
    block = f"a\n```json\n1\n```\nb\n{CODE}"
    assert world.contexts == ["", "a\n```json\n1\n```\n", block + _shown("5")]
    assert world.budgets == [50, 50 - len("a\n```json\n1\n```\n"), 80 - len(block + _shown("5"))]
    assert world.programs == ["x"]


async def test_engine_that_ends_on_its_own_is_not_asked_again() -> None:
    """A fence that was passed earlier in the turn is no reason to go on after the engine ended without one."""
    world = World("a\n```\nb")
    assert (await world.talk()).trajectory.turns[0].end is TurnEnd.EOS
    assert world.contexts == ["", "a\n```\n"]


async def test_turns_are_recorded() -> None:
    """Every turn says why it ended, what it held, and how many tokens were sampled, appended and discarded."""
    world = World(f"{CODE}\n{CODE} so{EOS}end{EOS}", [_out("5"), ProgramRun(Outcome.TIME_LIMIT, "", "", None)], 0.01)
    first, second, third = (await world.talk()).trajectory.turns
    assert (first.end, first.model_tokens, first.discarded_tokens) == (TurnEnd.CODE, len(CODE), 1)
    assert (first.has_code, first.has_answer, first.outcome) == (True, False, Outcome.SUCCESS)
    assert (first.observation_tokens, first.observation_truncated) == (len(_shown("5")), False)
    assert (second.end, second.discarded_tokens, second.outcome) == (TurnEnd.CODE, len(f" so{EOS}"), Outcome.TIME_LIMIT)
    assert (third.end, third.model_tokens, third.has_code, third.outcome) == (TurnEnd.EOS, 4, False, None)
    assert (third.observation_tokens, third.observation_truncated, third.tool_seconds) == (0, False, 0.0)
    assert 0.01 <= first.tool_seconds < 5
    assert 0 < first.generate_seconds < 5


# id: script, results, the answer, who wrote it
ANSWERS = {
    "model": (f"\\boxed{{4}}, \\boxed{{\\frac{{1}}{{2}}}}{EOS}", [], "\\frac{1}{2}", AnswerSource.MODEL),
    "tool": (f"{CODE}\n", [_out("\\boxed{5}\n")], "5", AnswerSource.TOOL),
    "tool, beyond the truncation": (f"{CODE}\n", [_out("a" * 600 + "\\boxed{5}" + "b" * 600)], "5", AnswerSource.TOOL),
    "tool after the model": (f"\\boxed{{4}}\n{CODE}\n", [_out("\\boxed{5}")], "5", AnswerSource.TOOL),
    "model, and nothing printed": (f"\\boxed{{4}}\n{CODE}\n", [_out("5")], "4", AnswerSource.MODEL),
    "behind the code": (f"{CODE} \\boxed{{4}}{EOS}{EOS}", [_out("5")], None, None),
    "on stderr": (f"{CODE}\n{EOS}", [ProgramRun(Outcome.FAILED, "", "\\boxed{5}", 1)], None, None),
    "printed before the failure": (
        f"{CODE}\n",
        [ProgramRun(Outcome.FAILED, "\\boxed{5}\n", "E", 1)],
        "5",
        AnswerSource.TOOL,
    ),
    "unfinished": ("\\boxed{5", [], None, None),
    "fault beside the model's": (f"\\boxed{{4}}\n{CODE}", [FAULT], "4", AnswerSource.MODEL),
}


@pytest.mark.parametrize(("script", "runs", "answer", "source"), ANSWERS.values(), ids=ANSWERS)
async def test_answer_is_recorded_with_its_source(
    script: str, runs: list, answer: str | None, source: AnswerSource | None
) -> None:
    """The last box counts, the program's output is read before it is cut, and what was cut off does not count."""
    trajectory = (await World(script, list(runs)).talk()).trajectory
    assert (trajectory.answer, trajectory.answer_source) == (answer, source)


async def test_answer_beyond_the_truncation_ends_the_trajectory() -> None:
    """Ended and scored look at the same text, the full output, though the model is shown less."""
    world = World(f"{CODE}\nmore", [_out("a" * 600 + "\\boxed{5}" + "b" * 600)])
    conversation = await world.talk()
    assert conversation.trajectory.stop_reason is StopReason.ANSWER
    assert "boxed" not in _decode(conversation.tokens.ids)
    assert conversation.trajectory.turns[0].observation_truncated


async def test_a_box_that_ends_nothing_is_no_answer() -> None:
    """Another spelling of a box does not end its turn, and does not outlive it as the trajectory's answer."""
    world = World(f"\\fbox{{3}}{CODE}\nDone.{EOS}", [_out("5\n")])
    trajectory = (await world.talk()).trajectory
    assert (trajectory.stop_reason, trajectory.answer) == (StopReason.VOID, None)


async def test_fault_is_recorded_and_not_shown() -> None:
    """An outage ends the trajectory as aborted; its text says what failed, and the model is told nothing."""
    conversation = await World(f"{CODE}\n{CODE}\n{CODE}", [_out("5"), FAULT]).talk()
    trajectory = conversation.trajectory
    assert trajectory.aborted
    assert trajectory.fault == "SandboxOverloaded: no room [http://sandbox:1, attempts: 4]"
    assert trajectory.turns[-1].outcome is Outcome.FAULT
    assert trajectory.turns[-1].observation_tokens == 0
    assert _decode(conversation.tokens.ids) == CODE + _shown("5") + CODE


async def test_other_errors_are_not_swallowed() -> None:
    """What is not a fault of the sandbox is a bug and surfaces."""
    with pytest.raises(KeyError):
        await World(CODE, [KeyError("bug")]).talk()


@pytest.mark.parametrize(("max_tool_seconds", "turns"), [(2.9, 1), (3.0, 1), (3.1, 2), (6.1, 3), (None, 5)])
async def test_tool_time_adds_up_over_turns(
    max_tool_seconds: float | None, turns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No turn begins once the programs together took the allowed time; the time of sampling does not count."""
    # Every look at the clock is three seconds after the last: one in each generation, one in each run.
    clock = SimpleNamespace(perf_counter=itertools.count(step=3).__next__)
    monkeypatch.setattr("verl_tir.rollout.loop.time", clock)
    world = World(f"{CODE}\n" * 9, [_out("5")] * 9)
    trajectory = (await world.talk(max_tool_seconds=max_tool_seconds)).trajectory
    assert trajectory.stop_reason is (StopReason.MAX_TURNS if max_tool_seconds is None else StopReason.TOOL_TIME)
    assert len(trajectory.turns) == turns


async def test_conversations_do_not_wait_for_each_other() -> None:
    """While one's program runs, another goes through all its turns."""

    async def both() -> None:
        released = asyncio.Event()
        slow, fast = World(f"{CODE}\n\\boxed{{}}", [_out("5")]), World(f"{CODE}\n" * 4, [_out("5")] * 4)

        async def wait(program: str) -> ProgramRun:
            await released.wait()
            return _out("5")

        slow.run_program = wait
        waiting = asyncio.create_task(slow.talk())
        assert len((await asyncio.wait_for(fast.talk(max_turns=4), 5)).trajectory.turns) == 4
        assert not waiting.done()
        released.set()
        assert len((await asyncio.wait_for(waiting, 5)).trajectory.turns) == 2

    await both()


async def test_log_probs_that_do_not_match_are_refused_before_the_cut() -> None:
    """A lack of log-probabilities is not hidden by tokens that are cut off behind it."""

    async def generate(ids: list[int], max_tokens: int) -> Piece:
        return Piece(ids=[ord(letter) for letter in CODE + " so"], log_probs=[-1.0] * len(CODE), aborted=False)

    with pytest.raises(ValueError, match="14 sampled token ids came with 11 log-probabilities"):
        await generate_turn(generate, max_tokens=99, decode=_decode, end_ids={0}, rule=simpletir.RULE)
