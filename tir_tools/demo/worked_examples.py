"""Solved problems before the one that is asked, as earlier turns of a conversation.

Chat models of this size copy rather than follow, and what they copy is what stands last. Before any training,
SmolLM2-135M prints the right number for one word problem in twenty with two fixed examples before it, and for one in
six where the last example is solved by the program that the question needs, with other numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class WorkedExample:
    """A question, a program, and what it prints, which is the answer."""

    question: str
    program: str
    output: str

    @property
    def messages(self) -> tuple[dict[str, Any], ...]:
        """What is asked, and an answer that looks as a rollout of `+tir=simpletir` does."""
        answer = f"```python\n{self.program}\n```\nCode execution result: {self.output}\n\n\\boxed{{{self.output}}}"
        return {"role": "user", "content": self.question}, {"role": "assistant", "content": answer}


PRODUCT = WorkedExample("What is 3847 times 296?", "print(3847 * 296)", "1138712")
SUM = WorkedExample(
    "What is the sum of the integers from 25 to 480?", "print(sum(n for n in range(25, 481)))", "115140"
)


def with_worked_examples(
    prompt: Iterable[Mapping[str, Any]], examples: Iterable[WorkedExample]
) -> list[dict[str, Any]]:
    """A prompt's messages with the examples before the first that is not a system message."""
    messages = [dict(message) for message in prompt]
    first = next((at for at, message in enumerate(messages) if message["role"] != "system"), len(messages))
    return [*messages[:first], *(message for example in examples for message in example.messages), *messages[first:]]
