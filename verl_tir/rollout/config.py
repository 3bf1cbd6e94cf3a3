"""The sections `tir.prompt`, `tir.rollout` and `tir.observation`; `verl_tir.config` holds the rest."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from verl_tir.rollout.observation import ObservationRule
from verl_tir.rollout.prompt import PromptTemplate
from verl_tir.rollout.turn import OnVoidTurn
from verl_tir.rollout.turn_rule import resolve_turn_rule

STRICT = ConfigDict(extra="forbid", validate_default=True)
"""Of every section: no key is ignored, and defaults are held to the same rules."""

PositiveInt = Annotated[int, Field(ge=1)]
PositiveSeconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _turn_rule(name: str) -> str:
    resolve_turn_rule(name)
    return name


TurnRuleName = Annotated[str, AfterValidator(_turn_rule)]


@dataclass(frozen=True, config=STRICT)
class PromptConfig:
    template: PromptTemplate = PromptTemplate.SIMPLETIR
    """Instructions put around the question."""
    chat_template: bool = True
    """Whether the tokenizer's chat template wraps the prompt; base models can do without (SimpleTIR, section 4)."""

    @model_validator(mode="after")
    def _roles_are_named_once(self) -> PromptConfig:
        if self.template is PromptTemplate.TORL and self.chat_template:
            raise ValueError(
                "template=torl and chat_template=True: the template names user and assistant itself, and a chat "
                "template would do so again; set tir.prompt.chat_template=false, or template to another"
            )
        return self


@dataclass(frozen=True, config=STRICT)
class RolloutConfig:
    turn_rule: TurnRuleName = "simpletir"
    """What is a call, what ends a turn, which box is the answer: `simpletir`, `torl`, `hermes`, or
    `package.module:NAME` of a rule of yours (see docs/recipes.md)."""
    max_turns: PositiveInt | None = 5
    """Generations per trajectory; the code of the last one is still run. null for no limit but the others."""
    max_tool_calls: Annotated[int, Field(ge=0)] | None = None
    """Programs run per trajectory. A call after the last one ends it, not run; null for no limit but the others."""
    on_void_turn: OnVoidTurn = OnVoidTurn.STOP
    """Behind a turn with neither code nor answer: `stop` ends the trajectory, `continue` samples on from its tokens."""
    max_turn_tokens: PositiveInt = 8192
    """Sampled tokens per turn. The whole response is bounded by verl's `data.max_response_length`."""
    max_tool_seconds: PositiveSeconds | None = None
    """Wall time of a trajectory's programs, in seconds, after which no further turn begins; null for no limit."""

    @model_validator(mode="after")
    def _void_turns_end(self) -> RolloutConfig:
        if self.max_turns is None and self.on_void_turn is OnVoidTurn.CONTINUE:
            raise ValueError(
                "max_turns=None and on_void_turn=continue: a model that ends its message at once would be asked again "
                "for every token of the response; set tir.rollout.max_turns to a number"
            )
        return self


@dataclass(frozen=True, config=STRICT)
class ObservationConfig:
    rule: ObservationRule = ObservationRule.RESULT
    """How a program's output becomes text; `reference` is the rule that SimpleTIR's published numbers used, `torl`
    that of ToRL."""
    max_chars: Annotated[int, Field(ge=2)] = 512
    """Characters of each output shown, head and tail."""
    max_tokens: Annotated[int, Field(ge=2)] = 256
    """Tokens of an observation, head and tail; what the turn rule puts around it is counted up to special tokens."""
