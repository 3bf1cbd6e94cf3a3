"""Answers of a sandbox server in a form that can be compared: what differs from call to call is taken out."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import sandbox_case_cells
import sandbox_case_programs
import sandbox_case_requests
from sandbox_cases import Case

CASES: tuple[Case, ...] = sandbox_case_programs.CASES + sandbox_case_requests.CASES + sandbox_case_cells.CASES

Answer = dict[str, Any]
"""The HTTP status, and the body in comparable form."""

_TIMEOUT = aiohttp.ClientTimeout(total=90)
_LONG, _ENDLESS = 2_000, 60_000  # characters; how many more of an endless output come back is chance
_SHOWN = 60  # characters of a value in the table
_REPLACED = (
    (re.compile(r"\x1b\[[0-9;]*m"), ""),  # colours
    (re.compile(r"(?:/[\w.-]+)*/tmp\w{8}/tmp\w{8}\.py"), "<program>"),
    (re.compile(r"(?:/[\w.-]+)*/tmp\w{8}(?![\w.])"), "<cwd>"),
    (re.compile(r"tmp\w{8}\.py"), "<program>"),
    (re.compile(r"(?:/[\w.+-]+)*/lib/python3\.\d+/(\S+?)(\", line |:)\d+"), r"<lib>/\1\2N"),
    (re.compile(r"\b0x[0-9a-f]{6,}"), "<address>"),
    (re.compile(r"\bIn ?\[\d+\]"), "In[N]"),
)


@dataclass(frozen=True)
class Difference:
    """One place where two answers to a request are not the same."""

    case: str
    field: str
    theirs: str
    """What Sandbox Fusion has there, as JSON."""
    ours: str

    def row(self) -> str:
        """One line of the table in docs/sandbox-fusion-differences.md."""
        cells = (f"`{self.case}`", self.field, *(f"`{_cut(value)}`" for value in (self.theirs, self.ours)))
        return f"| {' | '.join(cells)} |"


async def ask(endpoint: str, cases: Sequence[Case], in_flight: int) -> dict[str, Answer]:
    """The comparable answers to all cases, by name."""
    turn = asyncio.Semaphore(in_flight)
    connector = aiohttp.TCPConnector(force_close=True)  # an answer that breaks a connection must not spoil the next
    async with aiohttp.ClientSession(timeout=_TIMEOUT, connector=connector) as session:

        async def one(case: Case) -> Answer:
            headers = {"Content-Type": "application/json"}
            try:
                async with turn, session.post(endpoint + case.path, data=case.body, headers=headers) as response:
                    return comparable(response.status, await response.read())
            except aiohttp.ClientError:
                return {"http": "connection lost"}

        return dict(zip((case.name for case in cases), await asyncio.gather(*map(one, cases)), strict=True))


def comparable(status: int, data: bytes) -> Answer:
    """The answer without times, paths, addresses, and words that only a person reads."""
    if status != 200:
        return {"http": status}  # the words of a refusal are for people
    body = json.loads(data)
    for result in (body.get("run_result"), body.get("driver")):
        if result is not None and result.get("execution_time") is not None:
            result["execution_time"] = "seconds"
    if body.get("driver") is not None:  # what the process that runs the cells prints is its own business
        body["driver"] = {name: body["driver"].get(name) for name in ("status", "return_code")}
    for cell in body.get("cells", []):  # how a traceback is drawn is not compared
        for error in cell["error"]:
            del error["traceback"]
    if body.get("message"):
        body["message"] = "some text"
    return {"http": status, "body": _plain(body)}


def differences(theirs: dict[str, Answer], ours: dict[str, Answer]) -> list[Difference]:
    """All of them, in the order of the cases."""
    found = []
    for name, answer in theirs.items():
        if answer["http"] != ours[name]["http"]:  # the rest follows from that
            found.append(Difference(name, "http", _outcome(answer), _outcome(ours[name])))
            continue
        if (there := _cells(answer)) != (here := _cells(ours[name])):
            found.append(Difference(name, "cells", f"{there} cells", f"{here} cells"))
            continue
        left, right = dict(_leaves("", answer)), dict(_leaves("", ours[name]))
        for field in sorted(left.keys() | right.keys()):
            if (there := left.get(field, "absent")) != (here := right.get(field, "absent")):
                found.append(Difference(name, field, there, here))
    return found


def _cut(value: str) -> str:
    """A value as the table shows it: its end, where errors say what they are."""
    text = value.replace("|", "/").replace("`", "'")
    return text if len(text) <= _SHOWN else f"...{text[-_SHOWN:]}"


def _outcome(answer: Answer) -> str:
    return " ".join(str(part) for part in (answer["http"], answer.get("body", {}).get("status")) if part is not None)


def _cells(answer: Answer) -> int:
    return len(answer.get("body", {}).get("cells", []))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, str):
        return value
    if len(value) > _ENDLESS:
        return f"{value[:1]}... more than {_ENDLESS} characters"
    if len(value) > _LONG:
        return f"{value[:1]}... {len(value)} characters"
    for pattern, replacement in _REPLACED:
        value = pattern.sub(replacement, value)
    return value


def _leaves(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(f"{path}.{key}" if path else key, item)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for index, item in enumerate(value):
            yield from _leaves(f"{path}.{index}", item)
    elif value not in ([], {}):  # nothing there; what the other side has there is told by its leaves
        yield path.removeprefix("body."), json.dumps(value, ensure_ascii=False)
