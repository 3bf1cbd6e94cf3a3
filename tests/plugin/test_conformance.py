"""Our turns beside those of SimpleTIR's and ToRL's own code: every difference is a listed one, and shows."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import reference_simpletir
import reference_torl
from observations import REFERENCE, RESULT, TORL

from sandbox_client import SandboxUnreachable
from verl_tir.config import TirConfig, TirConfigError
from verl_tir.reward import compute_score
from verl_tir.rollout.generation import Piece
from verl_tir.rollout.loop import Conversation, Tools, TrajectoryLimits, converse
from verl_tir.rollout.observation import ObservationSettings, ProgramRun, TokenFrame
from verl_tir.rollout.turn_rule import TurnRule
from verl_tir.rollout.turn_rules import simpletir, torl
from verl_tir.trajectory import Outcome, StopReason

DOCS = Path(__file__).parents[2] / "docs"
END = 0x110000
"""The id that ends a message; every other id is a letter."""
SHOWN = 64
"""Characters of a value in a row; of a longer one the end is shown."""


@dataclass(frozen=True)
class Difference:
    """A field of a case in which the two decide differently."""

    case: str
    field: str
    reference: object
    ours: object

    def row(self) -> str:
        """As it stands in the list."""
        return f"| `{self.case}` | {self.field} | `{_spelled(self.reference)}` | `{_spelled(self.ours)}` |"


def _spelled(value: object) -> str:
    # A backtick would end the row's quotation.
    text = json.dumps(value, ensure_ascii=False).replace("`", "'")
    return text if len(text) <= SHOWN else f"...{text[-SHOWN:]}"


def _listed(file: str) -> list[str]:
    return [line for line in (DOCS / file).read_text().splitlines() if line.startswith("| `")]


def _check_listed(differences: Sequence[Difference], file: str) -> None:
    rows = {difference.row() for difference in differences}
    listed = set(_listed(file))
    assert rows - listed == set(), "differences that are not listed"
    assert listed - rows == set(), "listed differences that are none"


async def _run(
    rule: TurnRule,
    settings: ObservationSettings,
    texts: Sequence[str],
    runs: Sequence[ProgramRun | None],
    limits: TrajectoryLimits,
) -> tuple[Conversation, list[str]]:
    """The conversation of a model that writes `texts` whole, to the end of its message, and the programs that ran."""
    programs: list[str] = []
    left = list(texts)

    async def generate(context: list[int], max_tokens: int) -> Piece:
        ids = [*map(ord, left.pop(0)), END][:max_tokens]
        return Piece(ids, [0.0] * len(ids), aborted=False)

    async def run_program(program: str) -> ProgramRun:
        programs.append(program)
        run = runs[len(programs) - 1]
        if run is None:
            raise SandboxUnreachable("refused", endpoint="http://sandbox:1")
        return run

    tools = Tools(generate, run_program, lambda text: [*map(ord, text)], _decode, frozenset({END}))
    return await converse(tools, limits, settings, rule), programs


def _decode(ids: Sequence[int]) -> str:
    return "".join("" if token == END else chr(token) for token in ids)


def _parts(conversation: Conversation) -> tuple[list[str], list[str]]:
    """The model's texts and the tool's, read off the loss mask."""
    tokens = conversation.tokens
    model, tool, at = [], [], 0
    for turn in conversation.trajectory.turns:
        for texts, size, bit in ((model, turn.model_tokens, 1), (tool, turn.observation_tokens, 0)):
            assert tokens.mask[at : at + size] == [bit] * size
            if size:
                texts.append(_decode(tokens.ids[at : at + size]))
            at += size
    return model, tool


# SimpleTIR.

PROGRAM = "```py\nprint(5)\n```"
TURNS = {
    "tag py": f"{PROGRAM}",
    "tag python": "```python\nprint(5)\n```",
    "no tag": "```\nprint(5)\n```",
    "fence behind prose": "So ```py\nprint(5)\n```",
    "text behind the block": f"{PROGRAM}\nand then \\boxed{{4}}",
    "two blocks": f"{PROGRAM}\n```py\nprint(6)\n```",
    "box before the block": f"\\boxed{{4}} {PROGRAM}",
    "box in the block": "```py\nprint('\\\\boxed{5}')\n```",
    "several lines": "```py\nx = 1\n\nprint(x)\n```",
    "indented code": "```py\nif 1:\n    print(5)\n```",
    "box and no block": "So \\boxed{\\frac{1}{2}}",
    "neither": "I do not know.",
    "nothing": "",
    "open block": "```py\nprint(5)",
    "open block and box": "```py\nprint(5) # \\boxed{5}",
    "box that is not closed": "So \\boxed{5",
    "another command": "So \\fbox{5}",
    "other language": "```json\n{}\n```",
    "other language and prose": "```json\n{}\n```\nThat was it.",
    "prose between other blocks": "```json\n{}\n```\nSo we print.\n```text\nx\n```",
    "block after another language": f"```json\n{{}}\n```\nSo:\n{PROGRAM}",
    "tag in capitals": "```Python\nprint(5)\n```",
    "blank after the tag": "```py \nprint(5)\n```",
    "nothing between the fences": "```py\n```",
    "empty block": "```py\n\n```",
    "block of blank lines": "```py\n  \n\n```",
    "empty block and box": "\\boxed{5}\n```py\n\n```",
    "block in a list": "1. Run:\n   ```py\n   print(5)\n   ```",
    "indented opening fence": "1. Run:\n   ```py\n   print(5)\n```",
    "indented closing fence": "```py\nprint(5)\n  ```",
    "carriage returns": "```py\r\nprint(5)\r\n```\r\n",
    "blank lines before the block": f"So we compute:\n\n{PROGRAM}",
    "number and no box": f"Perhaps 4.\n{PROGRAM}",
}
Run = reference_simpletir.Result
RESULTS = {
    "output": Run("5\n"),
    "no output": Run(),
    "box in the output": Run("\\boxed{5}\n"),
    "late without output": Run(success=False),
    "late with output": Run("5\n", success=False),
    "error": Run("", "Traceback (most recent call last):\nZeroDivisionError: division by zero\n", success=False),
    "error behind output": Run("5\n", "Traceback (most recent call last):\nValueError: x\n", success=False),
    "warning": Run("5\n", "/tmp/x.py:1: DeprecationWarning: old\n"),
    "box on standard error": Run("", "ValueError: \\boxed{5}\n", success=False),
    "512 characters": Run("x" * 512),
    "513 characters": Run("x" * 256 + "y" + "z" * 256),
    "error of 600 characters": Run("", "ValueError: " + "x" * 588, success=False),
    "box in the middle of much output": Run("x" * 300 + "\\boxed{5}" + "x" * 300),
    "number and no box": Run("the number 7\n"),
}
DECIDED = ("code", "observation", "ended", "void", "answer")


async def _simpletir(
    name: str, text: str, result: Run | None, fields: Sequence[str] = DECIDED, room: int | None = None
) -> list[Difference]:
    """Where our decision differs on a turn whose program gives `result`; None for a sandbox that is away."""
    theirs = reference_simpletir.decide(text, result or reference_simpletir.outage(late="late" in name))
    run = None
    if result is not None:
        failed = Outcome.FAILED if result.stderr else Outcome.TIME_LIMIT
        run = ProgramRun(Outcome.SUCCESS if result.success else failed, result.stdout, result.stderr, None)
    budget = 100_000 if room is None else len(text) + room
    conversation, programs = await _run(
        simpletir.RULE,
        ObservationSettings(REFERENCE, 512, 10_000),
        [text, "\\boxed{0}"],
        [run],
        TrajectoryLimits(2, 100_000, budget, None),
    )
    trajectory = conversation.trajectory
    model, tool = _parts(conversation)
    ours = {
        "code": programs[0].removeprefix(simpletir.FINAL_ANSWER_PRELUDE) if programs else None,
        "observation": tool[0] if tool else None,
        "ended": len(trajectory.turns) == 1,
        "void": trajectory.void,
        "context": model[0] if model else "",
        "answer": trajectory.answer if len(trajectory.turns) == 1 else None,
    }
    pairs = [(field, getattr(theirs, field), ours[field]) for field in fields]
    return [Difference(name, field, their, our) for field, their, our in pairs if their != our]


async def _of_tokens() -> list[Difference]:
    """Where what is trained differs from what was sampled; a turn of two tokens that a tokenizer would write as one."""
    sampled = ["```py\npri", "nt(5)\n```"]
    canonical = ["```py\n", "print", "(5)\n```"]
    words = [*sampled, *canonical]

    async def generate(context: list[int], max_tokens: int) -> Piece:
        return Piece([0, 1] if not context else [], [0.0, 0.0] if not context else [], aborted=False)

    async def run_program(program: str) -> ProgramRun:
        return ProgramRun(Outcome.SUCCESS, "", "", 0)

    def decode(ids: Sequence[int]) -> str:
        return "".join(words[token] for token in ids)

    tools = Tools(generate, run_program, lambda text: [], decode, frozenset())
    settings = ObservationSettings(REFERENCE, 512, 256)
    tokens = (await converse(tools, TrajectoryLimits(1, 99, 99, None), settings, simpletir.RULE)).tokens
    ended, _ = await _run(simpletir.RULE, settings, ["So \\boxed{5}"], [], TrajectoryLimits(1, 99, 99, None))
    return [
        Difference("split word", "trained tokens", canonical, [words[token] for token in tokens.ids]),
        # With the end of message as padding, as is common.
        Difference("end of message is padding", "mask of the last token", int(END != END), ended.tokens.mask[-1]),
    ]


async def _simpletir_differences() -> list[Difference]:
    """Every turn with one result, every result behind one turn, and what takes more than a turn."""
    found = [
        difference
        for name, text in TURNS.items()
        for difference in await _simpletir(f"turn: {name}", text, RESULTS["output"])
    ]
    for name, result in RESULTS.items():
        found += await _simpletir(f"result: {name}", f"{PROGRAM}", result)
    found += await _simpletir(
        "turn: blank lines before the block", TURNS["blank lines before the block"], Run(), ["context"]
    )
    both = TURNS["box before the block"], RESULTS["box on standard error"]
    found += await _simpletir("box in the turn, another on standard error", *both)
    found += await _simpletir("outage: refused", PROGRAM, None)
    found += await _simpletir("outage: late", PROGRAM, None)
    found += await _simpletir("overflow", PROGRAM, Run("5\n" * 40), room=50)
    return found + await _of_tokens()


async def test_simpletirs_turns_differ_only_where_listed() -> None:
    """Code run, observation, end, void turn and answer are the reference's, but for its faults; each of those shows."""
    _check_listed(await _simpletir_differences(), "simpletir-differences.md")


