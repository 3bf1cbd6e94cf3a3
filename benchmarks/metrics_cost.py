"""What metrics and dump cost a step, on a synthetic batch of SimpleTIR's size (512 prompts x 16 samples).

    python benchmarks/metrics_cost.py
    python benchmarks/metrics_cost.py --trajectories 2048 --tokens 4096

CPU seconds of one thread, the median of the rounds. They stand beside ToRL's shortest step (arXiv 2503.23383: 118 s
without, 237 s with one and 288 s with two tool calls for 2,048 trajectories on 8 x A800), which is a quarter of the
batch measured here; and beside verl's own `compute_data_metrics` on a batch of the same shape in the same process. verl
and its tensors need about 3 GiB.
"""

from __future__ import annotations

import argparse
import pickle
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from verl.protocol import DataProto
from verl.trainer.ppo.metric_utils import compute_data_metrics

from verl_tir.dump.writer import TrajectoryDump
from verl_tir.metrics.log_probs import reduce_log_probs
from verl_tir.metrics.sandbox import SandboxMeter
from verl_tir.metrics.summary import summarize
from verl_tir.sampler.finished_row import FinishedRow, verdict_of
from verl_tir.sampler.loss_plan import LossPlan
from verl_tir.trajectory import LogProbs, Outcome, SandboxCall, StopReason, Trajectory, Turn, TurnEnd, TurnText

SNAPSHOT = {"client": "a", "retries": 0, "probes": 0, "faults": {"unreachable": 0}, "endpoints": {"http://a": "closed"}}
REWARD_EXTRA = {"correct": 1.0, "boxed": 1.0, "tool_given": 0.0, "undecided": 0.0}
OBSERVATION_TOKENS = 50
CHARS_PER_TOKEN = 4


@dataclass(frozen=True)
class Shape:
    """How large the batch is."""

    trajectories: int
    tokens: int
    turns: int
    rounds: int


def cpu_seconds(what: Callable[[], object], rounds: int) -> float:
    """The median of the rounds, after one that does not count."""
    times = []
    for _ in range(rounds + 1):
        began = time.process_time()
        what()
        times.append(time.process_time() - began)
    return statistics.median(times[1:])


