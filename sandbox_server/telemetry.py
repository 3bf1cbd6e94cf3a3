"""What the server counts, for Prometheus."""

from collections.abc import Iterator
from enum import StrEnum
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_LATEST
"""Of `Telemetry.exposition`."""

_PREFIX = "verl_tir_sandbox_"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class ProgramOutcome(StrEnum):
    """How a program ended."""

    SUCCESS = "success"
    FAILED = "failed"
    TIME_LIMIT = "time_limit"
    ERROR = "error"


class Workload(Protocol):
    """What is read of the pool."""

    waiting: int
    """Programs in the queue."""

    running: int
    """Programs that run."""

    alive: int
    """Workers that can run programs."""

    replaced: int
    """Workers lost and replaced since the start."""


class Telemetry:
    """Counters of one server. A registry of its own, so that several servers can live in one process."""

    def __init__(self, pool: Workload, workers: int) -> None:
        """`workers`: how many there should be."""
        self._registry = CollectorRegistry()
        # CPU, memory and descriptors of the server's own process; programs are not in it.
        ProcessCollector(registry=self._registry)
        self._registry.register(_PoolCollector(pool, workers))
        self._requests = Counter(
            f"{_PREFIX}requests",
            "Answered requests.",
            ("path", "code"),
            registry=self._registry,
        )
        programs = Counter(f"{_PREFIX}programs", "Ended programs.", ("outcome",), registry=self._registry)
        self._programs = {outcome: programs.labels(outcome.value) for outcome in ProgramOutcome}
        self._queue = Histogram(
            f"{_PREFIX}queue_seconds",
            "From a request's arrival to its program's report, less the program's own time.",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._run = Histogram(
            f"{_PREFIX}run_seconds", "Wall time of a program.", buckets=_SECONDS, registry=self._registry
        )

    def answered(self, path: str, code: int) -> None:
        """Count a request; `path` is one of the server's own, for each new one is a new series."""
        self._requests.labels(path, code).inc()

    def program_ended(self, outcome: ProgramOutcome, queue_seconds: float, run_seconds: float) -> None:
        """Count a program."""
        self._programs[outcome].inc()
        self._queue.observe(queue_seconds)
        self._run.observe(run_seconds)

    def exposition(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self._registry)


class _PoolCollector(Collector):
    """Reads the pool when asked, so that nothing has to be kept in step with it."""

    def __init__(self, pool: Workload, workers: int) -> None:
        self._pool = pool
        self._workers = workers

    def collect(self) -> Iterator[Metric]:
        pool = self._pool
        yield GaugeMetricFamily(f"{_PREFIX}queue_length", "Programs that wait for a worker.", value=pool.waiting)
        yield GaugeMetricFamily(f"{_PREFIX}running", "Programs that run.", value=pool.running)
        workers = GaugeMetricFamily(f"{_PREFIX}workers", "Workers, as configured and as there are.", labels=["state"])
        workers.add_metric(["configured"], self._workers)
        workers.add_metric(["alive"], pool.alive)
        yield workers
        yield CounterMetricFamily(f"{_PREFIX}workers_replaced", "Workers lost and replaced.", value=pool.replaced)
