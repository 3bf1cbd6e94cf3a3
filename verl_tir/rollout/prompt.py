"""The recipe's prompt: the instructions put around the user's question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

_SIMPLETIR = (
    "Solve the following problem step by step. You now have the ability to selectively write executable Python code "
    "to enhance your reasoning process. The Python code will be executed by an external sandbox, and the output "
    '(after "Code execution result: ") is returned to aid your reasoning and help you arrive at the final answer. '
    "The Python code should be complete scripts, including necessary imports.\n"
    "\n"
    "Code Format:\n"
    "Each code snippet is wrapped between ```. You need to use `print()` to output intermediate results.\n"
    "\n"
    "Answer Format:\n"
    "You can use the `final_answer()` function in the code to return your final answer. For example, to answer the "
    "User Question: What is the result of the 5 + 3 + 1294.678?, you can write:\n"
    "```py\n"
    "answer = 5 + 3 + 1294.678\n"
    "final_answer(answer)\n"
    "```\n"
    "\n"
    "You can also use \\boxed to return your answer. The last part of your response should be:\n"
    "\\boxed{'The final answer goes here.'}\n"
    "\n"
    "User Question:\n"
)

_TORL_BEFORE = (
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves it.\n"
    "User: Please integrate natural language reasoning with programs to solve the problem above, and put your final "
    "answer within \\boxed{}.\n"
)
_TORL_BEHIND = "\nAssistant:"


class PromptTemplate(StrEnum):
    """The instructions that a recipe puts around the question."""

    SIMPLETIR = "simpletir"
    """SimpleTIR's, word for word (paper, appendix "prompt template")."""
    TORL = "torl"
    """ToRL's, word for word: a base model's template, which names the roles itself."""
    NONE = "none"
    """Nothing: the data set's prompts carry their own instructions."""


_AROUND = {
    PromptTemplate.SIMPLETIR: (_SIMPLETIR, ""),
    PromptTemplate.TORL: (_TORL_BEFORE, _TORL_BEHIND),
    PromptTemplate.NONE: ("", ""),
}


def templated_messages(messages: Sequence[Mapping[str, Any]], template: PromptTemplate) -> list[dict[str, Any]]:
    """Put the template's instructions around the first user message; the other messages stay as they are.

    Raises:
        ValueError: there is no user message, or its content is not text, or another message follows where the template
            has the assistant speak.
    """
    result = [dict(message) for message in messages]
    before, behind = _AROUND[template]
    for message in result:
        if message.get("role") == "user":
            if not isinstance(message.get("content"), str):
                raise ValueError(
                    f"the prompt's user message has content of type {type(message.get('content')).__name__}; "
                    "tool-integrated reasoning takes text prompts: make it a string"
                )
            if behind and message is not result[-1]:
                raise ValueError(
                    f"tir.prompt.template={template} lets the assistant answer the first user message, and the prompt "
                    f"goes on behind it (roles: {[m.get('role') for m in result]}); use tir.prompt.template=none"
                )
            message["content"] = before + message["content"] + behind
            return result
    raise ValueError(f"the prompt has no message with role 'user' (roles: {[m.get('role') for m in result]})")


def plain_text(messages: Sequence[Mapping[str, Any]]) -> str:
    """The prompt of a base model, without a chat template (SimpleTIR, section 4): the contents and one newline each."""
    return "".join(f"{message['content']}\n" for message in messages)
