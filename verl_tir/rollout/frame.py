"""What stands around an observation's text in the context.

A frame is written by us, so its special tokens are real ones. What it frames was written by a model's program, so there
special tokens stay spelled out. The text next to the observation is tokenised together with it, as a chat template's
rendering would be; from the outermost special tokens outwards a frame is ids, which no limit cuts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_USER, _CALL, _OBSERVATION = "tiruser", "tircall", "tirobservation"
"""Contents of the conversation from which a chat template's frame is read; words that no template writes itself."""


class FrameError(ValueError):
    """A chat template does not show a tool message; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The text before and behind an observation's text."""

    before: str
    after: str


@dataclass(frozen=True, slots=True)
class TokenFrame:
    """A frame as a tokenizer needs it."""

    text: Frame
    """The innermost part, free of special tokens: it is tokenised, and cut, together with the observation."""
    head_ids: tuple[int, ...] = ()
    tail_ids: tuple[int, ...] = ()


def chat_frame(
    tokenizer: Any, tools: Sequence[Mapping[str, Any]], chat_template_kwargs: Mapping[str, Any] | None = None
) -> Frame:
    """How the tokenizer's own chat template goes on from a tool call, through the tool's message, to the next turn.

    Read from the rendering of a conversation, whatever the template: from the end of the assistant's text, whose
    message is not closed yet, to the generation prompt.

    Args:
        tokenizer: of transformers, with a chat template.
        tools: the tools' JSON schemas, which the template shows in the prompt.
        chat_template_kwargs: verl's `data.apply_chat_template_kwargs`.

    Raises:
        FrameError: the template refuses a tool message, or does not show its content as it is.
    """
    import jinja2  # transformers renders templates with it, and needs it for nothing else

    fix = "take a model whose chat template knows tools, or a tir.rollout.turn_rule that continues the message"
    messages = [
        {"role": "user", "content": _USER},
        {"role": "assistant", "content": _CALL},
        {"role": "tool", "content": _OBSERVATION},
    ]
    try:
        text = tokenizer.apply_chat_template(
            messages, tools=list(tools), tokenize=False, add_generation_prompt=True, **(chat_template_kwargs or {})
        )
    except jinja2.TemplateError as error:
        raise FrameError(f"the tokenizer's chat template refuses a tool's message ({error}): {fix}") from error
    pieces = re.split(f"{_CALL}|{_OBSERVATION}", text)
    if len(pieces) != 3 or text.find(_CALL) > text.find(_OBSERVATION):
        raise FrameError(f"the tokenizer's chat template does not show a tool's message as it is: {fix}")
    return Frame(before=pieces[1], after=pieces[2])


def tokenize_frame(frame: Frame, tokenizer: Any) -> TokenFrame:
    """Split `frame` at the tokenizer's added tokens, which separate what is tokenised on either side of them."""
    added = "|".join(re.escape(token) for token in sorted(tokenizer.get_added_vocab(), key=len, reverse=True))
    spans = [
        [match.span() for match in re.finditer(added, text)] if added else [] for text in (frame.before, frame.after)
    ]
    inner_start = spans[0][-1][1] if spans[0] else 0
    inner_end = spans[1][0][0] if spans[1] else len(frame.after)
    return TokenFrame(
        text=Frame(frame.before[inner_start:], frame.after[:inner_end]),
        head_ids=_encode(tokenizer, frame.before[:inner_start]),
        tail_ids=_encode(tokenizer, frame.after[inner_end:]),
    )


def _encode(tokenizer: Any, text: str) -> tuple[int, ...]:
    return tuple(tokenizer.encode(text, add_special_tokens=False)) if text else ()
