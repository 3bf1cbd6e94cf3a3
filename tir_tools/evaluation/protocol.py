"""How the papers evaluate, as presets of verl's own keys; whatever follows on the command line overrides them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

MAX_SAMPLES = 1024
"""Of a problem: with more, the numbers of ways to draw among them leave double precision."""


class Protocol(StrEnum):
    """A paper's way to evaluate."""

    SIMPLETIR = "simpletir"
    """arXiv 2509.02479: temperature 1, the average of 32 samples, 10 turns."""
    TORL = "torl"
    """arXiv 2503.23383: greedy, one sample, one tool call."""


@dataclass(frozen=True, slots=True)
class Preset:
    """What a protocol sets. Lengths are in tokens."""

    recipe: str
    samples: int
    temperature: float
    max_turns: int | None
    max_tool_calls: int | None
    max_prompt_tokens: int
    max_turn_tokens: int
    max_response_tokens: int

    def overrides(self) -> dict[str, object]:
        """As Hydra overrides, by verl's and our keys; without the recipe and the number of samples."""
        return {
            "tir.rollout.max_turns": "null" if self.max_turns is None else self.max_turns,
            "tir.rollout.max_tool_calls": "null" if self.max_tool_calls is None else self.max_tool_calls,
            "tir.rollout.max_turn_tokens": self.max_turn_tokens,
            "data.max_prompt_length": self.max_prompt_tokens,
            "data.max_response_length": self.max_response_tokens,
            "actor_rollout_ref.rollout.val_kwargs.temperature": self.temperature,
            "actor_rollout_ref.rollout.val_kwargs.top_p": 1.0,
            "actor_rollout_ref.rollout.val_kwargs.top_k": -1,
            "actor_rollout_ref.rollout.val_kwargs.do_sample": self.temperature > 0,
        }


PRESETS: Mapping[Protocol, Preset] = {
    Protocol.SIMPLETIR: Preset(
        recipe="simpletir",
        samples=32,
        temperature=1.0,
        max_turns=10,
        max_tool_calls=None,
        max_prompt_tokens=2048,
        max_turn_tokens=12 * 1024,
        max_response_tokens=36 * 1024,
    ),
    Protocol.TORL: Preset(
        recipe="torl",
        samples=1,
        temperature=0.0,
        max_turns=None,
        max_tool_calls=1,
        # ToRL trains with 400, which is too short for some benchmark problems; a short prompt takes no more for it.
        max_prompt_tokens=1024,
        max_turn_tokens=3072,
        max_response_tokens=3072,
    ),
}


def departures(protocol: Protocol, samples: int, launch: Mapping[str, Any]) -> list[str]:
    """Where an evaluation was not done as a protocol has it, each as `key value (protocol: value)`.

    More room for prompts does not depart from it.

    Args:
        protocol: the one that is compared with.
        samples: of each problem.
        launch: the values of the launch, by their keys.
    """
    preset = PRESETS[protocol]
    wanted: dict[str, object] = {"samples": preset.samples, "tir.prompt.template": preset.recipe}
    wanted |= {key: None if value == "null" else value for key, value in preset.overrides().items()}
    found = {**launch, "samples": samples}
    return [
        f"{key.rsplit('.', 1)[-1]} {_shown(found[key])} ({protocol}: {_shown(value)})"
        for key, value in wanted.items()
        if key in found and key != "data.max_prompt_length" and found[key] != value
    ]


def _shown(value: object) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
