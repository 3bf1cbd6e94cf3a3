r"""What a trajectory did with its programs, by rules that look at programs, outputs and the answer alone.

SimpleTIR (arXiv 2509.02479, section 4) names self-correction, cross-validation and progressive reasoning among the
patterns that its training brings out; ToRL (arXiv 2503.23383, section 4) programs repaired after an error, and
calculation checked against reasoning. Both papers had people or a model judge them. These rules are countable instead:
they miss what is said in prose, and see a pattern where two programs agree by chance. Use them to compare steps and
runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from verl_tir.trajectory import FAILED_OUTCOMES, Outcome, Trajectory, TurnText


class Behaviour(StrEnum):
    """A pattern that a trajectory shows or not."""

    SELF_CORRECTION = "self-correction"
    """A program failed (error, time or memory), and a later one passed."""
    CROSS_CHECK = "cross-check"
    """A later, different program ended its output with the value with which an earlier one ended its own, without
    having it in its source."""
    PROGRESSIVE = "progressive"
    """A later program uses a value that an earlier one printed, and that stands neither in the prompt nor in a program
    before."""
    CALCULATED = "answer calculated"
    """The answer is a value that a program printed."""
    REASONED = "answer reasoned"
    """Programs ran, and none of them printed the answer."""


@dataclass(frozen=True, slots=True)
class RanProgram:
    """One that a trajectory ran."""

    code: str
    outcome: Outcome
    output: str
    """What the model was shown of it; empty where no room was left for that."""


_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.]*\w)")
_TELLING = 10
"""Numbers with a smaller absolute value, and whole ones among them, stand in so many programs that they tell "
"nothing."""


def programs(trajectory: Trajectory, texts: Sequence[TurnText]) -> list[RanProgram]:
    """Those that ran, in their order.

    Args:
        trajectory: what the agent loop recorded.
        texts: what its turns say.
    """
    return [
        RanProgram(said.program, turn.outcome, said.observation)
        for turn, said in zip(trajectory.turns, texts, strict=True)
        if turn.outcome not in (None, Outcome.FAULT) and said.program is not None
    ]


def behaviours(trajectory: Trajectory, prompt: str, texts: Sequence[TurnText]) -> frozenset[Behaviour]:
    """The patterns that a trajectory shows, by the prompt's text and what its turns say."""
    ran = programs(trajectory, texts)
    if not ran:
        return frozenset()
    shown = {
        Behaviour.SELF_CORRECTION: _corrects_itself(ran),
        Behaviour.CROSS_CHECK: _cross_checks(ran),
        Behaviour.PROGRESSIVE: _builds_on_results(ran, prompt),
    }
    if trajectory.answer is not None:
        calculated = any(_holds(program.output, trajectory.answer) for program in ran)
        shown[Behaviour.CALCULATED if calculated else Behaviour.REASONED] = True
    return frozenset(behaviour for behaviour, yes in shown.items() if yes)


def _corrects_itself(ran: Sequence[RanProgram]) -> bool:
    failed = False
    for program in ran:
        if failed and program.outcome is Outcome.SUCCESS:
            return True
        failed = failed or program.outcome in FAILED_OUTCOMES
    return False


def _cross_checks(ran: Sequence[RanProgram]) -> bool:
    seen: dict[str, set[str]] = {}
    for program in _passed(ran):
        values = numbers(program.output)
        if not values:
            continue
        last, source = values[-1], "".join(program.code.split())
        if any(earlier != source for earlier in seen.get(last, ())) and last not in numbers(program.code):
            return True
        seen.setdefault(last, set()).add(source)
    return False


def _builds_on_results(ran: Sequence[RanProgram], prompt: str) -> bool:
    known, printed = set(numbers(prompt)), set()
    for program in ran:
        used = set(numbers(program.code))
        if (used & printed) - known:
            return True
        known |= used
        if program.outcome is Outcome.SUCCESS:
            printed |= {number for number in numbers(program.output) if _tells(number)}
    return False


def _passed(ran: Sequence[RanProgram]) -> Iterator[RanProgram]:
    return (program for program in ran if program.outcome is Outcome.SUCCESS)


def numbers(text: str) -> list[str]:
    """The numbers in a text, in one spelling each."""
    return [_spelling(match[0]) for match in _NUMBER.finditer(text)]


def _holds(output: str, answer: str) -> bool:
    """Whether an output holds the answer: the number that it is, or else its text."""
    spelled = answer.strip().strip("$").replace(",", "")
    if _NUMBER.fullmatch(spelled):
        return _spelling(spelled) in numbers(output)
    return bool(spelled) and "".join(answer.split()) in "".join(output.split())


def _spelling(number: str) -> str:
    if "." in number and "e" not in number.lower():
        number = number.rstrip("0").rstrip(".")
    return number


def _tells(number: str) -> bool:
    return "." in number or "e" in number.lower() or abs(int(number)) >= _TELLING
