"""Transcripts for the tiny model in the formats of the other turn rules: what `demo.tasks` has for SimpleTIR's."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterator

from verl_tir.demo.tasks import Problem, Span, Transcript, problems, transcripts
from verl_tir.rollout.observation import ObservationRule, ProgramRun, observe
from verl_tir.rollout.turn_rules import torl
from verl_tir.rollout.turn_rules.hermes import CALL_END, CALL_START
from verl_tir.trajectory import Outcome


def model_name(recipe: str, seed: int) -> str:
    """Folder of the model warmed up for a recipe; those in SimpleTIR's format share one."""
    return f"model-{recipe}-seed{seed}" if recipe in _CALLS else f"model-seed{seed}"


def transcripts_for(recipe: str, seed: int) -> Iterator[Transcript]:
    """An endless stream of good and bad transcripts in a recipe's format; SimpleTIR's where there is no other."""
    call = _CALLS.get(recipe)
    return transcripts(seed) if call is None else _stream(call, seed, problems(seed + 1))


def torl_transcripts(seed: int, stream: Iterator[Problem]) -> Iterator[Transcript]:
    """Of these problems."""
    return _stream(_torl_call, seed, stream)


def hermes_transcripts(seed: int, stream: Iterator[Problem]) -> Iterator[Transcript]:
    """Of these problems."""
    return _stream(_hermes_call, seed, stream)


_Call = Callable[[str, str], tuple[Span, Span]]
"""Code and what it prints, as the model's call and the tool's observation."""


def _stream(call: _Call, seed: int, stream: Iterator[Problem]) -> Iterator[Transcript]:
    rng = random.Random(seed)
    for problem in stream:
        value = problem.answer
        calls = rng.choices((0, 1, 2), (1, 2, 1))[0]
        spans = itertools.chain(*(call(f"print({problem.expression})", f"{value}\n") for _ in range(calls)))
        end = f"\\boxed{{{value}}}" if calls and rng.random() < 0.8 else rng.choice(["\\boxed{7}", "It is 7."])
        yield Transcript(problem, (*spans, Span(end, True)), ends=True)


def _torl_call(code: str, stdout: str) -> tuple[Span, Span]:
    run = ProgramRun(Outcome.SUCCESS, stdout, "", 0)
    shown = observe(run, ObservationRule.TORL, 256, torl.FRAME)
    return Span(f"```python\n{code}\n```\n{torl.REQUEST}", True), Span(shown.text, False)


def _hermes_call(code: str, stdout: str) -> tuple[Span, Span]:
    body = json.dumps({"name": "code_interpreter", "arguments": {"code": code}})
    # As the tiny tokenizer's chat template writes a tool's message and the next turn's beginning.
    shown = f"<|im_end|>\n<|im_start|>tool\n{stdout}<|im_end|>\n<|im_start|>assistant\n"
    return Span(f"{CALL_START}\n{body}\n{CALL_END}", True), Span(shown, False)


_CALLS: dict[str, _Call] = {"torl": _torl_call, "hermes": _hermes_call}
