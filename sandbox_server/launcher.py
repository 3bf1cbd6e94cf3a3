"""Starting an embedded server from a program that needs one, and tying it to that program's life."""

import contextlib
import json
import logging
import os
import selectors
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import fields, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from urllib.parse import urlsplit

from sandbox_server.auth import ServerTokenError, load_token
from sandbox_server.config import ServerConfig

logger = logging.getLogger(__name__)

_STDERR_SHOWN = 4000  # characters of the server's log in an error
_LAST_MOMENT = 0.5  # seconds
_TOKEN_VARIABLE = "VERL_TIR_SANDBOX_TOKEN"
_TRIAL = {"code": "print(6 * 7)", "language": "python", "run_timeout": 10}


class SandboxStartError(RuntimeError):
    """The embedded server did not come up; the message carries its log."""


class EmbeddedSandbox:
    """A sandbox server in a subprocess. Also a context manager.

    The server holds one end of a pipe whose other end is this object's: it shuts down when this process ends, however
    it ends. (A child that this process forks without exec inherits that end, and keeps the server alive with it.)
    """

    def __init__(
        self, config: ServerConfig | None = None, *, token: str | None = None, start_timeout: float = 60.0
    ) -> None:
        """Nothing is started yet.

        `config`: by default, one with a free port. `token`: what callers must show as their bearer token; handed to the
        server in its environment. `start_timeout`: seconds until the server must have run a first program.
        """
        self._config = config if config is not None else ServerConfig(port=0)
        self._token = token
        if token is not None:
            self._config = replace(self._config, token_file="", token_env=_TOKEN_VARIABLE)
        self._start_timeout = start_timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self._endpoint: str | None = None

    @property
    def endpoint(self) -> str:
        """Base URL of the running server, such as http://127.0.0.1:40001. Raises RuntimeError before start()."""
        if self._endpoint is None:
            raise RuntimeError("the embedded sandbox is not running: call start() or use it in a with statement")
        return self._endpoint

    @property
    def running(self) -> bool:
        """Whether the server was started and has not ended."""
        return self._endpoint is not None and self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Process id of the running server. Raises RuntimeError before start()."""
        if self._process is None:
            raise RuntimeError("the embedded sandbox is not running: call start() or use it in a with statement")
        return self._process.pid

    def start(self) -> str:
        """Start the server and wait until it has run a program; returns the endpoint. Raises SandboxStartError."""
        if self._process is not None:
            return self.endpoint
        deadline = time.monotonic() + self._start_timeout
        announce_read, announce_write = os.pipe()
        # A file and not a pipe: nobody reads it while the server runs, and a full pipe would block the server.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        try:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "sandbox_server"),
                    *server_arguments(self._config),
                    *("--announce-fd", str(announce_write), "--exit-on-stdin-eof"),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._log,
                pass_fds=(announce_write,),
                # A terminal's interrupt is for this process, which then closes the server in order.
                start_new_session=True,
                env=_environment(self._token),
            )
            os.close(announce_write)
            announced = _read_line(announce_read, deadline)
            if not announced:
                raise SandboxStartError(self._complaint("did not announce an endpoint"))
            self._try(announced, deadline)
        except BaseException:  # an interrupt too must not leave a server behind
            self.close()
            raise
        finally:
            os.close(announce_read)
        self._endpoint = announced
        logger.info("embedded sandbox at %s", announced)
        return announced

    def close(self) -> None:
        """Shut the server down and wait for it; harmless when it is not running."""
        process, self._process, self._endpoint = self._process, None, None
        if process is not None:
            process.stdin.close()
            try:
                process.wait(self._config.shutdown_grace + 20.0)
            except subprocess.TimeoutExpired:
                logger.warning("the embedded sandbox does not end; killing it")
                process.kill()
                process.wait()
        if self._log is not None:
            self._log.close()
            self._log = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _try(self, endpoint: str, deadline: float) -> None:
        # No proxies: a cluster's http_proxy knows nothing of this machine's loopback.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        request = urllib.request.Request(
            f"{endpoint}/run_code", json.dumps(_TRIAL).encode(), {"Content-Type": "application/json"}
        )
        try:
            if token := self._token if self._token is not None else load_token(self._config):
                request.add_header("Authorization", f"Bearer {token}")
            with opener.open(request, timeout=max(1.0, deadline - time.monotonic())) as answer:
                body = json.load(answer)
        except (OSError, ValueError, ServerTokenError) as error:  # URLError is an OSError
            raise SandboxStartError(self._complaint(f"did not run a first program: {error}")) from error
        if body.get("status") != "Success" or body["run_result"]["stdout"] != "42\n":
            raise SandboxStartError(self._complaint(f"ran a first program wrongly: {body}"))

    def _complaint(self, what: str) -> str:
        # A server that gave up has closed its end a moment before it is gone.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_LAST_MOMENT)
        status = self._process.returncode
        self._log.seek(0)
        log = self._log.read().decode(errors="replace")[-_STDERR_SHOWN:]
        ended = f" (exit status {status})" if status is not None else f" within {self._start_timeout} s"
        return f"the embedded sandbox server {what}{ended}. Its log:\n{log or '(empty)'}"


class ResidentSandbox:
    """Holds one embedded server at a time. Blocking; whoever holds it calls `ensure` now and then."""

    def __init__(self, config: ServerConfig, token: str) -> None:
        self._config = config
        self._token = token
        self._server: EmbeddedSandbox | None = None

    def ensure(self) -> str:
        """The endpoint of the server, which is started first where it does not run.

        Raises:
            SandboxStartError: it does not start; the message carries its log.
        """
        if self._server is not None and self._server.running:
            return self._server.endpoint
        if self._server is not None:
            logger.warning("the sandbox server at %s has ended; starting it again", self._server.endpoint)
            self._server.close()
        self._server = EmbeddedSandbox(self._config, token=self._token)
        try:
            endpoint = self._server.start()
        except SandboxStartError:
            self._server = None
            # Whatever took the old port may keep it.
            self._config = replace(self._config, port=0)
            raise
        # The same port after a restart, so that those who know the endpoint find the server again.
        self._config = replace(self._config, port=urlsplit(endpoint).port)
        return endpoint

    def close(self) -> None:
        """End the server, if it runs."""
        if self._server is not None:
            self._server.close()
            self._server = None

    @property
    def pid(self) -> int:
        """Process id of the server. Raises RuntimeError where none was started."""
        if self._server is None:
            raise RuntimeError("the sandbox server is not running: call ensure()")
        return self._server.pid


def server_arguments(config: ServerConfig) -> list[str]:
    """The command line that reproduces `config` on this machine; defaults are left out."""
    defaults = ServerConfig()
    arguments = []
    for field in fields(config):
        value = getattr(config, field.name)
        flag = field.name.replace("_", "-")
        if value == getattr(defaults, field.name):
            continue
        if isinstance(value, bool):
            arguments.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            arguments.append(f"--{flag}={','.join(value) if isinstance(value, tuple) else value}")
    return arguments


def _environment(token: str | None) -> dict[str, str]:
    # Where this package was imported from, a new interpreter need not look.
    package_root = str(Path(__file__).parents[1])
    inherited = os.environ.get("PYTHONPATH")
    # Not on the command line, which every user of the machine can read.
    secret = {} if token is None else {_TOKEN_VARIABLE: token}
    return os.environ | secret | {"PYTHONPATH": os.pathsep.join(filter(None, (package_root, inherited)))}


def _read_line(fd: int, deadline: float) -> str:
    """What the server announces, or nothing when it ends or the deadline passes first."""
    text = b""
    with selectors.DefaultSelector() as selector:
        selector.register(fd, selectors.EVENT_READ)
        while not text.endswith(b"\n") and (left := deadline - time.monotonic()) > 0:
            if selector.select(left):
                part = os.read(fd, 4096)
                if not part:
                    break
                text += part
    return text.decode().strip()
