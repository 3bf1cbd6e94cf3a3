"""Tool calls in the chat format of Hermes and Qwen: `<tool_call>` around JSON, as verl's tool agent loop reads them.

The chat template shows the tool in the prompt and the tool's answer as a message of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from verl_tir.rollout.code_block import CodeBlock
from verl_tir.rollout.turn_rule import ParsedTurn, TurnRule

CALL_START, CALL_END = "<tool_call>", "</tool_call>"

CODE_INTERPRETER: Mapping[str, Any] = {
    "type": "function",
    "function": {
        "name": "code_interpreter",
        "description": "Runs a complete Python program in a fresh process and returns what it prints.",
        "parameters": {
            "type": "object",
            "properties": {"code": {"type": "string", "description": "The program, with its imports and prints."}},
            "required": ["code"],
        },
    },
}


def parse_turn(text: str) -> ParsedTurn:
    """The message up to its first closed call; one that is malformed or names another tool holds no code."""
    before, closing, _ = text.partition(CALL_END)
    if not closing:
        return ParsedTurn(None, text, closed=False)
    message = before + closing
    _, opening, body = before.rpartition(CALL_START)
    code = _code(body) if opening else None
    return ParsedTurn(None if code is None else CodeBlock(code, len(message)), message, closed=True)


def _code(body: str) -> str | None:
    try:
        call = json.loads(body)
    except (ValueError, RecursionError):  # also of numbers too long to convert, and of lists nested too deep
        return None
    arguments = call.get("arguments") if isinstance(call, dict) and call.get("name") == "code_interpreter" else None
    code = arguments.get("code") if isinstance(arguments, dict) else None
    if not isinstance(code, str) or not code.strip():
        return None
    # JSON can spell half a surrogate pair, which no program's file can hold.
    return None if any("\ud800" <= letter <= "\udfff" for letter in code) else code


RULE = TurnRule((CALL_END,), parse_turn, tools=(CODE_INTERPRETER,))
"""A message of the assistant ends at its first call. The answer is the last box that the model itself writes."""
