"""How a row that is out of the loss is cut down: which of its fields have its length, and how long they stay.

A masked row still costs a forward pass for its log-probabilities and a forward and a backward pass for each update. Its
tokens are not needed for any of it: its reward stays in its group's baseline, its mask keeps it out of the loss, and
no other row attends to it. So it is cut to the shortest row that verl can train on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

_ENGINES_OF_TWO = frozenset({"fsdp", "fsdp2"})
"""verl's training engines that take a row of one prompt token and one response token."""
_TWO = 2


class Length(StrEnum):
    """Which of a row's lengths an axis of a field has."""

    PROMPT = "prompt"
    RESPONSE = "response"
    SEQUENCE = "sequence"


@dataclass(frozen=True, slots=True)
class RowLengths:
    """A row's tokens."""

    prompt: int
    response: int

    @property
    def sequence(self) -> int:
        return self.prompt + self.response

    def of(self, length: Length) -> int:
        """The length of that name."""
        return {Length.PROMPT: self.prompt, Length.RESPONSE: self.response, Length.SEQUENCE: self.sequence}[length]


@dataclass(frozen=True, slots=True)
class Ragged:
    """Where a field has the row's length."""

    length: Length
    axis: int = 0


RAGGED: Mapping[str, Ragged] = MappingProxyType(
    {
        "prompts": Ragged(Length.PROMPT),
        "responses": Ragged(Length.RESPONSE),
        "response_mask": Ragged(Length.RESPONSE),
        "loss_mask": Ragged(Length.RESPONSE),
        "rm_scores": Ragged(Length.RESPONSE),
        "rollout_log_probs": Ragged(Length.RESPONSE),
        "input_ids": Ragged(Length.SEQUENCE),
        "attention_mask": Ragged(Length.SEQUENCE),
        # (sequence), or (4, sequence) for models with rotary positions in several dimensions.
        "position_ids": Ragged(Length.SEQUENCE, axis=-1),
        # (sequence, layers, experts).
        "routed_experts": Ragged(Length.SEQUENCE),
        # (sequence, top k).
        "teacher_ids": Ragged(Length.SEQUENCE),
        "teacher_logprobs": Ragged(Length.SEQUENCE),
    }
)
"""The tensors of a row in verl 0.9 that have one of its lengths; all others are the same for a row of any length."""


def shortest_row(engine: str | None, padding_tokens: int) -> RowLengths:
    """The shortest row that a training engine takes.

    Megatron's context parallelism gives each rank a slice of every row and fails where a slice is empty; verl's own
    padding rows are long enough for it. So are these, wherever the engine is not one that is known to take less.

    Args:
        engine: verl's `actor_rollout_ref.actor.strategy`; None where it is not known.
        padding_tokens: tokens of verl's own padding rows.
    """
    tokens = _TWO if engine in _ENGINES_OF_TWO else padding_tokens
    return RowLengths(prompt=tokens - 1, response=1)


def misfits(shapes: Mapping[str, tuple[int, ...]], row: RowLengths) -> tuple[str, ...]:
    """Fields of a row that cannot be cut, because nothing is known of them.

    Args:
        shapes: the shape of each tensor of the row.
        row: its lengths.

    Returns:
        Names of unknown fields that have one of the row's lengths somewhere, and of known ones that do not have theirs
        where it belongs.
    """
    return tuple(name for name, shape in shapes.items() if not _fits(RAGGED.get(name), shape, row))


def cut_shape(name: str, shape: tuple[int, ...], to: RowLengths) -> tuple[int, ...]:
    """The shape of the known field `name` in a row of the lengths `to`."""
    ragged = RAGGED[name]
    axes = list(shape)
    axes[ragged.axis] = to.of(ragged.length)
    return tuple(axes)


def _fits(ragged: Ragged | None, shape: tuple[int, ...], row: RowLengths) -> bool:
    if ragged is None:
        return not {row.of(length) for length in Length} & set(shape)
    return bool(shape) and shape[ragged.axis] == row.of(ragged.length)
