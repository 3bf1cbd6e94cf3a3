"""The `tir:` node of the launch configuration as one validated, frozen dataclass.

`TirConfig.from_node` is the only way in: it is called in the driver before Ray starts, and again by every process that
acts on the settings, so that a wrong value stops the launch with its key, its value and what is allowed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from sandbox_client import Headers, RunJupyterRequest, Timeouts, TlsSettings, validate_endpoints
from sandbox_server import MAX_WORKERS, IsolationPolicy
from verl_tir.rollout.config import STRICT as _STRICT
from verl_tir.rollout.config import ObservationConfig, PositiveInt, PositiveSeconds, PromptConfig, RolloutConfig
from verl_tir.rollout.loop import TrajectoryLimits
from verl_tir.rollout.session import SessionKind
from verl_tir.rollout.turn_rule import resolve_turn_rule
from verl_tir.sampler.config import FilterConfig

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


class TirConfigError(ValueError):
    """The `tir:` node is wrong; the message names each key, its value and what is allowed."""


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
    session: SessionKind = SessionKind.NONE
    """What a program finds of the trajectory's earlier ones: `none` is a fresh process each time; `replay` runs those
    that succeeded again, unheard, before it; `jupyter` runs all again as the cells of a notebook."""
    run_timeout: PositiveSeconds = 3.0
    """Wall time of one program, in seconds; under a session, with the earlier ones that run again."""
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
    `best-effort` starts with what there is."""

    @model_validator(mode="after")
    def _settings_fit_together(self) -> SandboxConfig:
        margin = Timeouts().margin
        if self.session is SessionKind.JUPYTER:
            margin += RunJupyterRequest([], 1.0, 0.0).seconds
        if self.retry_total_seconds < self.run_timeout + margin:
            raise ValueError(
                f"retry_total_seconds={self.retry_total_seconds} would end the call before a program of "
                f"run_timeout={self.run_timeout} has ended; with session={self.session} it needs at least {margin:g} "
                "seconds more than run_timeout"
            )
        if self.token_file is not None and self.token_env is not None:
            raise ValueError(f"token_file={self.token_file} and token_env={self.token_env}: name one of the two")
        Headers(self.headers, None)  # raises for one that cannot be sent
        if (self.token_file or self.token_env) and any(name.lower() == "authorization" for name in self.headers):
            raise ValueError("headers: Authorization is given although there is a token: give one of the two")
        return self


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
    dump_max_mb: PositiveInt | None = 10240
    """What that folder may grow to, in MiB; then its oldest steps are deleted. null for no bound."""
    dump_token_log_probs: bool = False
    """Whether the lines hold the text and the log-probability of every sampled token too; 13 bytes a token."""

    @model_validator(mode="after")
    def _tool_messages_have_a_template(self) -> TirConfig:
        name = self.rollout.turn_rule
        rule = resolve_turn_rule(name)
        if (rule.frame is None or rule.tools) and not self.prompt.chat_template:
            raise ValueError(
                f"rollout.turn_rule={name} and prompt.chat_template=False: the rule's tools and their messages are "
                "written by the chat template; set tir.prompt.chat_template=true, or turn_rule to another"
            )
        return self

    @model_validator(mode="after")
    def _tokens_have_a_dump(self) -> TirConfig:
        if self.dump_token_log_probs and self.dump_dir is None:
            raise ValueError(
                "dump_token_log_probs=True and dump_dir=None: there is no dump to hold them; set tir.dump_dir"
            )
        return self

    @classmethod
    def from_node(cls, node: object) -> TirConfig:
        """Validate the `tir:` node, given as plain containers.

        Raises:
            TirConfigError: names every wrong key with its value and what is allowed.
        """
        if not isinstance(node, Mapping):
            raise TirConfigError(
                f"tir={node!r} is not a recipe's settings: select a recipe with +tir=simpletir. If you did, the `tir` "
                "config group was not found: the plugin is not active in this process, or its installation is broken. "
                "Install verl-tir in it, with pip install --force-reinstall"
            )
        try:
            return _ADAPTER.validate_python(dict(node))
        except ValidationError as error:
            raise TirConfigError("\n".join(_explain(item) for item in error.errors())) from None

    def limits(self, max_response_tokens: int) -> TrajectoryLimits:
        """The budgets of one trajectory; `max_response_tokens` is verl's `data.max_response_length`."""
        return TrajectoryLimits(
            max_turns=self.rollout.max_turns,
            max_turn_tokens=self.rollout.max_turn_tokens,
            max_response_tokens=max_response_tokens,
            max_tool_seconds=self.rollout.max_tool_seconds,
            max_tool_calls=self.rollout.max_tool_calls,
            on_void_turn=self.rollout.on_void_turn,
        )


_ADAPTER = TypeAdapter(TirConfig)


def default_settings() -> dict[str, Any]:
    """The `tir:` node with every key but the recipe's name, as plain containers."""
    # Without warnings: pydantic cannot tell what a validator of ours returns, and says so of the endpoints.
    node: dict[str, Any] = _ADAPTER.dump_python(TirConfig(recipe=""), mode="json", warnings=False)
    del node["recipe"]
    return node


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