async def test_turns_and_results_that_agree_agree_together() -> None:
    """Every turn with every result: where neither differs by itself, the two together do not."""
    differing = {difference.case for difference in await _simpletir_differences()}
    turns = {name: text for name, text in TURNS.items() if f"turn: {name}" not in differing}
    results = {name: result for name, result in RESULTS.items() if f"result: {name}" not in differing}
    assert (len(turns), len(results)) == (19, 13)
    for turn, text in turns.items():
        for result, run in results.items():
            # What is scored with a box on standard error is listed.
            fields = [field for field in DECIDED if field != "answer" or result != "box on standard error"]
            assert await _simpletir(f"{turn}, {result}", text, run, fields) == []


async def test_the_warning_that_hides_the_result_is_a_choice() -> None:
    """Under `result` the model is shown the output; `reference` is there for the published numbers."""
    texts = []
    for rule in RESULT, REFERENCE:
        run = ProgramRun(Outcome.SUCCESS, "5\n", "Warning: old\n", 0)
        settings = ObservationSettings(rule, 512, 256)
        limits = TrajectoryLimits(1, 999, 999, None)
        conversation, _ = await _run(simpletir.RULE, settings, [PROGRAM], [run], limits)
        texts += _parts(conversation)[1]
    assert texts == ["\nCode execution result: 5\n\n", "\nCode execution result: Warning: old\n"]


