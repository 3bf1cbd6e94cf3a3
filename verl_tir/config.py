"""The `tir:` node of the launch configuration as one validated, frozen dataclass.

`TirConfig.from_node` is the only way in: it is called in the driver before Ray starts, and again by every process that
acts on the settings, so that a wrong value stops the launch with its key, its value and what is allowed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, PlainValidator, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from sandbox_client import Timeouts, TlsSettings, validate_endpoints
from sandbox_client.credentials import Headers
from verl_tir.filters.void import LossRule, OverlongPolicy, VoidPolicy
from verl_tir.rollout.observation import ObservationRule
from verl_tir.rollout.prompt import PromptTemplate
from verl_tir.rollout.turn import Limits
from verl_tir.sandbox_server.config import MAX_WORKERS
from verl_tir.sandbox_server.isolation import IsolationPolicy

_STRICT = ConfigDict(extra="forbid", validate_default=True)

PositiveInt = Annotated[int, Field(ge=1)]
PositiveSeconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
RAY = "ray"
"""As `tir.sandbox.endpoints`: servers on the nodes of the Ray cluster."""


def _endpoints(value: object) -> tuple[str, ...] | str:
    if value == RAY:
        return RAY
    if isinstance(value, Iterable) and not isinstance(value, str | Mapping):
        urls = tuple(value)
        return validate_endpoints(urls) if urls else urls
    raise ValueError(f"must be a list of base URLs, such as [http://sandbox-0:8080], or the word {RAY}")


# One function and not a union of types, whose errors would name parts that nobody wrote.
Endpoints = Annotated[tuple[str, ...] | Literal["ray"], PlainValidator(_endpoints)]
# An unquoted `off` in a YAML file is the boolean false.
Void = Annotated[VoidPolicy, BeforeValidator(lambda value: VoidPolicy.OFF if value is False else value)]


class TirConfigError(ValueError):
    """The `tir:` node is wrong; the message names each key, its value and what is allowed."""


@dataclass(frozen=True, config=_STRICT)
class PromptConfig:
    template: PromptTemplate = PromptTemplate.SIMPLETIR
    """Instructions put before the question."""
    chat_template: bool = True
    """Whether the tokenizer's chat template wraps the prompt; base models can do without (SimpleTIR, section 4)."""


@dataclass(frozen=True, config=_STRICT)
class RolloutConfig:
    max_turns: PositiveInt = 5
    """Generations per trajectory; the code of the last one is still run."""
    max_turn_tokens: PositiveInt = 8192
    """Sampled tokens per turn. The whole response is bounded by verl's `data.max_response_length`."""
    max_tool_seconds: PositiveSeconds | None = None
    """Wall time of a trajectory's programs, in seconds, after which no further turn begins; null for no limit."""


@dataclass(frozen=True, config=_STRICT)
class ObservationConfig:
    rule: ObservationRule = ObservationRule.RESULT
    """How a program's output becomes text; `reference` is the rule that SimpleTIR's published numbers used."""
    max_chars: Annotated[int, Field(ge=2)] = 512
    """Characters of each output shown, head and tail."""
    max_tokens: Annotated[int, Field(ge=2)] = 256
    """Tokens of an observation, head and tail."""


@dataclass(frozen=True, config=_STRICT)
class TlsConfig:
    ca_file: str | None = None
    """PEM file of the authorities that signed the endpoints' certificates; null for the system's."""
    cert_file: str | None = None
    """PEM file of the certificate that identifies this client; null for none."""
    key_file: str | None = None
    """PEM file of that certificate's key, where it is not in `cert_file`."""
    verify: bool = True
    """Whether endpoints must prove who they are."""

    @model_validator(mode="after")
    def _files_are_there(self) -> TlsConfig:
        self.settings()
        return self

    def settings(self) -> TlsSettings:
        """As the client takes it; raises TlsError where a file is missing."""
        return TlsSettings(self.ca_file, self.cert_file, self.key_file, self.verify)


