"""The sections `tir.prompt`, `tir.rollout` and `tir.observation`; `verl_tir.config` holds the rest."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from verl_tir.rollout.loop import OnVoidTurn
from verl_tir.rollout.observation import resolve_observation_rule
from verl_tir.rollout.prompt import QUESTION, names_roles
from verl_tir.rollout.turn_rule import resolve_turn_rule

STRICT = ConfigDict(extra="forbid", validate_default=True)
"""Of every section: no key is ignored, and defaults are held to the same rules."""

NO_TEMPLATE = "none"
"""As `tir.prompt.template`: nothing around the question."""

PositiveInt = Annotated[int, Field(ge=1)]
PositiveSeconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _turn_rule(name: str) -> str:
    resolve_turn_rule(name)
    return name


def _observation_rule(name: str) -> str:
    resolve_observation_rule(name)
    return name


@dataclass(frozen=True, config=STRICT)
class PromptConfig:
    template: str = NO_TEMPLATE
    """Name of the text put around the question: one of `templates`, or `none` for nothing, where the data set's prompts
    carry their own instructions."""
    templates: dict[str, str] = field(default_factory=dict)
    """Texts by name, with `{question}` where the question goes. A recipe brings its own."""
    chat_template: bool = True
    """Whether the tokenizer's chat template wraps the prompt; base models can do without (SimpleTIR, section 4)."""

    @property
    def text(self) -> str:
        """The chosen template."""
        return ({NO_TEMPLATE: QUESTION} | self.templates)[self.template]

    @model_validator(mode="after")
    def _template_can_be_used(self) -> PromptConfig:
        names = [*self.templates] + [NO_TEMPLATE] * (NO_TEMPLATE not in self.templates)
        if self.template not in names:
            raise ValueError(
                f"template={self.template}: this recipe's templates are {', '.join(names)}; each text stands in the "
                f"recipe that brings it: select that recipe, or give it as tir.prompt.templates.{self.template}"
            )
        for name, text in self.templates.items():
            if text.count(QUESTION) != 1:
                raise ValueError(f"templates.{name}: the question goes where {QUESTION} stands, which has to be once")
        if self.chat_template and names_roles(self.text):
            raise ValueError(
                f"template={self.template} and chat_template=True: the template names user and assistant itself, and a "
                "chat template would do so again; set tir.prompt.chat_template=false, or template to another"
            )
        return self


@dataclass(frozen=True, config=STRICT)
class RolloutConfig:
    turn_rule: Annotated[str, AfterValidator(_turn_rule)] = "simpletir"
    """What is a call, what ends a turn, which box is the answer: `simpletir`, `torl`, `hermes`, or
    `package.module:NAME` of a rule of yours (see docs/recipes.md)."""
    max_turns: PositiveInt | None = 5
    """Generations per trajectory; the code of the last one is still run. null for no limit but the others."""
    max_tool_calls: Annotated[int, Field(ge=0)] | None = None
    """Programs run per trajectory. A call after the last one ends it, not run; null for no limit but the others."""
    on_void_turn: OnVoidTurn = OnVoidTurn.STOP
    """After a turn with neither code nor answer: `stop` ends the trajectory, `continue` samples on from its tokens."""
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
    rule: Annotated[str, AfterValidator(_observation_rule)] = "result"
    """How a program's output becomes text: `result`, `reference` (which SimpleTIR's published numbers used), `torl`, or
    `package.module:NAME` of a function of yours."""
    max_chars: Annotated[int, Field(ge=2)] = 512
    """Characters of each output shown, head and tail."""
    max_tokens: Annotated[int, Field(ge=2)] = 256
    """Tokens of an observation, head and tail; what the turn rule puts around it is counted up to special tokens."""
