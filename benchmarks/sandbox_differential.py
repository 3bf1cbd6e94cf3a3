"""Where the embedded sandbox answers otherwise than Sandbox Fusion.

    python benchmarks/sandbox_differential.py --peer http://127.0.0.1:8180                  # both live; each difference
    python benchmarks/sandbox_differential.py --peer http://127.0.0.1:8180 --record FILE    # record the peer's answers
    python benchmarks/sandbox_differential.py --recorded FILE                               # ours against a recording

The test suite compares the embedded server with `tests/data/sandbox_fusion_answers.json`, recorded from Sandbox Fusion
with `isolation: none`. To record, everything is asked twice: answers that are not the same twice are named, and nothing
is written. `--record` with `--only` replaces the answers to those cases.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import sys
from pathlib import Path

from sandbox_answers import CASES, Answer, Difference, ask, differences

from sandbox_server import EmbeddedSandbox, ServerConfig

SHOWN = 120  # characters of a value


def answers_of(endpoint: str, only: list[str]) -> dict[str, Answer]:
    """One at a time: Sandbox Fusion may lose output when it is busy."""
    cases = [case for case in CASES if not only or case.name in only]
    return asyncio.run(ask(endpoint.rstrip("/"), cases, in_flight=1))


def record(endpoint: str, file: Path, only: list[str]) -> None:
    """Write the peer's answers, or replace some. Raises SystemExit when they are not the same twice."""
    first, second = answers_of(endpoint, only), answers_of(endpoint, only)
    if changed := differences(first, second):
        show(changed)
        sys.exit("these answers changed from one call to the next: nothing recorded")
    known = json.loads(file.read_text())["answers"] | first if only else first
    answers = {case.name: known[case.name] for case in CASES}
    python = ".".join(platform.python_version_tuple()[:2])
    file.write_text(json.dumps({"python": python, "answers": answers}, indent=1) + "\n")


def show(found: list[Difference]) -> None:
    """One paragraph per difference."""
    for difference in found:
        print(f"{difference.case}: {difference.field}")
        print(f"    theirs {difference.theirs[:SHOWN]}")
        print(f"    ours   {difference.ours[:SHOWN]}")
    print(f"{len(found)} differences in {len({difference.case for difference in found})} of {len(CASES)} cases")


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    theirs = parser.add_mutually_exclusive_group(required=True)
    theirs.add_argument("--peer", metavar="URL", help="a running Sandbox Fusion")
    theirs.add_argument("--recorded", type=Path, metavar="FILE", help="a recording instead of a running peer")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write the peer's answers and stop")
    parser.add_argument("--ours", metavar="URL", help="a running embedded server; without it one is started")
    parser.add_argument("--rows", action="store_true", help="print rows for docs/sandbox-fusion-differences.md")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these cases only")
    arguments = parser.parse_args()
    if arguments.record:
        if not arguments.peer:
            parser.error("--record needs --peer")
        record(arguments.peer, arguments.record, arguments.only)
        return
    if arguments.peer:
        there = answers_of(arguments.peer, arguments.only)
    else:
        there = json.loads(arguments.recorded.read_text())["answers"]
        there = {name: answer for name, answer in there.items() if not arguments.only or name in arguments.only}
    if arguments.ours:
        here = answers_of(arguments.ours, arguments.only)
    else:
        with EmbeddedSandbox(ServerConfig(port=0, workers=2)) as server:
            here = answers_of(server.endpoint, arguments.only)
    found = differences(there, here)
    if arguments.rows:
        print("\n".join(difference.row() for difference in found))
    else:
        show(found)


if __name__ == "__main__":
    main()
