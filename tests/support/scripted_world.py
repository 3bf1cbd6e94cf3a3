"""An engine that recites a script and a sandbox that hands out results, for conversations example by example.

A letter is a token.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from observations import RESULT

from verl_tir.rollout.generation import Piece
from verl_tir.rollout.loop import Conversation, Tools, TrajectoryLimits, converse
from verl_tir.rollout.observation import ObservationSettings, ProgramRun, TokenFrame
from verl_tir.rollout.turn_rule import TurnRule
from verl_tir.rollout.turn_rules import simpletir
from verl_tir.rollout.turn_rules.simpletir import FINAL_ANSWER_PRELUDE

EOS, ABORT = "\0", "\x01"
LIMITS = {"max_turns": 5, "max_turn_tokens": 1000, "max_response_tokens": 10_000, "max_tool_seconds": None}
SHOWN = {"rule": RESULT, "max_chars": 512, "max_tokens": 10_000}


def texts_of(conversation: Conversation) -> list[str]:
    """What the model wrote and what it was shown, one after the other."""
    found: list[str] = []
    for said in conversation.texts(decode):
        found += [said.text, said.observation] if said.observation else [said.text]
    return found


def decode(ids: Iterable[int]) -> str:
    """The letters of tokens."""
    return "".join(map(chr, ids))


@dataclass
class World:
    """An engine that recites a script, stopping as vLLM does, and a sandbox that hands out results in turn."""

    script: str
    runs: list[ProgramRun | Exception] = field(default_factory=list)
    run_seconds: float = 0.0
    contexts: list[str] = field(default_factory=list)
    """What each call of the engine was given."""
    budgets: list[int] = field(default_factory=list)
    programs: list[str] = field(default_factory=list)
    rule: TurnRule = simpletir.RULE

    async def generate(self, ids: list[int], max_tokens: int) -> Piece:
        self.contexts.append(decode(ids))
        self.budgets.append(max_tokens)
        piece = ""
        while self.script and len(piece) < max_tokens and not piece.endswith((EOS, *self.rule.stop_strings)):
            letter, self.script = self.script[0], self.script[1:]
            if letter == ABORT:
                return self._piece(piece, aborted=True)
            piece += letter
        return self._piece(piece, aborted=False)

    def _piece(self, text: str, aborted: bool) -> Piece:
        return Piece([ord(letter) for letter in text], [-ord(letter) / 1000 for letter in text], aborted)

    async def run_program(self, program: str) -> ProgramRun:
        self.programs.append(program.removeprefix(FINAL_ANSWER_PRELUDE))
        await asyncio.sleep(self.run_seconds)
        run = self.runs.pop(0)
        if isinstance(run, Exception):
            raise run
        return run

    async def talk(self, **settings: object) -> Conversation:
        limits = {key: value for key, value in settings.items() if key in TrajectoryLimits.__dataclass_fields__}
        shown = {key: value for key, value in settings.items() if key not in limits}
        if self.rule.frame is not None:
            shown = {"frame": TokenFrame(self.rule.frame)} | shown
        return await converse(
            Tools(self.generate, self.run_program, lambda text: list(map(ord, text)), decode, {ord(EOS)}),
            TrajectoryLimits(**LIMITS | limits),
            ObservationSettings(**SHOWN | shown),
            self.rule,
        )
