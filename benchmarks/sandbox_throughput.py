"""Calls per second of the embedded sandbox and of its peers, side by side in one run.

    python benchmarks/sandbox_throughput.py --sandbox-fusion none=http://127.0.0.1:8180 --code-judge http://127.0.0.1:8190

The sides take turns, round by round, with the same programs and the same number in flight. In a round that many callers
each make a call, and make calls until the round's share of `--seconds` is over and a whole number of passes
through the programs is made; so a slow side makes fewer calls, but never fewer at once and never easier ones. A side
gets no further round once it has used its `--seconds`. A call succeeds when the program's standard output is right; one
that takes longer than `--client-timeout` has failed. The rate is that of successes. Rates depend on the machine and on
what else runs there; compare side by side only.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import itertools
import json
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from sandbox_programs import PROGRAMS, Program
from sandbox_sides import Answer, Side, Wire, send

from sandbox_server import EmbeddedSandbox, ServerConfig

ROUNDS = 3
OURS = "embedded"


@dataclass
class Tally:
    """What one side did in one cell, over all its rounds."""

    answers: list[Answer] = field(default_factory=list)
    seconds: float = 0.0
    """Wall time of the rounds."""
    client_seconds: float = 0.0
    """Processor time that this process used meanwhile: near the wall time, the client would be the limit."""


@dataclass(frozen=True)
class Cell:
    """One side's result for one kind of program at one number in flight."""

    program: str
    in_flight: int
    side: str
    calls: int
    rate: float
    """Successful calls per second."""
    p50: float
    """Seconds of a call, successful or not."""
    p99: float
    succeeded: float
    """Share of the calls."""
    client_load: float
    """Share of one processor that the client used."""


async def play(
    session: aiohttp.ClientSession, side: Side, programs: Sequence[Program], in_flight: int, budget: float
) -> Tally:
    """One round of one side."""
    stream = itertools.cycle(programs)
    answers: list[Answer] = []
    taken = 0
    began, used = time.perf_counter(), time.process_time()
    callers, size = (1, in_flight) if side.wire is Wire.JUDGE_BATCH else (in_flight, 1)

    async def caller() -> None:
        nonlocal taken
        while True:
            # Whole passes only: a side that gets less far must not have met an easier mixture.
            missing = -taken % len(programs)
            late = time.perf_counter() - began >= budget and taken >= in_flight
            if late and not missing:
                return
            batch = list(itertools.islice(stream, min(size, missing) if late else size))
            taken += len(batch)
            answers.extend(await send(session, side, batch))

    await asyncio.gather(*(caller() for _ in range(callers)))
    return Tally(answers, time.perf_counter() - began, time.process_time() - used)


async def compare(sides: list[Side], name: str, in_flight: int, seconds: float, client_timeout: float) -> list[Cell]:
    """All sides in turns."""
    tallies = {side.label: Tally() for side in sides}
    timeout = aiohttp.ClientTimeout(total=client_timeout)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        for side in sides:  # connections, and what a server does on its first call, are not measured
            await send(session, side, [PROGRAMS[name][0]])
        for _ in range(ROUNDS):
            for side in sides:
                total = tallies[side.label]
                if total.seconds >= seconds:
                    continue
                tally = await play(session, side, PROGRAMS[name], in_flight, seconds / ROUNDS)
                total.answers += tally.answers
                total.seconds += tally.seconds
                total.client_seconds += tally.client_seconds
    return [summary(name, in_flight, side.label, tallies[side.label]) for side in sides]


def summary(name: str, in_flight: int, label: str, tally: Tally) -> Cell:
    """The numbers of a cell."""
    times = sorted(answer.seconds for answer in tally.answers)
    right = sum(answer.right for answer in tally.answers)
    return Cell(
        program=name,
        in_flight=in_flight,
        side=label,
        calls=len(times),
        rate=right / tally.seconds,
        p50=statistics.median(times),
        p99=times[min(len(times) - 1, int(len(times) * 0.99))],
        succeeded=right / len(times),
        client_load=tally.client_seconds / tally.seconds,
    )


def table(cells: list[Cell]) -> str:
    """Markdown rows; the ratio is our rate to that of the side."""
    ours = cells[0].rate
    rows = []
    for cell in cells:
        ratio = f"{ours / cell.rate:.1f}" if cell.rate else "none succeeded"
        rows.append(
            f"| {cell.program} | {cell.in_flight} | {cell.side} | {cell.rate:.1f} | {cell.p50 * 1e3:.0f} | "
            f"{cell.p99 * 1e3:.0f} | {cell.succeeded:.1%} | {cell.calls} | {cell.client_load:.0%} | {ratio} |"
        )
    return "\n".join(rows)


def labelled(text: str) -> tuple[str, str]:
    """LABEL=URL, or URL alone."""
    label, _, url = text.rpartition("=")
    return label, url.rstrip("/")


def sides_of(arguments: argparse.Namespace, ours: str) -> list[Side]:
    """Ours first."""
    sides = [Side(OURS, ours, Wire.RUN_CODE)]
    for label, url in arguments.sandbox_fusion:
        sides.append(Side(f"Sandbox Fusion {label or url}", url, Wire.RUN_CODE))
    for label, url in arguments.code_judge:
        sides.append(Side(f"code-judge {label or url}", url, Wire.JUDGE))
        sides.append(Side(f"code-judge {label or url}, batch", url, Wire.JUDGE_BATCH))
    return sides


def run(arguments: argparse.Namespace, ours: str) -> list[Cell]:
    """Every cell, printed as it is done."""
    print(
        f"{os.cpu_count()} processors; {ROUNDS} rounds, {arguments.seconds:g} s per side and cell, "
        f"client time-out {arguments.client_timeout:g} s; the ratio is embedded to side\n"
    )
    print("| program | in flight | side | calls/s | p50 ms | p99 ms | succeeded | calls | client | ratio |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    sides, cells = sides_of(arguments, ours), []
    for name, in_flight in itertools.product(arguments.programs, arguments.in_flight):
        done = asyncio.run(compare(sides, name, in_flight, arguments.seconds, arguments.client_timeout))
        print(table(done), flush=True)
        cells += done
    return cells


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    peer = {"type": labelled, "action": "append", "default": [], "metavar": "[LABEL=]URL"}
    parser.add_argument("--sandbox-fusion", **peer, help="a running Sandbox Fusion; repeatable")
    parser.add_argument("--code-judge", **peer, help="a running code-judge; repeatable")
    parser.add_argument("--ours", metavar="URL", help="a running embedded server; without it one is started")
    parser.add_argument("--workers", type=int, help="workers of the server that is started (default: its own)")
    parser.add_argument("--programs", nargs="+", choices=list(PROGRAMS), default=list(PROGRAMS))
    parser.add_argument("--in-flight", type=int, nargs="+", default=[1, 16, 128, 1024], help="calls at a time")
    parser.add_argument("--seconds", type=float, default=15.0, help="time per side and cell (default: 15)")
    parser.add_argument("--client-timeout", type=float, default=120.0, help="seconds a call may take (default: 120)")
    parser.add_argument("--json", type=Path, help="also write the cells to this file")
    arguments = parser.parse_args()
    if arguments.ours:
        cells = run(arguments, arguments.ours.rstrip("/"))
    else:
        config = ServerConfig(port=0, **({"workers": arguments.workers} if arguments.workers else {}))
        with EmbeddedSandbox(config) as server:
            cells = run(arguments, server.endpoint)
    if arguments.json:
        arguments.json.write_text(json.dumps([dataclasses.asdict(cell) for cell in cells], indent=1) + "\n")


if __name__ == "__main__":
    main()
