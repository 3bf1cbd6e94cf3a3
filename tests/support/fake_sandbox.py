"""A sandbox that fails on demand, and what the tests of the client on it share."""

import asyncio
import re
import time

from aiohttp import web

from sandbox_client import BreakerPolicy, ProbePolicy, RetryPolicy, Timeouts

QUICK = {
    "timeouts": Timeouts(connect=0.5, total=3.0, margin=0.1),
    "retry": RetryPolicy(
        attempts=10, total_timeout=6.0, wait_initial=0.01, wait_max=0.1, wait_jitter=0.01, patience=3.0
    ),
    "breaker": BreakerPolicy(cool_down=0.05, cool_down_max=0.1),
    "probe": ProbePolicy(quiet_seconds=0.2, timeout=0.2),
}


def result(stdout="2\n"):
    run_result = {"status": "Finished", "execution_time": 0.0, "return_code": 0, "stdout": stdout, "stderr": ""}
    return web.json_response({"status": "Success", "message": "", "run_result": run_result, "files": {}})


class FakeSandbox:
    """A sandbox that works, or fails as `mode` says, and can be stopped and started on its port."""

    def __init__(self, mode="works"):
        self.mode = mode
        self.codes = []
        self.port = 0

    async def start(self):
        app = web.Application()
        app.router.add_post("/run_code", self.run_code)
        self.runner = web.AppRunner(app, shutdown_timeout=0.01)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", self.port).start()
        self.port = self.runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}"

    async def stop(self):
        await self.runner.cleanup()

    async def __aenter__(self):
        await self.start()
        return self

    async def __aexit__(self, *exc_info):
        await self.stop()

    @property
    def probes(self):
        return [code for code in self.codes if code != "program"]

    async def run_code(self, request):
        code = (await request.json())["code"]
        self.codes.append(code)
        match self.mode:
            case "hangs":
                while self.mode == "hangs":
                    await asyncio.sleep(0.01)
                request.transport.abort()
            case "hangs on programs" if code == "program":
                await asyncio.sleep(30)
            case "is full" if code != "program":
                return web.Response(status=429)
            case "is full":
                await asyncio.sleep(0.9)
            case "resets":
                request.transport.abort()
            case "HTML":
                return web.Response(text="<html>", content_type="text/html")
            case "slow":
                await asyncio.sleep(0.05)
            case int(status):
                return web.Response(status=status)
        printed = re.fullmatch(r"print\((\d+)\)", code)
        return result(f"{printed[1]}\n" if printed else "2\n")


async def program(client, **settings):
    return await client.run_code("program", run_timeout=0.1, **settings)


async def until(condition, seconds=3.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not come about"
        await asyncio.sleep(0.005)