@dataclass(frozen=True, config=_STRICT)
class SandboxConfig:
    endpoints: Endpoints = ()
    """Base URLs of Sandbox Fusion services; `ray` for a server on each node of the Ray cluster; empty for an embedded
    server in each agent-loop worker."""
    run_timeout: PositiveSeconds = 3.0
    """Wall time of one program, in seconds."""
    memory_limit_mb: PositiveInt = 1024
    """Memory of one program, in MiB."""
    max_concurrency: PositiveInt = 64
    """Calls in flight per agent-loop worker; `actor_rollout_ref.rollout.agent.num_workers` multiplies it."""
    max_rate: PositiveSeconds | None = None
    """Calls that may begin per second and agent-loop worker; null for no bound."""
    retry_attempts: PositiveInt = 10
    """Attempts per call. Only faults of the service are retried, never a program that ran."""
    retry_total_seconds: PositiveSeconds = 240.0
    """Wall time of a call with all its attempts and waits, in seconds; after it the call is a fault."""
    patience_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 120.0
    """Wall time that a call waits for an endpoint while all of them are down, in seconds; then it is a fault."""
    token_file: str | None = None
    """File with the bearer token of the endpoints; it must be there on every node."""
    token_env: str | None = None
    """Environment variable with the bearer token, set in every agent-loop worker."""
    headers: dict[str, str] = field(default_factory=dict)
    """Headers sent with every request."""
    tls: TlsConfig = field(default_factory=TlsConfig)
    workers: Annotated[int, Field(ge=0, le=MAX_WORKERS)] = 0
    """Programs that an embedded or Ray-hosted server runs side by side; 0 for its machine's CPU count."""
    isolation: IsolationPolicy = IsolationPolicy.REQUIRED
    """Of embedded and Ray-hosted servers: `required` refuses to start where the kernel denies any protection,
    `best-effort` goes on with what there is."""

    @model_validator(mode="after")
    def _settings_fit_together(self) -> SandboxConfig:
        margin = Timeouts().margin
        if self.retry_total_seconds < self.run_timeout + margin:
            raise ValueError(
                f"retry_total_seconds={self.retry_total_seconds} would end the call before a program of "
                f"run_timeout={self.run_timeout} has ended; it needs at least {margin:g} seconds more than run_timeout"
            )
        if self.token_file is not None and self.token_env is not None:
            raise ValueError(f"token_file={self.token_file} and token_env={self.token_env}: name one of the two")
        Headers(self.headers, None)  # raises for one that cannot be sent
        if (self.token_file or self.token_env) and any(name.lower() == "authorization" for name in self.headers):
            raise ValueError("headers: Authorization is given although there is a token: give one of the two")
        return self


@dataclass(frozen=True, config=_STRICT)
class FilterConfig:
    void: Void = VoidPolicy.MASK
    """What a void trajectory does to the update: `mask` takes it out of the loss, `suffix` only its first void turn and
    what follows, `off` trains on it."""
    void_in_baseline: bool = True
    """Whether a masked void trajectory's reward counts in its group's mean and deviation; if not, it leaves the
    batch."""
    overlong: OverlongPolicy = OverlongPolicy.KEEP
    """What a trajectory that used up its response budget does: `mask` takes it out of the loss, its reward stays."""
    min_reward_std: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = 1e-3
    """Another prompt takes the place of a group whose rewards have a smaller standard deviation; null for none."""
    accuracy_window: tuple[Share, Share] | None = None
    """Another prompt takes the place of a group whose share of correct answers lies outside; null for none."""
    min_usable_rows: Annotated[int, Field(ge=0)] = 0
    """Another prompt takes the place of a group with fewer trajectories in the loss; 0 for none."""
    max_refills: Annotated[int, Field(ge=0)] = 10
    """Groups per prompt of a batch that all gates together may replace before the run stops."""
    min_token_probability: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Tokens sampled with a lower probability leave the loss; null for none."""
    max_importance_ratio: Annotated[float, Field(gt=1, allow_inf_nan=False)] | None = None
    """Tokens with a higher importance ratio, of the trained policy to the one before the update, leave the loss; null
    for none."""
    max_failed_groups: Share = 0.05
    """Share of a batch's prompt groups whose agent loop may raise before the run stops. Sandbox faults do not count:
    they end a trajectory, not a group."""
    max_aborted_ratio: Share = 0.2
    """Share of a batch's trajectories that the sandbox or the engine may abort before the run stops."""
    min_sound_ratio: Share = 0.5
    """Share of a group's trajectories that must not have been aborted, and never fewer than two; another prompt is
    rolled out in place of a group with less."""
    poll_seconds: PositiveSeconds = 0.2
    """Seconds between two looks at the running trajectories; verl's own value is 2."""

    @model_validator(mode="after")
    def _settings_fit_together(self) -> FilterConfig:
        if self.accuracy_window is not None and self.accuracy_window[0] > self.accuracy_window[1]:
            low, high = self.accuracy_window
            raise ValueError(f"accuracy_window=[{low:g}, {high:g}] is empty: put the lower end first")
        if not self.void_in_baseline and self.void is not VoidPolicy.MASK:
            raise ValueError(
                f"void_in_baseline=False takes void trajectories out of the batch, and void={self.void} trains on "
                "them: use void=mask, or void_in_baseline=true"
            )
        return self

    @property
    def loss_rule(self) -> LossRule:
        """As the gates and the plan of a batch take it."""
        return LossRule(self.void, self.void_in_baseline, self.overlong)


