"""Solved problems before the one that is asked, as earlier turns of a conversation.

Chat models of this size copy rather than follow. Before any training, SmolLM2-135M writes programs for most word
problems with these two before them, and for fewer with the same two, and instructions, in the question's own message.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_EXAMPLES = (
    (
        "What is 3847 times 296?",
        "```python\nprint(3847 * 296)\n```\nCode execution result: 1138712\n\n\\boxed{1138712}",
    ),
    (
        "What is the sum of the integers from 25 to 480?",
        "```python\nprint(sum(n for n in range(25, 481)))\n```\nCode execution result: 115140\n\n\\boxed{115140}",
    ),
)
"""Questions and answers; each answer is what a rollout of `+tir=simpletir` looks like."""


def with_worked_examples(prompt: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A prompt's messages with the examples before the first that is not a system message."""
    messages = [dict(message) for message in prompt]
    first = next((at for at, message in enumerate(messages) if message["role"] != "system"), len(messages))
    examples = [
        {"role": role, "content": content}
        for pair in _EXAMPLES
        for role, content in zip(("user", "assistant"), pair, strict=True)
    ]
    return [*messages[:first], *examples, *messages[first:]]
