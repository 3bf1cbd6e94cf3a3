"""The sides of a comparison: how a program is sent to each kind of server, and what counts as the right answer.

All sides are driven through one bare pooled aiohttp session, so that none has a better client than another.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import aiohttp
from sandbox_programs import Program

RUN_TIMEOUT = 20.0  # seconds that a program may run; none of them needs more than one
_HEADERS = {"Content-Type": "application/json"}


class Wire(StrEnum):
    """What a server speaks."""

    RUN_CODE = "run_code"
    """Sandbox Fusion's /run_code, one program per request."""
    JUDGE = "judge"
    """code-judge's /run, one program per request. Its time limit is set where its workers are started."""
    JUDGE_BATCH = "judge_batch"
    """code-judge's /run/long-batch, all programs in flight in one request, which its documentation prefers."""


@dataclass(frozen=True)
class Side:
    """One server of the comparison."""

    label: str
    url: str
    """Base URL."""
    wire: Wire


@dataclass(frozen=True)
class Answer:
    """What came of one program."""

    seconds: float
    """From sending to answer; for a batch, that of the batch."""
    right: bool
    """Whether the program's standard output came back, and with the status that it deserves."""


async def send(session: aiohttp.ClientSession, side: Side, programs: Sequence[Program]) -> list[Answer]:
    """Send programs in one request (one program, unless the wire is a batch) and judge the answers."""
    path, body = _request(side.wire, programs)
    loop = asyncio.get_running_loop()
    started = loop.time()
    try:
        async with session.post(side.url + path, data=body, headers=_HEADERS) as response:
            data = await response.read()
        answers = _rights(side.wire, json.loads(data), programs) if response.status == 200 else [False] * len(programs)
    except (aiohttp.ClientError, TimeoutError, ValueError):
        answers = [False] * len(programs)
    seconds = loop.time() - started
    return [Answer(seconds, right) for right in answers]


def _request(wire: Wire, programs: Sequence[Program]) -> tuple[str, bytes]:
    if wire is Wire.RUN_CODE:
        (program,) = programs
        body: dict[str, Any] = {"code": program.code, "language": "python", "run_timeout": RUN_TIMEOUT}
        return "/run_code", json.dumps(body).encode()
    submissions = [{"type": "python", "solution": program.code} for program in programs]
    if wire is Wire.JUDGE:
        return "/run", json.dumps(submissions[0]).encode()
    return "/run/long-batch", json.dumps({"type": "batch", "submissions": submissions}).encode()


def _rights(wire: Wire, answer: dict[str, Any], programs: Sequence[Program]) -> list[bool]:
    if wire is Wire.RUN_CODE:
        (program,) = programs
        status = "Failed" if program.fails else "Success"
        return [answer["status"] == status and answer["run_result"]["stdout"] == program.stdout]
    results = [answer] if wire is Wire.JUDGE else answer["results"]
    return [
        result["reason"] == "" and result["run_success"] != program.fails and result["stdout"] == program.stdout
        for result, program in zip(results, programs, strict=True)
    ]