def sampled_log_probs(shape: Shape) -> list[list[float]]:
    """Some turns' log-probabilities, spread as those of a language model: half above -0.0025, one in 50 below -1."""
    source = np.random.default_rng(0)
    size = (64, shape.tokens // shape.turns)
    return (-source.lognormal(-6, 2.8, size).clip(max=40)).tolist()


def trajectory(number: int, shape: Shape, parts: list[LogProbs]) -> Trajectory:
    """One whose turns all run a program, but for the last, which answers."""
    turns = tuple(
        Turn(
            end=TurnEnd.EOS if turn == shape.turns - 1 else TurnEnd.CODE,
            model_tokens=shape.tokens // shape.turns - OBSERVATION_TOKENS,
            observation_tokens=OBSERVATION_TOKENS,
            discarded_tokens=1,
            has_code=turn < shape.turns - 1,
            has_answer=turn == shape.turns - 1,
            outcome=None if turn == shape.turns - 1 else Outcome.SUCCESS,
            observation_truncated=False,
            generate_seconds=20.0 + number % 7,
            tool_seconds=0.1 * (number % 11),
            call=None if turn == shape.turns - 1 else SandboxCall(0.01, 0.002, 0.02, 0.05, 1),
            log_probs=parts[(number + turn) % len(parts)],
        )
        for turn in range(shape.turns)
    )
    return Trajectory(turns, StopReason.ANSWER, "5")


def read(records: list[dict[str, Any]]) -> list[FinishedRow]:
    """What the sampler makes of records, as in `storage.read_rows` without the fetching."""
    rows = []
    for number, record in enumerate(records):
        parsed = Trajectory.from_record(record)
        key, verdict = f"u{number // 16}_{number % 16}_0", verdict_of(REWARD_EXTRA)
        rows.append(FinishedRow(key, parsed, 1.0, verdict, REWARD_EXTRA, record=record))
    return rows


def measure(rows: list[FinishedRow]) -> dict[str, float]:
    """All metrics that the sampler computes of records."""
    turns = [turn for row in rows for turn in row.trajectory.turns]
    return summarize(rows) | SandboxMeter().measure(turns, [SNAPSHOT] * len(rows))


def verl_batch(shape: Shape) -> DataProto:
    """What verl's trainer computes its own metrics of."""
    rows, width = shape.trajectories, shape.tokens
    scores = torch.zeros(rows, width)
    scores[:, -1] = 1.0
    advantages = torch.randn(rows, width)
    batch = {
        "token_level_scores": scores,
        "token_level_rewards": scores,
        "advantages": advantages,
        "returns": advantages,
        "prompts": torch.zeros(rows, 1, dtype=torch.int64),
        "responses": torch.zeros(rows, width, dtype=torch.int64),
        "response_mask": torch.ones(rows, width, dtype=torch.int64),
        "prompt_length": torch.full((rows,), 1.0),
        "response_length": torch.full((rows,), float(width)),
    }
    return DataProto.from_dict(tensors=batch, non_tensors={"__num_turns__": np.full(rows, 2 * shape.turns)})


def dump(rows: list[FinishedRow], shape: Shape) -> tuple[float, float, float]:
    """Seconds that the step waits, seconds until all is written, and MB written."""
    text = "x = 1 \n" * (shape.tokens * CHARS_PER_TOKEN // 7)
    for row in rows:
        texts = [TurnText("", None, "").to_record() for _ in row.record["turns"]]
        row.record["texts"] = [*texts[1:], TurnText(text, None, "").to_record()]
    keys = tuple(row.key for row in rows)
    with tempfile.TemporaryDirectory() as folder:
        writer = TrajectoryDump(Path(folder), None)
        began = time.perf_counter()
        writer.write("train", 1, rows, LossPlan(keys, (), (), (), None))
        returned = time.perf_counter() - began
        writer.wait()
        written = time.perf_counter() - began
        return returned, written, sum(path.stat().st_size for path in Path(folder).rglob("*.jsonl")) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trajectories", type=int, default=8192)
    parser.add_argument("--tokens", type=int, default=8192, help="of a response")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--step-seconds", type=float, default=118.0, help="of the step that the cost is a share of")
    options = parser.parse_args()
    torch.set_num_threads(1)
    shape = Shape(options.trajectories, options.tokens, options.turns, options.rounds)

    turns = sampled_log_probs(shape)
    parts = [reduce_log_probs(turn) for turn in turns]
    reduce = cpu_seconds(lambda: [reduce_log_probs(turn) for turn in turns], shape.rounds) / len(turns) * shape.turns
    # Through pickle, so that no two records share an object.
    packed = [pickle.dumps(trajectory(number, shape, parts).to_record()) for number in range(shape.trajectories)]
    records = [pickle.loads(item) for item in packed]
    rows = read(records)
    reading = cpu_seconds(lambda: read(records), shape.rounds)
    measuring = cpu_seconds(lambda: measure(rows), shape.rounds)
    verl = cpu_seconds(partial(compute_data_metrics, verl_batch(shape), use_critic=False), shape.rounds)
    returned, written, size = dump(rows, shape)

    ours, step = reading + measuring, options.step_seconds
    print(
        f"{shape.trajectories} trajectories of {shape.tokens} tokens, {shape.turns} turns; {len(measure(rows))} metrics"
    )
    print(f"{'in each worker, of a trajectory':42}{reduce * 1e3:9.2f} ms   reducing log-probabilities")
    print(
        f"{'in each record':42}{statistics.mean(map(len, packed)):9.0f} B    of which log-probabilities "
        f"{statistics.mean(len(part.histogram) for part in parts) * shape.turns:.0f} B"
    )
    for name, seconds in (
        ("in the driver: reading the records", reading),
        ("in the driver: computing all metrics", measuring),
        ("in the driver: both", ours),
        ("verl's compute_data_metrics", verl),
    ):
        print(f"{name:42}{seconds:9.3f} s    {seconds / step:.2%} of a step of {step:g} s")
    print(f"{'ours to verl':42}{ours / verl:9.2f}")
    print(f"{'dump: the step waits':42}{returned:9.4f} s    {returned / step:.3%} of the step")
    print(f"{'dump: the thread is done after':42}{written:9.2f} s    {size:.0f} MB")


if __name__ == "__main__":
    main()
