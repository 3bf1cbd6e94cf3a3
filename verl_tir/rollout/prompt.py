"""The recipe's prompt: the instructions that `tir.prompt.templates` puts around the user's question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

QUESTION = "{question}"
"""Where the question stands in a template; other braces are text."""


def names_roles(template: str) -> bool:
    """Whether the template is a whole conversation, which ends where the assistant is to speak."""
    return template.rstrip().endswith("Assistant:")


def templated_messages(messages: Sequence[Mapping[str, Any]], template: str) -> list[dict[str, Any]]:
    """Put the template around the first user message; the other messages stay as they are.

    Args:
        messages: of a chat, as the data set has them.
        template: a text with `{question}` in it.

    Raises:
        ValueError: there is no user message, or its content is not text, or another message follows where the template
            has the assistant speak.
    """
    result = [dict(message) for message in messages]
    before, _, after = template.partition(QUESTION)
    for message in result:
        if message.get("role") == "user":
            if not isinstance(message.get("content"), str):
                raise ValueError(
                    f"the prompt's user message has content of type {type(message.get('content')).__name__}; "
                    "tool-integrated reasoning takes text prompts: make it a string"
                )
            if names_roles(template) and message is not result[-1]:
                raise ValueError(
                    f"the template of tir.prompt.template lets the assistant answer the first user message, and the "
                    f"prompt has more after it (roles: {[m.get('role') for m in result]}); use tir.prompt.template=none"
                )
            message["content"] = before + message["content"] + after
            return result
    raise ValueError(f"the prompt has no message with role 'user' (roles: {[m.get('role') for m in result]})")


def plain_text(messages: Sequence[Mapping[str, Any]]) -> str:
    """The prompt of a base model, without a chat template (SimpleTIR, section 4): the contents and one newline each."""
    return "".join(f"{message['content']}\n" for message in messages)
