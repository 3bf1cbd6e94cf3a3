"""How long the parts of `verl-tir data prepare` take on many problems.

The problems are those of a file, many times over, with other numbers in them:

    python benchmarks/data_speed.py --problems data/math.parquet --against data/math500.parquet
"""

from __future__ import annotations

import argparse
import random
import re
import resource
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from tir_tools.data.columns import USUAL
from tir_tools.data.duplicates import find_duplicates
from tir_tools.data.judge import PoolJudge
from tir_tools.data.normal import problem_id
from tir_tools.data.overlap import Held, HeldOut
from tir_tools.data.problem import Problem
from tir_tools.data.reading import Reader
from tir_tools.data.rules import Rule, RuleLimits, text_finding
from tir_tools.data.verl_format import write_problems

T = TypeVar("T")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=Path, required=True, help="file of problems")
    parser.add_argument("--against", type=Path, nargs="+", required=True, help="files of held-out problems")
    parser.add_argument("--count", type=int, default=40_000, help="problems to make of them")
    parser.add_argument("--workers", type=int, default=2, help="processes that read ground truths")
    options = parser.parse_args()

    given = Reader(USUAL).read([options.problems]).problems
    held = [Held(item, path.name) for path in options.against for item in Reader(USUAL).read([path]).problems]
    made = varied(given, options.count)
    print(f"{len(made):,} problems made of {len(given):,}, against {len(held):,}")
    print("seconds: wall, processor of this process")
    timed("ids", lambda: [problem_id(item.question) for item in made])
    timed("rules on the text", lambda: [text_finding(item, RuleLimits(), frozenset(Rule)) for item in made])
    index = timed("index of held-out problems", lambda: HeldOut(held))
    timed("overlap", lambda: [index.match(item, RuleLimits().near_overlap) for item in made])
    timed("writing", lambda: write_problems(made, "train", Path("data_speed.parquet")))
    timed("reading", lambda: Reader(USUAL).read([Path("data_speed.parquet")]))
    Path("data_speed.parquet").unlink()
    with PoolJudge(options.workers) as judge:
        timed("duplicates", lambda: find_duplicates(made, judge))
        answers = [answer for item in made for answer in item.answers]
        verdicts = timed(f"reading ground truths, {options.workers} processes", lambda: judge.readable(answers))
    workers = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"  processor of these: {workers.ru_utime + workers.ru_stime:.1f}")
    counts = ", ".join(f"{verdict} {count:,}" for verdict, count in Counter(verdicts).items())
    print(f"{len(set(answers)):,} different ground truths; {counts}")


def varied(problems: tuple[Problem, ...], count: int) -> list[Problem]:
    """`count` problems: the given ones again and again, each time with other numbers."""
    source = random.Random(0)

    def other(text: str) -> str:
        # Exponents stay, or they would soon be larger than any in a data set.
        return re.sub(
            r"([\^_]\{?\d+)|\d+", lambda found: found[1] or str(source.randrange(1, 10 ** len(found[0][:4]))), text
        )

    made = []
    while len(made) < count:
        for item in problems[: count - len(made)]:
            question = other(item.question)
            answers = item.answers if question == item.question else tuple(map(other, item.answers))
            made.append(replace(item, id=problem_id(question), question=question, answers=answers, row=len(made) + 1))
    return made


def timed(name: str, work: Callable[[], T]) -> T:
    wall, processor = time.perf_counter(), time.process_time()
    result = work()
    print(f"  {name}: {time.perf_counter() - wall:.1f}, {time.process_time() - processor:.1f}", flush=True)
    return result


if __name__ == "__main__":
    main()
