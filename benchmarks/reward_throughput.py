"""Comparisons per second and their latency, ours beside math-verify's.

    python benchmarks/reward_throughput.py
    python benchmarks/reward_throughput.py --problems train.parquet --groups 64 --samples 16

Without `--problems` the labelled pairs of the project are compared, each once: the hard mixture. With it, groups of
sampled answers to the file's problems: about half right, wrong ones that come again. All sides compare the same pairs:

- `ours`: the reward's pool with two workers, as `compute_score` uses it, `--in-flight` comparisons at a time;
- `math-verify`: called in this process, one after the other;
- `2 processes`: the same in a `multiprocessing.Pool`, one pair per task;
- `Ray`: one pair per Ray task on two CPUs.

Start-up does not count. Latency is from asking to verdict; where many are asked at a time it holds the wait for a
worker.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import random
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil
from reward_peers import Pair, ground_truths, labelled_pairs, math_verify_says, sampled_groups

from math_answers import ScoringPool

WORKERS = 2
# Equals of another form, which need algebra: so they start every worker.
WARM_UP = [Pair(rf"\sqrt{{{n * n}}}", str(n)) for n in range(2, 34)]


@dataclass(frozen=True, slots=True)
class Measured:
    """One side's run over all pairs."""

    seconds: float
    cpu_seconds: float
    """Of this process and all below it; on a busy machine the better measure of what a comparison costs."""
    latencies: list[float]

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.seconds

    def percentile(self, share: float) -> float:
        return sorted(self.latencies)[min(len(self.latencies) - 1, int(share * len(self.latencies)))]


def cpu_seconds() -> float:
    """Spent so far by this process and those that it started and that are still there."""
    own = psutil.Process()
    return sum(sum(process.cpu_times()[:2]) for process in [own, *own.children(recursive=True)])


async def in_flight(pairs: list[Pair], limit: int, ask: Callable[[Pair], object]) -> Measured:
    """Ask for all pairs, so many at a time; `ask` returns an awaitable."""
    gate, latencies = asyncio.Semaphore(limit), []

    async def one(pair: Pair) -> None:
        async with gate:
            began = time.perf_counter()
            await ask(pair)  # type: ignore[misc]
            latencies.append(time.perf_counter() - began)

    cpu, began = cpu_seconds(), time.perf_counter()
    await asyncio.gather(*map(one, pairs))
    return Measured(time.perf_counter() - began, cpu_seconds() - cpu, latencies)


def ours(pairs: list[Pair], limit: int) -> Measured:
    with contextlib.closing(ScoringPool(WORKERS, timeout=5.0, memory_limit_mb=2048)) as pool:

        async def run() -> Measured:
            await in_flight(WARM_UP, limit, lambda pair: pool.compare(pair.answer, pair.truth))
            return await in_flight(pairs, limit, lambda pair: pool.compare(pair.answer, pair.truth))

        return asyncio.run(run())


def in_process(pairs: list[Pair], limit: int) -> Measured:
    for pair in WARM_UP:
        math_verify_says(pair)
    latencies = []
    cpu = cpu_seconds()
    for pair in pairs:
        began = time.perf_counter()
        math_verify_says(pair)
        latencies.append(time.perf_counter() - began)
    return Measured(sum(latencies), cpu_seconds() - cpu, latencies)


def two_processes(pairs: list[Pair], limit: int) -> Measured:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(WORKERS, mp_context=context) as executor:

        async def run() -> Measured:
            loop = asyncio.get_running_loop()
            await in_flight(WARM_UP, limit, lambda pair: loop.run_in_executor(executor, math_verify_says, pair))
            return await in_flight(pairs, limit, lambda pair: loop.run_in_executor(executor, math_verify_says, pair))

        return asyncio.run(run())


def ray_tasks(pairs: list[Pair], limit: int) -> Measured:
    import ray

    path = {"PYTHONPATH": str(Path(__file__).parent)}
    ray.init(
        address="local", num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": path}
    )
    task = ray.remote(math_verify_says)

    async def run() -> Measured:
        await in_flight(WARM_UP, limit, task.remote)
        return await in_flight(pairs, limit, task.remote)

    try:
        return asyncio.run(run())
    finally:
        ray.shutdown()


SIDES = {"ours": ours, "math-verify": in_process, "2 processes": two_processes, "Ray": ray_tasks}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=Path, help="parquet file in verl's format")
    parser.add_argument("--groups", type=int, default=64, help="problems that are sampled")
    parser.add_argument("--samples", type=int, default=16, help="answers to each")
    parser.add_argument("--in-flight", type=int, default=32, help="comparisons asked for at a time")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each side, in turn; medians are printed")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.problems is None:
        pairs = labelled_pairs()
        random.Random(options.seed).shuffle(pairs)
    else:
        pairs = sampled_groups(ground_truths(options.problems), options.groups, options.samples, options.seed)
    print(f"{len(pairs)} comparisons, {len(set(pairs))} different; {options.in_flight} at a time, {WORKERS} processes")
    runs: dict[str, list[Measured]] = {side: [] for side in options.sides}
    for _ in range(options.rounds):
        for side, results in runs.items():
            results.append(SIDES[side](pairs, options.in_flight))
    rates = {side: statistics.median(run.rate for run in results) for side, results in runs.items()}
    for side, results in runs.items():
        p50, p99 = (statistics.median(run.percentile(share) for run in results) * 1e3 for share in (0.5, 0.99))
        ratio = f"  ours: {rates['ours'] / rates[side]:.1f}x" if side != "ours" and "ours" in rates else ""
        cpu = statistics.median(run.cpu_seconds for run in results) / len(pairs) * 1e3
        print(f"{side:12} {rates[side]:9.1f}/s  p50 {p50:8.2f} ms  p99 {p99:8.2f} ms  CPU {cpu:6.2f} ms each{ratio}")


if __name__ == "__main__":
    main()
