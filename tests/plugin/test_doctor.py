"""What `verl-tir doctor` finds out about the sandbox: real servers, and a kernel that really denies."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sandbox_server import EmbeddedSandbox, IsolationPolicy, ServerConfig
from sandbox_server.isolation import Protection
from sandbox_server.worker_factory import probe_isolation
from tir_tools.demo.command import isolation_of
from tir_tools.demo.run import DemoSettings, run_demo
from verl_tir.config import SandboxConfig
from verl_tir.doctor import Finding, check_sandbox

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "a-token-of-the-tests"
BEST_EFFORT = IsolationPolicy.BEST_EFFORT
LIBRARIES = ("numpy", "sympy", "scipy")

# As in a container without privileges: the kernel refuses new namespaces and mounts to all that come from here.
DENIED = """
import asyncio, json, logging, sys
from dataclasses import asdict
from sandbox_server import call_filter, linux
logging.basicConfig(level=logging.CRITICAL)
linux.set_no_new_privileges()
call_filter.install()
"""
DOCTOR = (
    DENIED
    + """
from verl_tir.config import SandboxConfig
from verl_tir.doctor import check_sandbox
config = SandboxConfig(**json.loads(sys.argv[1]))
print(json.dumps([asdict(finding) for finding in asyncio.run(check_sandbox(config))]))
"""
)
DEMO = (
    DENIED
    + """
from pathlib import Path
from rich.console import Console
from tir_tools.demo.run import DemoSettings, run_demo
folder, *overrides = json.loads(sys.argv[1])
settings = DemoSettings(Path(folder), steps=1, overrides=tuple(overrides))
sys.exit(run_demo(settings, Console(width=200)))
"""
)


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    """The endpoint of a server that wants a token."""
    server = ServerConfig(port=0, workers=1, max_memory_limit_mb=1024, isolation=BEST_EFFORT)
    with EmbeddedSandbox(server, token=TOKEN) as sandbox:
        yield sandbox.endpoint


@pytest.fixture(scope="module")
def walled_off() -> None:
    """Skips where this machine itself denies a protection."""
    if missing := asyncio.run(probe_isolation()).missing:
        pytest.skip("not allowed here: " + "; ".join(missing))


async def findings(**settings: Any) -> list[Finding]:
    """What the doctor finds with these keys below `tir.sandbox`."""
    return await check_sandbox(SandboxConfig(**{"run_timeout": 10.0, "workers": 1} | settings))


async def only(**settings: Any) -> Finding:
    """The one thing that it finds."""
    (finding,) = await findings(**settings)
    return finding


def denied(program: str, argument: str) -> subprocess.CompletedProcess[str]:
    """Run `program` in a process to which the kernel denies namespaces."""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program, argument]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=120)


def findings_where_denied(**settings: Any) -> list[dict[str, Any]]:
    """As `findings`, where the kernel denies namespaces."""
    done = denied(DOCTOR, json.dumps({"run_timeout": 10.0, "workers": 1} | settings))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


async def test_an_endpoint_is_tried_with_the_token_of_the_launch(
    guarded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a file or from the environment, the token opens the way, and each library is run."""
    (tmp_path / "token").write_text(TOKEN + "\n")
    monkeypatch.setenv("DOCTORS_TOKEN", TOKEN)
    for source in ({"token_file": str(tmp_path / "token")}, {"token_env": "DOCTORS_TOKEN"}):
        finding = await only(endpoints=[guarded], **source)
        assert finding.ok, finding
        assert finding.name == f"sandbox {guarded}"
        assert all(library in finding.detail for library in LIBRARIES)


async def test_headers_are_sent_too(guarded: str) -> None:
    """A service that takes its secret in a header of the settings' is tried as the run will call it."""
    assert (await only(endpoints=[guarded], headers={"Authorization": f"Bearer {TOKEN}"})).ok


@pytest.mark.parametrize("token", [None, "another-token"])
async def test_a_missing_or_wrong_token_is_named(
    guarded: str, monkeypatch: pytest.MonkeyPatch, token: str | None
) -> None:
    """401 is told with the keys to set, and the wrong token is not shown."""
    monkeypatch.setenv("DOCTORS_TOKEN", token or "")
    finding = await only(endpoints=[guarded], token_env="DOCTORS_TOKEN" if token else None)
    assert not finding.ok
    assert "401" in finding.detail
    assert "tir.sandbox.token_file" in finding.fix
    assert token is None or token not in str(finding)


async def test_a_token_that_cannot_be_read_is_a_finding(tmp_path: Path) -> None:
    """A missing file is named before any call is made."""
    missing = str(tmp_path / "token")
    finding = await only(endpoints=["http://127.0.0.1:9"], token_file=missing)
    assert (finding.name, finding.ok) == ("sandbox token", False)
    assert missing in finding.detail
    assert "tir.sandbox.token_file" in finding.fix


