"""Walks as transcripts of a recipe's turn rule: the text and who wrote it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from tir_tools.demo.tasks.kinds import DemoProgram
from tir_tools.demo.transcripts import Call, Walk
from verl_tir.rollout.observation import SIMPLETIR_FRAME, ProgramRun, observe, resolve_observation_rule
from verl_tir.rollout.turn_rules import torl
from verl_tir.rollout.turn_rules.hermes import CALL_END, CALL_START
from verl_tir.trajectory import Outcome


@dataclass(frozen=True, slots=True)
class MarkedSpan:
    """A stretch of a transcript."""

    text: str
    trained: bool
    """False for what the tool wrote: as in the rollout, the model does not learn to write it."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """A question and a response as the trainer of the warm start takes them."""

    question: str
    spans: tuple[MarkedSpan, ...]
    """The response without its end-of-message token."""
    ends: bool = True
    """Whether the model ends the message; after an answer in the tool's output the loop does."""


def transcript(walk: Walk, recipe: str) -> Transcript:
    """A walk in the format of a recipe's turn rule; SimpleTIR's where there is no other."""
    call = CALLS.get(recipe, CALLS["simpletir"])
    spans: list[MarkedSpan] = []
    for move in walk.moves:
        spans += call(move.program) if isinstance(move, Call) else [MarkedSpan(move.text, True)]
    return Transcript(walk.problem.question, tuple(spans))


def transcripts(stream: Iterator[Walk], recipe: str) -> Iterator[Transcript]:
    """See `transcript`."""
    return (transcript(walk, recipe) for walk in stream)


def model_name(recipe: str, seed: int) -> str:
    """Folder of the model warmed up for a recipe; those in SimpleTIR's format share one."""
    return f"model-{recipe}-seed{seed}" if recipe in CALLS else f"model-simpletir-seed{seed}"


def _run(program: DemoProgram) -> ProgramRun:
    outcome = Outcome.FAILED if program.error else Outcome.SUCCESS
    return ProgramRun(outcome, program.stdout, program.error, 1 if program.error else 0)


def _simpletir_call(program: DemoProgram) -> list[MarkedSpan]:
    shown = observe(_run(program), resolve_observation_rule("result"), 512, SIMPLETIR_FRAME).text
    # The newline that begins an observation is trained too: the rollout stops generating at the newline after a fence
    # and cuts it off, and the observation brings its own.
    return [MarkedSpan(f"```py\n{program.code}\n```", True), MarkedSpan(shown[:1], True), MarkedSpan(shown[1:], False)]


def _torl_call(program: DemoProgram) -> list[MarkedSpan]:
    shown = observe(_run(program), resolve_observation_rule("torl"), 256, torl.FRAME).text
    return [MarkedSpan(f"```python\n{program.code}\n```\n{torl.REQUEST}", True), MarkedSpan(shown, False)]


def _hermes_call(program: DemoProgram) -> list[MarkedSpan]:
    body = json.dumps({"name": "code_interpreter", "arguments": {"code": program.code}})
    # As the tiny tokenizer's chat template writes a tool's message and the next turn's beginning.
    result = program.stdout or program.error
    shown = f"<|im_end|>\n<|im_start|>tool\n{result}<|im_end|>\n<|im_start|>assistant\n"
    return [MarkedSpan(f"{CALL_START}\n{body}\n{CALL_END}", True), MarkedSpan(shown, False)]


CALLS: Mapping[str, Callable[[DemoProgram], list[MarkedSpan]]] = {
    "simpletir": _simpletir_call,
    "torl": _torl_call,
    "hermes": _hermes_call,
}
"""A call and the tool's answer, by the recipe that has a format of its own."""
