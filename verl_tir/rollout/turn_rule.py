"""What a method of tool-integrated reasoning says of its turns. The one loop, `rollout.loop`, asks it.

A rule is found by name (`tir.rollout.turn_rule`) or as `package.module:NAME`, so a new method needs one small file
anywhere on the Python path, and a recipe that names it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, cast

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


def as_written(code: str) -> str:
    """The program to run is the code itself."""
    return code


@dataclass(frozen=True, slots=True)
class TurnRule:
    """The parts in which methods differ. A rule of one's own may be any object that has them; all trajectories share
    it."""

    stop_strings: tuple[str, ...]
    """Where the engine may stop generating. A hint only: sampling resumes where `parse` finds no end."""
    parse: Callable[[str], ParsedTurn]
    """What a turn's decoded text holds, special tokens included; linear in its length, never raises."""
    answer_ends: bool = False
    """Whether `\\boxed{` ends the trajectory in the turn that shows it. Where it does not, only the end of the message
    or a limit does, and the answer is the last box so far."""
    tool_may_answer: bool = False
    """Whether a box that a program prints, in its full stdout, counts as the model's own."""
    frame: Frame | None = None
    """What stands around an observation's text; None for a tool's message as the chat template writes it."""
    tools: tuple[Mapping[str, Any], ...] = ()
    """JSON schemas that the chat template shows in the prompt; empty where the prompt's text explains the tool."""
    program: Callable[[str], str] = as_written
    """The program that is run for a block of code."""


TURN_RULES: Mapping[str, str] = {
    name: f"verl_tir.rollout.turn_rules.{name}:RULE" for name in ("simpletir", "torl", "hermes")
}
"""Names that stand for a path."""


def resolve_turn_rule(name: str) -> TurnRule:
    """The rule of that name, or the object at that path.

    Raises:
        ValueError: there is none; the message says what is allowed, or why the import failed.
    """
    found = find_by_path(name, TURN_RULES)
    missing = [member.name for member in fields(TurnRule) if not hasattr(found, member.name)]
    if missing or isinstance(found, type):
        lack = f"it lacks {', '.join(missing)}" if missing else "it is a class: name an instance of it"
        raise ValueError(f"{name} is not a turn rule: {lack}")
    return cast(TurnRule, found)