@dataclass(frozen=True, config=_STRICT)
class TirConfig:
    """Everything under `tir:`."""

    recipe: str
    """The recipe's name, as in `+tir=NAME`."""
    prompt: PromptConfig = field(default_factory=PromptConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    observation: ObservationConfig = field(default_factory=ObservationConfig)
    sandbox: SandboxConfig = field(default_factory=SandboxConfig)
    filter: FilterConfig = field(default_factory=FilterConfig)
    dump_dir: str | None = None
    """Folder for one JSON line per trajectory and step, with text, turns and mask; null for none."""

    @classmethod
    def from_node(cls, node: object) -> TirConfig:
        """Validate the `tir:` node, given as plain containers.

        Raises:
            TirConfigError: names every wrong key with its value and what is allowed.
        """
        if not isinstance(node, Mapping):
            raise TirConfigError(
                f"tir={node!r} is not a recipe's settings: the `tir` config group was not found, so the plugin is not "
                "active in this process. Install verl-tir in it and launch with +tir=simpletir"
            )
        try:
            return _ADAPTER.validate_python(dict(node))
        except ValidationError as error:
            raise TirConfigError("\n".join(_explain(item) for item in error.errors())) from None

    def limits(self, max_response_tokens: int) -> Limits:
        """The budgets of one trajectory; `max_response_tokens` is verl's `data.max_response_length`."""
        return Limits(
            max_turns=self.rollout.max_turns,
            max_turn_tokens=self.rollout.max_turn_tokens,
            max_response_tokens=max_response_tokens,
            max_tool_seconds=self.rollout.max_tool_seconds,
        )


_ADAPTER = TypeAdapter(TirConfig)


def _explain(item: Mapping[str, Any]) -> str:
    """One line for one of pydantic's errors, in the words of the launch command."""
    location = [str(part) for part in item["loc"]]
    key = ".".join(["tir", *location])
    match item["type"]:
        case "unexpected_keyword_argument":
            allowed = ", ".join(_keys_at(location[:-1]))
            return f"{key}: there is no such setting; allowed here: {allowed}"
        case "missing" | "missing_argument":
            return f"{key}: missing; select a recipe with +tir=simpletir"
        case _:
            message = item["msg"].removeprefix("Value error, ")
            # A rule over several keys names them itself; its input is the whole node.
            shown = "" if isinstance(item["input"], Mapping) else f"={item['input']!r}"
            return f"{key}{shown}: {message[0].lower()}{message[1:]}"


def _keys_at(location: list[str]) -> list[str]:
    node: Any = TirConfig
    for part in location:
        node = node.__dataclass_fields__[part].default_factory
    return list(node.__dataclass_fields__)
