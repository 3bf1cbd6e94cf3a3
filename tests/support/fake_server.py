"""A server that answers with one thing after the other, and the answers that a client must survive."""

import asyncio
import time

from aiohttp import web

from sandbox_client import RetryPolicy, Timeouts

QUICK = RetryPolicy(attempts=3, total_timeout=10.0, wait_initial=0.01, wait_max=1.0, wait_jitter=0.01)
SHORT = Timeouts(connect=1.0, total=0.3, margin=0.1)
ROOMY = Timeouts(connect=1.0, total=5.0, margin=0.1)


def success(stdout="2\n"):
    run_result = {"status": "Finished", "execution_time": 0.1, "return_code": 0, "stdout": stdout, "stderr": ""}
    return web.json_response({"status": "Success", "message": "", "run_result": run_result})


class FakeServer:
    """Answers /run_code with what `answers` yield in turn, the last one for ever."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.calls = []
        self.in_flight = self.most_in_flight = 0

    async def __aenter__(self):
        app = web.Application()
        app.router.add_post("/run_code", self.handle)
        app.router.add_get("/v1/ping", self.handle)
        self.runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self.runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *exc_info):
        await self.runner.cleanup()

    async def handle(self, request):
        self.calls.append(time.monotonic())
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        try:
            return await answer(request)
        finally:
            self.in_flight -= 1


def answering(make):
    async def answer(request):
        return make()

    return answer


async def resets(request):
    # Closing with unread data makes the kernel send a reset and not a farewell.
    request.transport.abort()
    return web.Response()


async def hangs(request):
    await asyncio.sleep(30)
    return success()


async def is_slow(request):
    await asyncio.sleep(0.05)
    return success()


async def breaks_off(request):
    answer = web.StreamResponse(headers={"Content-Length": "1000", "Content-Type": "application/json"})
    await answer.prepare(request)
    await answer.write(b'{"status": ')
    request.transport.close()
    return answer


def failing(status, **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return answering(lambda: web.Response(status=status, text="no", headers=headers))


def body(value):
    return answering(lambda: web.json_response(value))


works = answering(success)
