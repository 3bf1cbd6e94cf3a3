"""One kind of problem and transcripts of it, good and bad ones: a tiny model knows a few by heart in seconds."""

from __future__ import annotations

import itertools
import math
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from tir_tools.demo.formats import CALLS, MarkedSpan, Transcript
from tir_tools.demo.tasks.data import distinct
from tir_tools.demo.tasks.kinds import DemoProgram
from verl_tir.rollout.observation import SIMPLETIR_FRAME, TIMEOUT_TEXT


@dataclass(frozen=True, slots=True)
class Problem:
    """An arithmetic problem too large to do in one's head, and small for a program."""

    question: str
    expression: str
    answer: str


def problems(seed: int) -> Iterator[Problem]:
    """An endless stream of problems `a*b+c` and `a*b-c`, the same for the same seed."""
    rng = random.Random(seed)
    while True:
        # Two digits each: at a fixed distance, a two-layer model learns to copy an expression in seconds.
        a, b, c = (rng.randint(10, 99) for _ in range(3))
        sign = rng.choice("+-")
        expression = f"{a}*{b}{sign}{c}"
        yield Problem(f"What is {expression}?", expression, str(a * b + c if sign == "+" else a * b - c))


def split(seed: int, train: int, validation: int) -> tuple[list[Problem], list[Problem]]:
    """Two disjoint lists of distinct problems."""
    stream = distinct(problems(seed))
    return list(itertools.islice(stream, train)), list(itertools.islice(stream, validation))


def verl_row(problem: Problem, index: int, part: str) -> dict[str, object]:
    """A problem in the format of verl's data files."""
    return {
        "data_source": "arithmetic",
        "prompt": [{"role": "user", "content": problem.question}],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": problem.answer},
        "extra_info": {"split": part, "index": index},
    }


def transcripts(seed: int, stream: Iterator[Problem] | None = None, late_void: int = 0) -> Iterator[Transcript]:
    """An endless stream of transcripts, mixed so that a model copying them writes working code about half the time.

    `stream` gives the problems; by default the endless stream of another seed. `late_void` is the weight, beside 12 of
    all others, of transcripts whose second turn is void; there are few without.
    """
    rng = random.Random(seed)
    kinds = [_good, _final_answer, _incomplete, _failing, _guess, _void, _late_void]
    weights = [4, 1, 1, 1, 1, 4, late_void]
    for problem in problems(seed + 1) if stream is None else stream:
        yield rng.choices(kinds, weights)[0](problem, rng)


def calling_transcripts(recipe: str, seed: int, stream: Iterator[Problem]) -> Iterator[Transcript]:
    """Transcripts in the format of a recipe's calls, with none, one or two of them."""
    rng = random.Random(seed)
    for problem in stream:
        value = problem.answer
        calls = rng.choices((0, 1, 2), (1, 2, 1))[0]
        program = DemoProgram(f"print({problem.expression})", f"{value}\n")
        spans = itertools.chain(*(CALLS[recipe](program) for _ in range(calls)))
        end = f"\\boxed{{{value}}}" if calls and rng.random() < 0.8 else rng.choice(["\\boxed{7}", "It is 7."])
        yield Transcript(problem.question, (*spans, MarkedSpan(end, True)))


def _transcript(problem: Problem, *parts: str, ends: bool = True) -> Transcript:
    """Parts alternate between the model and the tool, the model first.

    The newline that begins an observation is trained too: the rollout stops generating at the newline behind a fence
    and cuts it off, and the observation brings its own.
    """
    spans: list[MarkedSpan] = []
    for index, text in enumerate(parts):
        spans += (
            [MarkedSpan(text, True)] if index % 2 == 0 else [MarkedSpan(text[:1], True), MarkedSpan(text[1:], False)]
        )
    return Transcript(problem.question, tuple(spans), ends)


def _observation(text: str) -> str:
    return f"{SIMPLETIR_FRAME.before}{text}{SIMPLETIR_FRAME.after}"


def _good(problem: Problem, rng: random.Random) -> Transcript:
    code = f"```py\nprint({problem.expression})\n```"
    return _transcript(problem, code, _observation(problem.answer + "\n"), f"\\boxed{{{problem.answer}}}")


def _final_answer(problem: Problem, rng: random.Random) -> Transcript:
    code = f"```py\nfinal_answer({problem.expression})\n```"
    return _transcript(problem, code, _observation(f"\\boxed{{{problem.answer}}}\n"), ends=False)


def _incomplete(problem: Problem, rng: random.Random) -> Transcript:
    """Code that leaves the last number out: it runs, and its answer is wrong."""
    product = re.split("[+-]", problem.expression)[0]
    value = str(math.prod(map(int, product.split("*"))))
    return _transcript(problem, f"```py\nprint({product})\n```", _observation(value + "\n"), f"\\boxed{{{value}}}")


def _failing(problem: Problem, rng: random.Random) -> Transcript:
    if rng.random() < 0.2:
        return _transcript(problem, "```py\nwhile True: pass\n```", _observation(TIMEOUT_TEXT), "Too slow.")
    error = "NameError: name 'x' is not defined"
    retry = f"```py\nprint({problem.expression})\n```"
    boxed = f"\\boxed{{{problem.answer}}}"
    return _transcript(
        problem, "```py\nprint(x)\n```", _observation(error), retry, _observation(problem.answer + "\n"), boxed
    )


def _late_void(problem: Problem, rng: random.Random) -> Transcript:
    code = f"```py\nprint({problem.expression})\n```"
    return _transcript(problem, code, _observation(problem.answer + "\n"), "Let me think.")


def _guess(problem: Problem, rng: random.Random) -> Transcript:
    return _transcript(problem, f"\\boxed{{{problem.expression[:2]}}}")


def _void(problem: Problem, rng: random.Random) -> Transcript:
    return _transcript(problem, rng.choice(["Let me think.", f"It is {problem.expression}."]))
