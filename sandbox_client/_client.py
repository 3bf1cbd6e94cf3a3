"""The client: owns everything that a call needs, and ends the calls under way when it is closed."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

from sandbox_client._balancer import Balancer
from sandbox_client._caller import Caller
from sandbox_client._config import BreakerPolicy, CallLimits, ProbePolicy, RetryPolicy, Timeouts
from sandbox_client._credentials import Headers, TlsSettings, Token
from sandbox_client._errors import ClientClosedError, SandboxFault, SandboxProtocolError
from sandbox_client._execution import Execution, RunCodeRequest
from sandbox_client._fields import short
from sandbox_client._health import Health
from sandbox_client._jupyter import JupyterExecution, RunJupyterRequest
from sandbox_client._stats import ClientSnapshot, ClientStats, EndpointSnapshot, Recorder
from sandbox_client._transport import Exchange, SandboxRequest, Transport
from sandbox_client._urls import is_loopback, validate_endpoints

logger = logging.getLogger(__name__)

Result = TypeVar("Result", Execution, JupyterExecution)
Answer = TypeVar("Answer")


class SandboxClient:
    """Runs programs on one or more Sandbox Fusion endpoints. An async context manager; one per event loop.

    A call waits for its turn (`limits`), goes to the least busy endpoint that works (`breaker`, `probe`), and after a
    SandboxFault that may pass to another one if there is one (`retry`). A program whose result has arrived is never run
    again. One that was sent to an endpoint which then failed may be; no result is used twice.
    """

    def __init__(
        self,
        endpoints: Iterable[str],
        *,
        timeouts: Timeouts | None = None,
        limits: CallLimits | None = None,
        retry: RetryPolicy | None = None,
        breaker: BreakerPolicy | None = None,
        probe: ProbePolicy | None = None,
        headers: Mapping[str, str] | None = None,
        token: Token | None = None,
        tls: TlsSettings | None = None,
    ) -> None:
        """Nothing is connected yet.

        Raises EndpointError when an endpoint cannot be right, TlsError when a TLS file cannot be used, ValueError when
        a header cannot be sent.
        """
        self._timeouts = timeouts or Timeouts()
        self._limits = limits or CallLimits()
        self._retry = retry or RetryPolicy()
        self._probe = probe or ProbePolicy()
        self._room = min(self._timeouts.total, self._retry.total_timeout) - self._timeouts.margin
        self._headers = Headers(headers or {}, token)
        self._warned_of_plain_http = False
        bases = validate_endpoints(endpoints)
        self._warn_of_plain_http(bases)
        self._balancer = Balancer(bases, breaker or BreakerPolicy())
        self._tls = None if tls is None else tls.context()
        if tls is not None and not tls.verify:
            logger.warning("TLS verify=False: nothing proves that the endpoints are who they are called")
        self._recorder = Recorder()
        self._calls: set[asyncio.Task[Any]] = set()
        self._closed_calls: set[asyncio.Task[Any]] = set()
        """Those of `_calls` that `close` has cancelled."""
        self._call_ended = asyncio.Event()
        self._opened: _Opened | None = None

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Base URLs of the endpoints in the list."""
        return tuple(endpoint.base for endpoint in self._balancer.endpoints)

    @property
    def stats(self) -> ClientStats:
        """What the client has counted so far."""
        return self._recorder.stats()

    def snapshot(self) -> ClientSnapshot:
        """What the client has seen and is doing now."""
        in_flight = 0 if self._opened is None else self._opened.caller.in_flight
        return ClientSnapshot(
            stats=self._recorder.stats(),
            in_flight=in_flight,
            waiting=len(self._calls) - in_flight,
            endpoints=tuple(EndpointSnapshot.of(endpoint) for endpoint in self._balancer.endpoints),
        )

    def set_endpoints(self, endpoints: Iterable[str]) -> None:
        """Replace the list of endpoints; those that stay keep their state, and what runs on others runs to its end.

        Raises EndpointError, and changes nothing, when an endpoint cannot be right.
        """
        bases = validate_endpoints(endpoints)
        self._warn_of_plain_http(bases)
        self._balancer.set_endpoints(bases)

    async def open(self) -> None:
        """Make the connection pool and begin to look after the endpoints; harmless when that is done."""
        if self._opened is not None:
            return
        timeouts, connect = self._timeouts, self._timeouts.connect
        # As many connections as calls in flight: a call that has its turn must not wait again for a connection.
        transport = Transport(self._headers, connect, self._limits.max_concurrency, self._tls)
        # Probes have their own, so that calls that hang cannot keep one from being made; each needs a new one, for that
        # is what calls will need.
        probes = Transport(self._headers, connect, 0, self._tls, keep_alive=False)
        health = Health(probes, self._balancer, self._recorder, self._probe, timeouts, self._retry)
        caller = Caller(transport, self._balancer, self._recorder, timeouts, self._limits, self._retry)
        self._opened = _Opened(caller, transport, probes, health)
        health.start()

    async def close(self) -> None:
        """Close all connections, and end all calls with a ClientClosedError; harmless when the client is not open."""
        opened, self._opened = self._opened, None
        if opened is None:
            return
        for call in self._calls - self._closed_calls:
            self._closed_calls.add(call)
            call.cancel()
        while self._calls:
            self._call_ended.clear()
            await self._call_ended.wait()
        await opened.health.stop()
        await opened.probes.close()
        await opened.transport.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def run_code(
        self,
        code: str,
        *,
        run_timeout: float,
        memory_limit_mb: int | None = None,
        stdin: str | None = None,
        files: Mapping[str, bytes] | None = None,
        fetch_files: Sequence[str] = (),
    ) -> Execution:
        """Run a Python program for at most `run_timeout` seconds and return how it ended.

        `files` are put into its working directory, and those named in `fetch_files` are brought back from there.

        Raises SandboxFault when no endpoint ran it, ValueError when `run_timeout` leaves the client no margin to hear
        about it, RuntimeError when the client is not open, ClientClosedError (one) when it is closed meanwhile.
        """
        request = RunCodeRequest(code, run_timeout, memory_limit_mb, stdin, files or {}, _paths(fetch_files))
        self._check_seconds("run_timeout", run_timeout, request.seconds)
        return await self._run(request)

    async def run_jupyter(
        self,
        cells: Sequence[str],
        *,
        cell_timeout: float,
        total_timeout: float,
        files: Mapping[str, bytes] | None = None,
        fetch_files: Sequence[str] = (),
    ) -> JupyterExecution:
        """Run cells in one new Jupyter kernel, each for at most `cell_timeout` seconds and all for `total_timeout`.

        The server adds 10 s to `total_timeout` for the kernel itself. Otherwise as `run_code`.
        """
        if isinstance(cells, str):
            raise ValueError("cells must be a list of programs and not one string")
        request = RunJupyterRequest(tuple(cells), cell_timeout, total_timeout, files or {}, _paths(fetch_files))
        if not cell_timeout > 0:
            raise ValueError(f"cell_timeout={cell_timeout} s must be positive")
        self._check_seconds("total_timeout", total_timeout, request.seconds)
        return await self._run(request)

    async def ping(self, endpoint: str) -> float:
        """Seconds that `endpoint` takes to answer a ping. One attempt; raises SandboxFault.

        A server that is wedged may still answer; running a program is the proof.
        """
        (base,) = validate_endpoints([endpoint])
        opened = self._require_open()
        started = time.monotonic()
        exchange = Exchange(self._timeouts.connect * 2)
        answer = await self._until_closed(opened.probes.get(base, "/v1/ping", exchange))
        if answer != "pong":
            raise SandboxProtocolError(f"answered {short(answer)} to a ping", endpoint=base)
        return time.monotonic() - started

    async def _run(self, request: SandboxRequest[Result]) -> Result:
        opened = self._require_open()
        try:
            result = await self._until_closed(opened.caller.call(request))
        except SandboxFault:
            self._recorder.faulted()
            raise
        except (asyncio.CancelledError, ClientClosedError):
            self._recorder.cancelled()
            raise
        self._recorder.executed(result.status)
        return result

    async def _until_closed(self, work: Awaitable[Answer]) -> Answer:
        """What `work` returns; ClientClosedError when the client is closed before that."""
        call = asyncio.current_task()
        assert call is not None
        # Own cancelling is told from another's as `asyncio.timeout` does, which costs every call more.
        cancelled_before = call.cancelling()
        self._calls.add(call)
        try:
            return await work
        except asyncio.CancelledError:
            if call in self._closed_calls and call.cancelling() <= cancelled_before + 1:
                raise ClientClosedError("the sandbox client was closed while this call ran") from None
            raise
        finally:
            if call in self._closed_calls:
                self._closed_calls.discard(call)
                call.uncancel()
            self._calls.discard(call)
            self._call_ended.set()

    def _require_open(self) -> "_Opened":
        if self._opened is None:
            raise RuntimeError("the sandbox client is not open: use it in an `async with`, or call open() first")
        return self._opened

    def _check_seconds(self, name: str, value: float, seconds: float) -> None:
        room = self._room - (seconds - value)
        if not 0 < value <= room:
            raise ValueError(
                f"{name}={value} s must be positive and at most {room} s: the smaller of Timeouts.total "
                "and RetryPolicy.total_timeout, less Timeouts.margin and what the server adds"
            )

    def _warn_of_plain_http(self, bases: tuple[str, ...]) -> None:
        plain = [base for base in bases if base.startswith("http://") and not is_loopback(base)]
        if plain and self._headers.secret and not self._warned_of_plain_http:
            self._warned_of_plain_http = True
            logger.warning("credentials go to %s over plain http, where anyone on the way can read them", plain[0])


@dataclass(frozen=True, slots=True)
class _Opened:
    """What a client has while it is open."""

    caller: Caller
    transport: Transport
    probes: Transport
    health: Health


def _paths(fetch_files: Sequence[str]) -> tuple[str, ...]:
    if isinstance(fetch_files, str):
        raise ValueError("fetch_files must be a list of paths and not one string")
    return tuple(fetch_files)
