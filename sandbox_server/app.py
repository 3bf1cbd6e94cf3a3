"""The HTTP side: /run_code, /run_jupyter, /v1/ping and /metrics, and nothing that blocks."""

import asyncio
import json
import logging
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import web

from sandbox_server.api import jupyter_response, parse_run_code, parse_run_jupyter, response
from sandbox_server.auth import TokenGate
from sandbox_server.config import ServerConfig
from sandbox_server.connections import Connections
from sandbox_server.frames import Job, ProgramReport, ProgramStatus
from sandbox_server.json_bounds import TooDear, refuse_dear
from sandbox_server.log_format import FIELDS
from sandbox_server.pool import PoolClosed, QueueFull, QueueTimeout, WorkerPool
from sandbox_server.request_models import BadRequest
from sandbox_server.telemetry import CONTENT_TYPE, ProgramOutcome, Telemetry

logger = logging.getLogger(__name__)

_CLIENT_GONE = 499  # nginx's code for a caller who hung up; nobody receives it, but it is counted


_READ_HERE = 1 << 16  # bytes of a body that the event loop may decode itself
_MOST_VALUES = 1 << 18  # of a body; a request for all files and cells that it may have has a quarter of it
_DEEPEST = 100  # levels of nesting

_REMEMBERED = 64  # ends of programs; enough to even out long and short ones, few enough to follow a change
_UNKNOWN = 10.0  # seconds that a program is taken to run while none has ended yet
_LONGEST = 30


@dataclass(frozen=True)
class Answer:
    """A response, and what the log says of it."""

    status: int
    """HTTP status code."""

    body: bytes
    """What is sent."""

    headers: dict[str, str] = field(default_factory=dict)
    """Headers beyond the usual ones."""

    content_type: str = "application/json"
    """What the body is."""

    outcome: ProgramOutcome | None = None
    """How the program ended, where one ran."""

    queue_seconds: float | None = None
    """From the request's arrival to the program's report, less the next."""

    run_seconds: float | None = None
    """Wall time of the program."""


_Handler = Callable[[web.Request], Awaitable[Answer]]
_Parse = Callable[[object, ServerConfig], Job]
_Respond = Callable[[ProgramReport, Job], dict[str, object]]


