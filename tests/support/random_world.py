"""An engine and a sandbox that do anything they may, for conversations by the thousand; both remember."""

from __future__ import annotations

import copy
import functools
import random
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sandbox_client import SandboxUnreachable
from tir_tools.demo.tokenizer import MESSAGE_END, train_tokenizer
from verl_tir.rollout.generation import Piece
from verl_tir.rollout.loop import Conversation, Tools, TrajectoryLimits, converse
from verl_tir.rollout.observation import ObservationSettings, ProgramRun
from verl_tir.rollout.turn_rule import TurnRule
from verl_tir.trajectory import Outcome


@dataclass(frozen=True)
class Coding:
    """A tokenizer."""

    encode: Callable[[str], list[int]]
    decode: Callable[[Sequence[int]], str]
    end: int
    """The id that ends a message."""


@functools.cache
def demo_tokenizer() -> Any:
    """The demo's, in which characters span tokens; its template writes a tool's message as it does any other."""
    return train_tokenizer(seed=0)


@functools.cache
def demo_coding(*, special_as_text: bool = False) -> Coding:
    """The demo tokenizer's backend: the same ids, several times faster.

    With `special_as_text` the name of a special token in a text becomes letters.
    """
    # Of its own, for a switch of it is set.
    backend = copy.deepcopy(demo_tokenizer().backend_tokenizer)
    backend.encode_special_tokens = special_as_text

    def encode(text: str) -> list[int]:
        return backend.encode(text, add_special_tokens=False).ids

    def decode(ids: Sequence[int]) -> str:
        return backend.decode(list(ids), skip_special_tokens=False)

    return Coding(encode, decode, demo_tokenizer().convert_tokens_to_ids(MESSAGE_END))


@dataclass(frozen=True)
class Call:
    """One call of the engine."""

    context: list[int]
    max_tokens: int
    piece: Piece


@dataclass
class RandomWorld:
    """Says messages one after the other and stops as vLLM does; its sandbox hands out anything."""

    chance: random.Random
    rule: TurnRule
    coding: Coding
    messages: Iterator[list[int]]
    """What the model says, turn by turn; a turn that is longer goes on with the next one."""
    stdouts: Sequence[str]
    stderrs: Sequence[str] = ("", "", "Warning: old\n", "Traceback\nValueError: 🙂\n")
    stops: bool = True
    """Whether the engine ends at stop strings; one that does not goes on after the call."""
    abort_share: float = 0.02
    fault_share: float = 0.03
    calls: list[Call] = field(default_factory=list)
    runs: list[tuple[str, ProgramRun | None]] = field(default_factory=list)
    """Programs and what became of them; None for a fault."""
    _rest: list[int] = field(default_factory=list)
    _drawn: int = 0

    async def generate(self, context: list[int], max_tokens: int) -> Piece:
        assert max_tokens >= 1
        same_turn = bool(self.calls) and context == self.calls[-1].context + self.calls[-1].piece.ids
        if not same_turn:
            self._rest = next(self.messages)
        # An empty piece in the middle of a turn would belong to two turns alike.
        while same_turn and not self._rest:
            self._rest = next(self.messages)
        size = min(len(self._rest), max_tokens, self._stop(self._rest) if self.stops else max_tokens)
        aborted = self.chance.random() < self.abort_share
        if aborted:
            size = self.chance.randint(0, size)
        ids, self._rest = self._rest[:size], self._rest[size:]
        # No two are alike, so that one that is moved is found out.
        log_probs = [-1.0 - number for number in range(self._drawn, self._drawn + size)]
        self._drawn += size
        # The loop's copies are its own to change.
        self.calls.append(Call(list(context), max_tokens, Piece(list(ids), list(log_probs), aborted)))
        return Piece(ids, log_probs, aborted)

    def _stop(self, ids: list[int]) -> int:
        """How many tokens there are up to the first stop string, its last token included."""
        if not self._stopped(ids):
            return len(ids)
        low, high = 1, len(ids)
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self._stopped(ids[:middle]) else (middle + 1, high)
        return low

    def _stopped(self, ids: list[int]) -> bool:
        text = self.coding.decode(ids)
        return any(stop in text for stop in self.rule.stop_strings)

    async def run_program(self, program: str) -> ProgramRun:
        if self.chance.random() < self.fault_share:
            self.runs.append((program, None))
            raise SandboxUnreachable("refused", endpoint="http://sandbox:1")
        run = ProgramRun(
            outcome=self.chance.choice([Outcome.SUCCESS, Outcome.SUCCESS, Outcome.FAILED, Outcome.TIME_LIMIT]),
            stdout=self.chance.choice(self.stdouts),
            stderr=self.chance.choice(self.stderrs),
            return_code=self.chance.choice([0, 1, None]),
        )
        self.runs.append((program, run))
        return run

    def converse(
        self, limits: TrajectoryLimits, settings: ObservationSettings, ends: frozenset[int] = frozenset()
    ) -> Conversation:
        """A conversation with this world; `ends` are further ids that end a message."""
        ends |= {self.coding.end}
        tools = Tools(self.generate, self.run_program, self.coding.encode, self.coding.decode, ends)
        return without_waiting(converse(tools, limits, settings, self.rule))


def without_waiting(coroutine: Coroutine[Any, Any, Conversation]) -> Conversation:
    """The result of a coroutine that waits for nothing: ten times as fast as with an event loop."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")
