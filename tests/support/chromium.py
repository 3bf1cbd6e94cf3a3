"""Debian's Chromium without a screen, driven over the DevTools protocol: what a page does in a real browser."""

from __future__ import annotations

import asyncio
import base64
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

EXECUTABLES = ("chromium", "chromium-browser", "google-chrome")


def find_chromium() -> str | None:
    """The browser's command, or None where there is none."""
    return next((path for name in EXECUTABLES if (path := shutil.which(name))), None)


@dataclass(slots=True)
class Page:
    """A tab, and what it did since it was opened."""

    browser: Chromium
    session: str
    requests: list[str] = field(default_factory=list)
    """URLs that it asked for, the page itself among them."""
    errors: list[str] = field(default_factory=list)
    """Exceptions of its scripts, and what its policy refused."""

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command of the DevTools protocol."""
        return await self.browser.call(method, self.session, **parameters)

    async def open(self, path: Path) -> None:
        """Load a file, and wait until its scripts are ready."""
        await self.call("Page.navigate", url=path.resolve().as_uri())
        await self.until("document.readyState === 'complete'")

    async def evaluate(self, expression: str) -> Any:
        """The value of an expression; a promise is waited for. Raises AssertionError where it throws."""
        answer = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def until(self, expression: str, seconds: float = 15.0) -> None:
        """Wait for an expression to hold."""
        for _ in range(int(seconds / 0.05)):
            if await self.evaluate(expression):
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"after {seconds} s it is still not true: {expression}")

    async def size(self, width: int, height: int, *, phone: bool = False, dark: bool = False) -> None:
        """Give it a screen."""
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone
        )
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        await self.call("Emulation.setEmulatedMedia", features=scheme)

    async def press(self, key: str) -> None:
        """Press a key on whatever has the focus."""
        for kind in ("keyDown", "keyUp"):
            await self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=_CODES.get(key, 0)
            )

    async def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Write what it shows as PNG."""
        answer = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))


_CODES = {"Tab": 9, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Home": 36, "End": 35}


class Chromium:
    """A browser process; an async context manager that leaves nothing behind."""

    async def __aenter__(self) -> Self:
        command = find_chromium()
        assert command is not None
        self._folder = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        self._process = subprocess.Popen(
            [
                command,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--hide-scrollbars",
                "--remote-debugging-port=0",
                f"--user-data-dir={self._folder.name}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        port = await self._port(Path(self._folder.name) / "DevToolsActivePort")
        self._http = aiohttp.ClientSession()
        self._socket = await self._http.ws_connect(f"ws://127.0.0.1:{port[0]}{port[1]}", max_msg_size=1 << 28)
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._pages: dict[str, Page] = {}
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.cancel()
        await self._http.close()
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._folder.cleanup()

    async def _port(self, file: Path) -> list[str]:
        for _ in range(600):
            if file.exists() and len(lines := file.read_text().splitlines()) == 2:
                return lines
            assert self._process.poll() is None, "the browser ended before it was ready"
            await asyncio.sleep(0.05)
        raise AssertionError("the browser did not begin to listen within 30 s")

    async def _read(self) -> None:
        async for message in self._socket:
            data = message.json()
            if "id" in data:
                self._waiting.pop(data["id"]).set_result(data)
            elif (page := self._pages.get(data.get("sessionId", ""))) is not None:
                self._note(page, data["method"], data["params"])

    @staticmethod
    def _note(page: Page, method: str, params: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            page.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            page.errors.append(str(params["exceptionDetails"]))
        elif method == "Log.entryAdded":
            page.errors.append(params["entry"]["text"])

    async def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """A command; raises AssertionError where the browser refuses it."""
        number = next(self._numbers)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json(
            {"id": number, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        )
        answer = await asyncio.wait_for(self._waiting[number], 30)
        assert "error" not in answer, (method, answer["error"])
        return answer["result"]

    @asynccontextmanager
    async def page(self) -> AsyncIterator[Page]:
        """A new tab."""
        target = (await self.call("Target.createTarget", url="about:blank"))["targetId"]
        session = (await self.call("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        page = self._pages[session] = Page(self, session)
        for domain in ("Page", "Runtime", "Network", "Log"):
            await page.call(f"{domain}.enable")
        yield page
        await self.call("Target.closeTarget", targetId=target)
