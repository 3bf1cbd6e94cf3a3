"""The embedded server's settings: as a command line, with their help, and those without sense refused."""

from dataclasses import fields

import pytest

from sandbox_server import ServerConfig
from sandbox_server.__main__ import GROUPS, field_docs, parse_arguments
from sandbox_server.app import CompletionRate
from sandbox_server.config import DEFAULT_PRELOAD, default_preload, missing_preload
from sandbox_server.launcher import server_arguments


@pytest.mark.parametrize(
    ("ends", "waiting", "seconds"),
    [((), 0, 1), ((), 6, 30), ((), 1, 5), ((1.0, 2.0, 3.0, 4.0), 6, 6), ((3.9,) * 9, 100, 2), ((0.0,), 10, 30)],
)
def test_callers_are_told_when_to_come_back(ends, waiting, seconds):
    """The queue's length over the recent rate, within 1 and 30 seconds; 10 s a program while nothing is known."""
    now = iter((*ends, 4.0))
    pace = CompletionRate(workers=2, clock=lambda: next(now))
    for _ in ends:
        pace.ended()
    assert pace.retry_after(waiting) == seconds


def test_every_setting_is_a_flag():
    """A configuration survives the trip through the command line."""
    config = ServerConfig(
        **{"host": "::1", "port": 0, "token_file": "f", "max_request_mb": 9, "workers": 3, "queue_size": 5},
        **{"queue_timeout": 1.5, "drain_seconds": 2.5, "shutdown_grace": 0.1, "preload": ("math", "json")},
        **{"max_run_timeout": 7.0, "memory_limit_mb": 300, "max_memory_limit_mb": 400},
        **{"max_processes": 6, "max_open_files": 77, "max_file_mb": 8, "scratch_mb": 10, "max_output_bytes": 99},
        **{"isolation": "best-effort", "log_format": "json", "log_requests": True},
    )
    plain = ServerConfig(port=0)
    unchanged = {field.name for field in fields(config) if getattr(config, field.name) == getattr(plain, field.name)}
    assert unchanged == {"port", "token_env"}
    invocation = parse_arguments([*server_arguments(config), "--announce-fd", "5"])
    assert (invocation.config, invocation.announce_fd, invocation.exit_on_stdin_eof) == (config, 5, False)
    assert parse_arguments([]).config == ServerConfig()
    assert parse_arguments(["--preload="]).config.preload == ()


def test_help_tells_what_each_flag_does(capsys):
    """Each field has its flag, in one group, with its own docstring as help."""
    names = [name for group in GROUPS.values() for name in group]
    assert sorted(names) == sorted(field.name for field in fields(ServerConfig))
    with pytest.raises(SystemExit):
        parse_arguments(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    for name in names:
        assert f"--{name.replace('_', '-')}" in text
        assert field_docs()[name].split(";")[0][:30] in text


def test_a_preload_that_is_missing(monkeypatch):
    """A module that is preloaded by default may be missing; one that was asked for may not."""
    assert set(default_preload()) <= set(DEFAULT_PRELOAD)
    monkeypatch.setattr("sandbox_server.config.DEFAULT_PRELOAD", ("json", "no_such_module"))
    missing_preload.cache_clear()
    assert (default_preload(), missing_preload()) == (("json",), ("no_such_module",))
    assert ServerConfig().preload == ("json",)
    missing_preload.cache_clear()


@pytest.mark.parametrize(
    "setting",
    [
        *({"workers": 0}, {"queue_size": -1}, {"max_run_timeout": 0.0}, {"max_memory_limit_mb": 10}, {"workers": 501}),
        *({"scratch_mb": 0}, {"drain_seconds": -1.0}, {"queue_timeout": float("nan")}),
        {"token_file": "a", "token_env": "b"},
    ],
)
def test_settings_without_sense_are_refused(setting):
    """A server setting that makes no sense raises, naming itself."""
    with pytest.raises(ValueError, match=next(iter(setting))):
        ServerConfig(**setting)