async def test_every_endpoint_has_a_row(guarded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is down is found beside one that works."""
    monkeypatch.setenv("DOCTORS_TOKEN", TOKEN)
    with socket.socket() as taken:  # bound and not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{taken.getsockname()[1]}"
        good, bad = await findings(endpoints=[guarded, dead], token_env="DOCTORS_TOKEN")
    assert (good.ok, bad.ok) == (True, False)
    assert "SandboxUnreachable" in bad.detail
    assert "start the service" in bad.fix


async def test_limits_that_the_service_refuses_are_named(guarded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """422 is told with the keys that ask for too much."""
    monkeypatch.setenv("DOCTORS_TOKEN", TOKEN)
    finding = await only(endpoints=[guarded], token_env="DOCTORS_TOKEN", memory_limit_mb=4096)
    assert not finding.ok
    assert "422" in finding.detail
    assert "max-memory-limit-mb" in finding.detail
    assert "memory_limit_mb" in finding.fix


async def test_a_run_time_that_is_too_short_is_named(guarded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that does not get done in time is told with the key that gives it more."""
    monkeypatch.setenv("DOCTORS_TOKEN", TOKEN)
    finding = await only(endpoints=[guarded], token_env="DOCTORS_TOKEN", run_timeout=0.0005)
    assert not finding.ok
    assert "time_limit" in finding.detail
    assert "tir.sandbox.run_timeout" in finding.fix


async def test_tls_files_that_cannot_be_used_are_named(guarded: str, tmp_path: Path) -> None:
    """A file that is there and holds no certificate is found before the first trajectory needs it."""
    (tmp_path / "ca.pem").write_text("no certificate")
    finding = await only(endpoints=[guarded], tls={"ca_file": str(tmp_path / "ca.pem")})
    assert not finding.ok
    assert "ca_file" in finding.detail
    assert "tls" in finding.fix


@pytest.mark.parametrize(("endpoints", "name"), [([], "sandbox, embedded"), ("ray", "sandbox, this node")])
@pytest.mark.usefixtures("walled_off")
async def test_a_server_of_ours_is_started_as_the_launch_would(endpoints: Any, name: str) -> None:
    """It takes the launch's limits, beyond its own defaults too; of Ray's nodes this one is tried."""
    isolation, server = await findings(endpoints=endpoints, memory_limit_mb=16384, run_timeout=90.0)
    assert (isolation.name, isolation.ok, isolation.fix) == ("sandbox isolation", True, "")
    assert Protection.NO_NETWORK in isolation.detail
    assert (server.name, server.ok) == (name, True), server
    assert all(library in server.detail for library in LIBRARIES)
    assert ("checked when the run starts" in server.detail) is (endpoints == "ray")


def test_missing_isolation_is_a_failure_where_it_is_required() -> None:
    """What the kernel denies, what is left and the ways out are told, and no server is tried."""
    isolation, server = findings_where_denied()
    assert (isolation["name"], isolation["ok"]) == ("sandbox isolation", False)
    assert "tir.sandbox.isolation=required, and" in isolation["detail"]
    assert Protection.NO_NETWORK in isolation["fix"]
    for way_out in ("--cap-add SYS_ADMIN", "unprivileged_userns", "tir.sandbox.isolation=best-effort"):
        assert way_out in isolation["fix"]
    assert (server["ok"], server["detail"]) == (False, "not checked")


def test_missing_isolation_is_told_under_best_effort() -> None:
    """It is no failure then, and programs run with what there is."""
    isolation, server = findings_where_denied(isolation=BEST_EFFORT)
    assert isolation["ok"]
    assert Protection.NO_NETWORK not in isolation["detail"]
    assert Protection.NO_NETWORK in isolation["fix"]
    assert server["ok"], server


def test_the_demo_takes_what_isolation_there_is_unless_told_otherwise() -> None:
    """The last override decides, with or without Hydra's plus signs."""
    assert isolation_of(("data.seed=1",)) is BEST_EFFORT
    assert isolation_of(("tir.sandbox.isolation=best-effort", "++tir.sandbox.isolation=required")) == "required"
    with pytest.raises(ValueError, match="some"):
        isolation_of(("tir.sandbox.isolation=some",))


def test_the_demo_refuses_what_cannot_be_had(tmp_path: Path) -> None:
    """With `required`, a machine that denies a protection ends it at once, with the ways out."""
    done = denied(DEMO, json.dumps([str(tmp_path), "tir.sandbox.isolation=required"]))
    assert done.returncode == 1, done
    assert Protection.NO_NETWORK in done.stdout
    assert "--cap-add SYS_ADMIN" in done.stdout


def test_the_demo_goes_on_with_what_there_is(tmp_path: Path) -> None:
    """It says what is missing, and verl is launched; here with a wrong setting, so that it ends at once."""
    (tmp_path / "model-simpletir-seed0").mkdir()
    (tmp_path / "model-simpletir-seed0" / "warm_start.json").write_text("{}")
    done = denied(DEMO, json.dumps([str(tmp_path), "tir.rollout.max_turns=0"]))
    assert Protection.NO_NETWORK in done.stdout, done
    assert "tir.sandbox.isolation=best-effort" in done.stdout
    assert "tir.rollout.max_turns=0: input should be" in done.stdout
    (command,) = tmp_path.glob("demo-*/command.txt")
    assert "tir.sandbox.isolation=best-effort" in command.read_text()


def test_the_demo_names_a_wrong_value(tmp_path: Path) -> None:
    """Before anything is grown or started."""
    console = Console(width=200, record=True)
    settings = DemoSettings(tmp_path, steps=1, overrides=("tir.sandbox.isolation=some",))
    assert run_demo(settings, console) == 2
    assert "'some'" in console.export_text()
