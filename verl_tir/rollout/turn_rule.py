"""What a method of tool-integrated reasoning says of its turns. The one loop, `rollout.loop`, asks it.

A rule is found by name (`tir.rollout.turn_rule`) or as `package.module:NAME`, so a new method needs one small file
anywhere on the Python path, and a recipe that names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

from verl_tir.rollout.by_path import find_by_path
from verl_tir.rollout.code_block import CodeBlock
from verl_tir.rollout.observation import Frame

BOXED = "\\boxed{"


@dataclass(frozen=True, slots=True)
class ParsedTurn:
    """What a turn's text holds."""

    block: CodeBlock | None
    text: str
    """The turn as it enters the context: up to the end of its call, or whole."""
    closed: bool
    """The text holds a complete call, which ends the turn here, with or without code that can be run."""

    @property
    def boxed(self) -> bool:
        """Whether a box begins in the text; whether it is the answer, the rule says."""
        return BOXED in self.text


class TurnRule(Protocol):
    """The parts in which methods differ; a rule is immutable and shared by all trajectories."""

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """Where the engine may stop generating. A hint only: sampling resumes where `parse` finds no end."""
        ...

    @property
    def answer_ends(self) -> bool:
        """Whether `\\boxed{` ends the trajectory in the turn that shows it. Where it does not, only the end of the
        message or a limit does, and the answer is the last box so far."""
        ...

    @property
    def tool_may_answer(self) -> bool:
        """Whether a box that a program prints, in its full stdout, counts as the model's own."""
        ...

    @property
    def frame(self) -> Frame | None:
        """What stands around an observation's text; None for a tool's message as the chat template writes it."""
        ...

    @property
    def tools(self) -> tuple[Mapping[str, Any], ...]:
        """JSON schemas that the chat template shows in the prompt; empty where the prompt's text explains the tool."""
        ...

    def parse(self, text: str) -> ParsedTurn:
        """What a turn's decoded text holds, special tokens included; linear in its length, never raises."""
        ...

    def program(self, code: str) -> str:
        """The program that is run for a block of code."""
        ...


TURN_RULES: Mapping[str, str] = {
    name: f"verl_tir.rollout.turn_rules.{name}:RULE" for name in ("simpletir", "torl", "hermes")
}
"""Names that stand for a path."""

_MEMBERS = [member for member in vars(TurnRule) if not member.startswith("_")]


def resolve_turn_rule(name: str) -> TurnRule:
    """The rule of that name, or the object at that path.

    Raises:
        ValueError: there is none; the message says what is allowed, or why the import failed.
    """
    found = find_by_path(name, TURN_RULES)
    missing = [member for member in _MEMBERS if not hasattr(found, member)]
    if missing or isinstance(found, type):
        lack = f"it lacks {', '.join(missing)}" if missing else "it is a class: name an instance of it"
        raise ValueError(f"{name} is not a turn rule: {lack}")
    return cast(TurnRule, found)