# ToRL.

ASK = "```python\nprint(5)\n```\n```output"
Output = reference_torl.Result
TRAJECTORIES = {
    "no call": (1, ["So \\boxed{5}."], []),
    "one call": (1, [f"Let me see.\n{ASK}", "So \\boxed{5}."], [Output("5\n")]),
    "text behind the request": (1, [f"{ASK}\n7\n```\nSo 7.", "So \\boxed{5}."], [Output("5\n")]),
    "last block of the segment": (1, [f"```python\nprint(4)\n```\nNo:\n{ASK}", "5"], [Output("5\n")]),
    "box before the call": (1, [f"\\boxed{{4}} {ASK}", "5"], [Output("5\n")]),
    "error": (1, [ASK, "5"], [Output("", "Traceback:\n  line 1\nValueError: x\n", success=False)]),
    "error behind output": (1, [ASK, "5"], [Output("5\n", "Traceback:\nValueError: x\n", success=False)]),
    "warning": (1, [ASK, "5"], [Output("5\n", "Warning: old\n")]),
    "255 characters": (1, [ASK, "5"], [Output("x" * 255)]),
    "256 characters": (1, [ASK, "5"], [Output("x" * 128 + "y" * 128)]),
    "error of 300 characters": (1, [ASK, "5"], [Output("", "a\n" + "x" * 150 + "y" * 150, success=False)]),
    "no calls allowed": (0, ["So \\boxed{5}."], []),
    "output invented at once": (0, [f"{ASK}\n7\n```\nSo \\boxed{{7}}."], []),
    "output invented after the last call": (1, [ASK, f"{ASK}\n7\n```\nSo \\boxed{{7}}."], [Output("5\n")]),
    "two calls": (2, [ASK, f"Again:\n{ASK}", "So \\boxed{5}."], [Output("5\n"), Output("6\n")]),
}


