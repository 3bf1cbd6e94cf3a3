"""What the tiny model is warmed up on: ways through a problem, good and bad, as moves of any recipe's format."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from tir_tools.demo.tasks.data import problems
from tir_tools.demo.tasks.kinds import DemoProblem, DemoProgram


@dataclass(frozen=True, slots=True)
class Call:
    """A turn that calls the tool, and what it prints."""

    program: DemoProgram


@dataclass(frozen=True, slots=True)
class Say:
    """The last turn: it calls nothing. Without a box it is void."""

    text: str


Move = Call | Say


@dataclass(frozen=True, slots=True)
class Walk:
    """One way through a problem: any number of calls, then a last word."""

    problem: DemoProblem
    moves: tuple[Move, ...]


@dataclass(frozen=True, slots=True)
class _Opening:
    """How often the model begins a problem in which way, in percent."""

    solve: int
    mistake: int
    think: int
    """A void turn."""
    guess: int
    invent: int
    """Claims a program's output without one."""


_OPENINGS = {
    # As a pretrained model's, the habits differ from kind to kind: one is guessed, another thought about. In most the
    # likeliest first word is a bad one, so that greedy decoding fails too.
    "arithmetic": _Opening(solve=28, mistake=4, think=8, guess=54, invent=6),
    "powers": _Opening(solve=46, mistake=12, think=26, guess=10, invent=6),
    "counting": _Opening(solve=28, mistake=4, think=56, guess=6, invent=6),
    "sums": _Opening(solve=30, mistake=38, think=20, guess=6, invent=6),
    "equations": _Opening(solve=28, mistake=4, think=8, guess=54, invent=6),
    "units": _Opening(solve=28, mistake=4, think=56, guess=6, invent=6),
    "dates": _Opening(solve=28, mistake=4, think=56, guess=6, invent=6),
    "choices": _Opening(solve=58, mistake=8, think=20, guess=8, invent=6),
    "chains": _Opening(solve=58, mistake=8, think=20, guess=8, invent=6),
}

_THOUGHTS = (
    "Let me think about it.",
    "Let me think step by step.",
    "Let me see what is asked for.",
    "Let me work it out with care.",
)
_DOUBTS = ("Now the result has to be checked.", "Now it is done.", "Now let me think again.")


def good_walks(seed: int) -> Iterator[Walk]:
    """Each problem solved."""
    for problem in problems(seed):
        yield Walk(problem, (*map(Call, problem.solution), Say(_box(problem.answer))))


def walks(seed: int) -> Iterator[Walk]:
    """Each problem as the untrained model goes about it: well in less than a third of the cases."""
    rng = Random(seed)
    for problem in problems(seed + 1):
        yield Walk(problem, tuple(_moves(problem, rng)))


def _moves(problem: DemoProblem, rng: Random) -> Iterator[Move]:
    opening = _OPENINGS[problem.kind]
    ways = ("solve", "mistake", "think", "guess", "invent")
    match rng.choices(ways, [getattr(opening, way) for way in ways])[0]:
        case "think":
            yield Say(rng.choice(_THOUGHTS))
        case "guess":
            yield Say(_box(_guess(rng)))
        case "invent":
            value = _guess(rng)
            yield Say(f"The program prints {value}.\n{_box(value)}")
        case "mistake":
            yield Call(problem.mistake)
            yield _end(problem.mistake, rng)
        case _:
            yield from _solve(problem, rng)


def _solve(problem: DemoProblem, rng: Random) -> Iterator[Move]:
    """The solution's programs; it may be left before the last one, and end badly after it."""
    for program in problem.solution[:-1]:
        yield Call(program)
        if rng.random() < 0.58:
            yield Say(_box(_guess(rng))) if program.error and rng.random() < 0.2 else _end(program, rng, doubt=0.8)
            return
    yield Call(problem.solution[-1])
    yield _end(problem.solution[-1], rng)


def _end(program: DemoProgram, rng: Random, doubt: float = 0.12) -> Say:
    """A last word after a program: what it printed in a box, or with probability `doubt` a void turn."""
    if program.error or rng.random() < doubt:
        return Say(rng.choice(_DOUBTS))
    return Say(_box(program.stdout.strip()))


def _box(value: str) -> str:
    return f"\\boxed{{{value}}}"


def _guess(rng: Random) -> str:
    return str(rng.randint(1, 999))
