"""What a method of tool-integrated reasoning says of its turns. The one loop, `rollout.conversation`, asks it.

A rule is found by name (`tir.rollout.turn_rule`) or as `package.module:NAME`, so a new method needs one small file
anywhere on the Python path, and a recipe that names it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Protocol, get_type_hints

from verl_tir.rollout.frame import Frame
from verl_tir.rollout.turn import ParsedTurn


class TurnRule(Protocol):
    """The parts in which methods differ; a rule is immutable and shared by all trajectories."""

    stop_strings: tuple[str, ...]
    """Where the engine may stop generating. A hint that saves compute: where `parse` finds no end, it goes on."""
    answer_ends: bool
    """Whether `\\boxed{` ends the trajectory in the turn that shows it. Where it does not, only the end of the message
    does, or a limit, and the answer is the last box so far."""
    tool_may_answer: bool
    """Whether a box that a program prints counts as the model's own."""
    frame: Frame | None
    """What stands around an observation's text; None for a tool's message as the chat template writes it."""
    tools: tuple[Mapping[str, Any], ...]
    """JSON schemas that the chat template shows in the prompt; empty where the prompt's text explains the tool."""

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

_MEMBERS = (*get_type_hints(TurnRule), "parse", "program")


def resolve_turn_rule(name: str) -> TurnRule:
    """The rule of that name, or the object at that path.

    Raises:
        ValueError: there is none; the message says what is allowed, or why the import failed.
    """
    module, colon, attribute = TURN_RULES.get(name, name).partition(":")
    if not (module and colon and attribute):
        raise ValueError(f"must be one of {', '.join(TURN_RULES)}, or the path package.module:NAME of a rule of yours")
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except BaseException as error:
        # Whatever a module of the user's raises; what ends the process is no import error.
        if not isinstance(error, Exception):
            raise
        raise ValueError(f"module {module} cannot be imported ({type(error).__name__}: {error})") from error
    if found is None:
        raise ValueError(f"module {module} has no {attribute}")
    missing = [member for member in _MEMBERS if not hasattr(found, member)]
    if missing or isinstance(found, type):
        lack = f"lacks {', '.join(missing)}" if missing else "is a class: name an instance of it"
        raise ValueError(f"{attribute} of module {module} is no turn rule, it {lack}")
    return found