class CompletionRate:
    """The rate at which programs end, from the last of them."""

    def __init__(self, workers: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: seconds, for tests."""
        self._workers = workers
        self._clock = clock
        self._ends: deque[float] = deque(maxlen=_REMEMBERED)

    def ended(self) -> None:
        """A program has ended."""
        self._ends.append(self._clock())

    def retry_after(self, waiting: int) -> int:
        """Whole seconds, 1 to 30, until `waiting` calls will have had their turn."""
        if self._ends:
            # Up to now and not to the last end, so that a server that stands still counts as slow.
            seconds_each = max(self._clock() - self._ends[0], 1e-3) / max(1, len(self._ends) - 1)
        else:
            seconds_each = _UNKNOWN / self._workers
        return min(_LONGEST, max(1, math.ceil(waiting * seconds_each)))


class Service:
    """Answers requests with what a pool makes of them; the pool is started and closed by the caller."""

    def __init__(self, pool: WorkerPool, config: ServerConfig, gate: TokenGate, connections: Connections) -> None:
        self._connections = connections
        self._pool = pool
        self._config = config
        self._gate = gate
        self._telemetry = Telemetry(pool, config.workers)
        self._pace = CompletionRate(config.workers)
        self._drained_at: float | None = None
        self._max_bytes = config.max_request_mb << 20

    def application(self) -> web.Application:
        """The web application."""
        app = web.Application(client_max_size=self._max_bytes)
        app.router.add_post("/run_code", self._answering("/run_code", self._run_code))
        app.router.add_post("/run_jupyter", self._answering("/run_jupyter", self._run_jupyter))
        app.router.add_get("/v1/ping", self._answering("/v1/ping", self._ping, guarded=False))
        app.router.add_get("/metrics", self._answering("/metrics", self._metrics))
        # A route and not a middleware, which every call would pass through.
        allowed = {"/run_code": "POST", "/run_jupyter": "POST", "/v1/ping": "GET,HEAD", "/metrics": "GET,HEAD"}

        async def elsewhere(request: web.Request) -> Answer:
            if request.path in allowed:
                return _refusal(405, "Method Not Allowed", {"Allow": allowed[request.path]})
            return _refusal(404, "Not Found")

        app.router.add_route("*", "/{path:.*}", self._answering("other", elsewhere))
        return app

    def stop_admitting(self, seconds: float) -> None:
        """From now on answer 503 to new programs and to pings; the server will be gone in `seconds`, or sooner."""
        self._drained_at = time.monotonic() + seconds

    def _answering(
        self, path: str, handler: _Handler, *, guarded: bool = True
    ) -> Callable[..., Awaitable[web.Response]]:
        gate, telemetry, log_requests = self._gate, self._telemetry, self._config.log_requests
        connections = self._connections

        async def answer_to(request: web.Request) -> web.Response:
            if guarded and not gate.admits(request.headers.get("Authorization")):
                answer = _refusal(401, "a bearer token is needed", {"WWW-Authenticate": "Bearer"})
            else:
                try:
                    answer = await handler(request)
                except asyncio.CancelledError:
                    telemetry.answered(path, _CLIENT_GONE)
                    raise
            connections.set_working(request.transport, False)
            telemetry.answered(path, answer.status)
            if log_requests:
                _log(request, answer)
            return web.Response(
                body=answer.body,
                status=answer.status,
                headers={"Content-Type": answer.content_type, **answer.headers},
            )

        return answer_to

    async def _run_code(self, request: web.Request) -> Answer:
        return await self._run(request, parse_run_code, lambda report, job: response(report))

    async def _run_jupyter(self, request: web.Request) -> Answer:
        return await self._run(request, parse_run_jupyter, jupyter_response)

    async def _run(self, request: web.Request, parse: _Parse, respond: _Respond) -> Answer:
        arrived = time.monotonic()
        if self._drained_at is not None:
            return self._leaving()
        try:
            if request.headers.get("Content-Encoding", "identity").lower() != "identity":
                return _refusal(415, "a compressed body is not taken; send it as it is")
            # Refused before it is read, when the caller says how much it is.
            if (request.content_length or 0) > self._max_bytes:
                return self._too_large()
            body = await request.read()
            if len(body) <= _READ_HERE:
                job = parse(_decoded(body), self._config)
            else:
                job = await asyncio.to_thread(lambda: parse(_decoded(body), self._config))
        except web.HTTPRequestEntityTooLarge:
            return self._too_large()
        except web.RequestPayloadError:
            return _refusal(400, "the body did not come in as the head says")
        except BadRequest as error:
            detail = [{"type": "value_error", "loc": ["body", error.name], "msg": str(error)}]
            return _refusal(422, detail)
        self._connections.set_working(request.transport, True)
        try:
            report = await self._pool.run(job)
        except QueueFull as error:
            return _refusal(429, str(error), self._retry_after())
        except QueueTimeout as error:
            return _refusal(503, str(error), self._retry_after())
        except PoolClosed:
            return self._leaving()
        self._pace.ended()
        body = respond(report, job)
        outcome = _outcome(report, body["status"] == "Success")
        queued = max(0.0, time.monotonic() - arrived - report.execution_time)
        self._telemetry.program_ended(outcome, queued, report.execution_time)
        return Answer(200, _encoded(body), outcome=outcome, queue_seconds=queued, run_seconds=report.execution_time)

    async def _ping(self, request: web.Request) -> Answer:
        if self._drained_at is not None:
            return self._leaving()
        self._pool.replace_dead()
        return _PONG if self._pool.alive else _refusal(503, "no worker is alive; they are being replaced")

    async def _metrics(self, request: web.Request) -> Answer:
        return Answer(200, self._telemetry.exposition(), content_type=CONTENT_TYPE)

    def _too_large(self) -> Answer:
        limit = self._config.max_request_mb
        return _refusal(
            413, f"the body is larger than {limit} MiB; send less, or start the server with a larger --max-request-mb"
        )

    def _retry_after(self) -> dict[str, str]:
        return {"Retry-After": str(self._pace.retry_after(self._pool.waiting))}

    def _leaving(self) -> Answer:
        left = 1.0 if self._drained_at is None else self._drained_at - time.monotonic()
        # Before it is gone, there is nothing here to come back to.
        headers = {"Retry-After": str(min(30, max(1, math.ceil(left))))}
        return _refusal(503, "the sandbox server is shutting down", headers)


def _decoded(body: bytes) -> object:
    try:
        text = body.decode(json.detect_encoding(body), "surrogatepass")  # as json does it
        if len(body) > _READ_HERE:
            refuse_dear(text, _MOST_VALUES, _DEEPEST)
        return json.loads(text)
    except TooDear as error:
        raise BadRequest("body", f"holds {error}") from error
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, or nested too deep
        raise BadRequest("body", f"is not JSON: {error}") from error


def _encoded(body: object) -> bytes:
    # Escaped to ASCII, so that half of a surrogate pair in a program's output is not an error.
    return json.dumps(body).encode("ascii")


def _refusal(status: int, detail: object, headers: dict[str, str] | None = None) -> Answer:
    return Answer(status, _encoded({"detail": detail}), headers or {})


_PONG = Answer(200, _encoded("pong"))


def _outcome(report: ProgramReport, succeeded: bool) -> ProgramOutcome:
    if report.status is ProgramStatus.ERROR:
        return ProgramOutcome.ERROR
    if report.status is ProgramStatus.TIME_LIMIT:
        return ProgramOutcome.TIME_LIMIT
    return ProgramOutcome.SUCCESS if succeeded else ProgramOutcome.FAILED


def _log(request: web.Request, answer: Answer) -> None:
    known = {
        "method": request.method,
        "path": request.path,
        "status": answer.status,
        "outcome": answer.outcome,
        "queue_seconds": None if answer.queue_seconds is None else round(answer.queue_seconds, 6),
        "run_seconds": None if answer.run_seconds is None else round(answer.run_seconds, 6),
    }
    fields = {name: value for name, value in known.items() if value is not None}
    logger.info(" ".join(str(value) for value in fields.values()), extra={FIELDS: fields})