async def _torl_differences() -> list[Difference]:
    found = []
    for name, (calls, segments, results) in TRAJECTORIES.items():
        theirs = reference_torl.decide(segments, results, calls)
        outcomes = [Outcome.SUCCESS if result.success else Outcome.FAILED for result in results]
        runs = [
            ProgramRun(outcome, result.stdout, result.error, None)
            for outcome, result in zip(outcomes, results, strict=True)
        ]
        settings = ObservationSettings(TORL, 256, 10_000, TokenFrame(torl.RULE.frame))
        limits = TrajectoryLimits(None, 100_000, 100_000, None, max_tool_calls=calls)
        conversation, programs = await _run(torl.RULE, settings, segments, runs, limits)
        # Raises where the mask is not that of the model's turns.
        trained, observations = _parts(conversation)
        ours = {"codes": programs, "observations": observations, "trained": trained, "mask": "exact"}
        for field, our in ours.items():
            their = getattr(theirs, field)
            their = list(their) if isinstance(their, tuple) else their
            if their != our:
                found.append(Difference(name, field, their, our))
    return found


async def _scores() -> list[Difference]:
    """Where the execution penalty falls; without an answer, so that nothing has to be compared."""
    found = []
    for name, executed, outcomes in (
        ("code that runs", True, ["success"]),
        ("code that fails", False, ["failed"]),
        ("no code", None, [None]),
    ):
        record = {"answer": None, "answer_source": None, "turns": [{"outcome": outcome} for outcome in outcomes]}
        settings = {"wrong_reward": -1.0, "execution_penalty": 0.5}
        ours = (await compute_score("x", "", "5", {"tir": record}, **settings))["score"]
        theirs = reference_torl.score(correct=False, executed=executed, penalty=0.5)
        if theirs != ours:
            found.append(Difference(f"reward: {name}", "wrong answer", theirs, ours))
    return found


def _placeholder() -> Difference:
    try:
        TirConfig.from_node({"recipe": "torl", "sandbox": {"endpoints": ["http://your-sandbox:8080"]}})
    except TirConfigError:
        return Difference("placeholder endpoint", "launch", "every program fails", "refused")
    raise AssertionError("a placeholder was accepted")


async def test_torls_trajectories_differ_only_where_listed() -> None:
    """Code run, observations, loss mask and score are the reference's, but for its faults; each of those shows."""
    found = [*await _torl_differences(), *await _scores(), _placeholder()]
    _check_listed(found, "torl-differences.md")


async def test_an_invented_output_is_counted() -> None:
    """The trajectory stops where the model asks for more, and says so."""
    settings = ObservationSettings(TORL, 256, 2048, TokenFrame(torl.RULE.frame))
    conversation, _ = await _run(
        torl.RULE, settings, [f"{ASK}\n7"], [], TrajectoryLimits(None, 999, 999, None, max_tool_calls=0)
    )
    assert conversation.trajectory.stop_reason is StopReason.CALL_BUDGET


@pytest.mark.parametrize(("file", "faults"), [("simpletir-differences.md", 13), ("torl-differences.md", 4)])
def test_the_lists_name_every_fault_once(file: str, faults: int) -> None:
    """A section each, numbered, with its reason before its rows; no row stands twice."""
    sections = (DOCS / file).read_text().split("\n## ")[1:]
    assert [section.split(".")[0] for section in sections] == [str(number) for number in range(1, faults + 1)]
    for section in sections:
        title, text, *_ = section.split("\n\n")
        assert text[0].isalpha(), title
    rows = _listed(file)
    assert len(set(rows)) == len(rows)
