"""The HTTP side: /run_code and /v1/ping, and nothing that blocks."""

import json
import logging

from aiohttp import web

from verl_tir.sandbox_server.api import BadRequest, parse_run_code, response
from verl_tir.sandbox_server.config import ServerConfig
from verl_tir.sandbox_server.pool import PoolClosed, QueueFull, QueueTimeout, WorkerPool

logger = logging.getLogger(__name__)

_RETRY_AFTER = {"Retry-After": "1"}  # seconds; about what a queue of short programs takes to move on


def build_app(pool: WorkerPool, config: ServerConfig) -> web.Application:
    """The application; `pool` is started and closed by the caller."""

    async def run_code(request: web.Request) -> web.Response:
        try:
            job = parse_run_code(json.loads(await request.read()), config)
        except ValueError as error:  # BadRequest, and JSON or UTF-8 that does not decode
            where = "body" if not isinstance(error, BadRequest) else str(error).partition(":")[0]
            detail = [{"type": "value_error", "loc": ["body", where], "msg": str(error)}]
            return web.json_response({"detail": detail}, status=422)
        try:
            report = await pool.run(job)
        except QueueFull as error:
            return web.json_response({"detail": str(error)}, status=429, headers=_RETRY_AFTER)
        except (QueueTimeout, PoolClosed) as error:
            return web.json_response({"detail": str(error)}, status=503, headers=_RETRY_AFTER)
        return web.json_response(response(report))

    async def ping(request: web.Request) -> web.Response:
        return web.json_response("pong")

    app = web.Application(client_max_size=config.max_request_mb << 20)
    app.router.add_post("/run_code", run_code)
    app.router.add_get("/v1/ping", ping)
    return app
