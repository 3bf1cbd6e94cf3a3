"""Wall time of a batch's rollout when some tool calls are slow, as a ratio to a loop in lockstep.

    python benchmarks/rollout_async.py
    python benchmarks/rollout_async.py --trajectories 256 --capacity 128 --slow-seconds 10

Both sides roll the same trajectories out on the same model of an engine: one decoding step takes `--step-ms` and
`--sequence-ms` for each sequence in it, gives each a token, and holds at most `--capacity` sequences; the others wait.
One program in ten takes 2 s, the others 20 ms, and any number runs at a time. Ours is `converse`, the loop of the
rollout: every trajectory goes on by itself. The peer does as SimpleTIR's reference: all trajectories generate their
turn, then all programs run, then the next turn begins. It is spared what else the reference does more, such as
generating on behind the code block. `equal` has turns of one length, so that only the programs make the difference;
`varied` draws each turn's length (log-normal), as models do.

Time is simulated: the loop's real code runs on an event loop whose clock jumps to the next timer. Nothing of the
machine enters, and a seed gives the same figures everywhere; what the loops themselves cost is in rollout_cost.py.
Printed are means over `--seeds` batches.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import selectors
import statistics
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from verl_tir.rollout.generation import Piece
from verl_tir.rollout.loop import Tools, TrajectoryLimits, converse
from verl_tir.rollout.observation import ObservationSettings, ProgramRun, result
from verl_tir.trajectory import Outcome, StopReason

TURNS = (1, 3, 5)
BLOCK = "```py\nprint({number})\n```\n"


class _JumpingSelector(selectors.DefaultSelector):
    """Moves the clock of its loop on instead of waiting."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is not None:
            self.now += timeout
        return ready


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock shows simulated seconds."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


@dataclass(frozen=True)
class Pace:
    """The engine's speed."""

    step_seconds: float
    """Of a decoding step, whatever is in it."""
    sequence_seconds: float
    """Of a decoding step, for each sequence in it."""
    capacity: int
    """Sequences in a step."""


@dataclass
class _Request:
    left: int
    done: asyncio.Future[None]


@dataclass
class Engine:
    """Continuous batching: sequences enter and leave between two steps."""

    pace: Pace
    tokens: int = 0
    """Sampled so far."""
    _waiting: deque[_Request] = field(default_factory=deque)
    _stepping: asyncio.Task[None] | None = None

    async def generate(self, tokens: int) -> None:
        """Return when a sequence of `tokens` more tokens is done."""
        request = _Request(tokens, asyncio.get_running_loop().create_future())
        self._waiting.append(request)
        if self._stepping is None:
            self._stepping = asyncio.create_task(self._step_while_busy())
        await request.done

    async def _step_while_busy(self) -> None:
        running: list[_Request] = []
        while running or self._waiting:
            while self._waiting and len(running) < self.pace.capacity:
                running.append(self._waiting.popleft())
            await asyncio.sleep(self.pace.step_seconds + self.pace.sequence_seconds * len(running))
            self.tokens += len(running)
            for request in running:
                request.left -= 1
                if not request.left:
                    request.done.set_result(None)
            running = [request for request in running if request.left]
        self._stepping = None


@dataclass(frozen=True)
class Script:
    """One trajectory: what the model writes in each turn, and how long its programs take."""

    texts: tuple[str, ...]
    """A token is a character."""
    seconds: tuple[float, ...]


@dataclass(frozen=True)
class Batch:
    scripts: tuple[Script, ...]
    turns: int
    pace: Pace


@dataclass(frozen=True)
class Rollout:
    """What a batch took."""

    seconds: float
    tokens: int
    programs: int


async def ours(batch: Batch, engine: Engine) -> int:
    """Every trajectory by itself; the number of programs run."""
    programs = 0

    async def one(script: Script) -> None:
        nonlocal programs
        texts, seconds = iter(script.texts), iter(script.seconds)

        async def generate(context: list[int], max_tokens: int) -> Piece:
            ids = [ord(letter) for letter in next(texts)]
            await engine.generate(len(ids))
            return Piece(ids, [0.0] * len(ids), aborted=False)

        async def run_program(program: str) -> ProgramRun:
            nonlocal programs
            await asyncio.sleep(next(seconds))
            programs += 1
            return ProgramRun(Outcome.SUCCESS, "5\n", "", 0)

        tools = Tools(
            generate=generate,
            run_program=run_program,
            encode=lambda text: [ord(letter) for letter in text],
            decode=lambda ids: "".join(map(chr, ids)),
            end_ids=(),
        )
        limits = TrajectoryLimits(batch.turns, 1 << 20, 1 << 20, None)
        done = await converse(tools, limits, ObservationSettings(result, 512, 256))
        assert done.trajectory.stop_reason is StopReason.MAX_TURNS

    await asyncio.gather(*map(one, batch.scripts))
    return programs


async def lockstep(batch: Batch, engine: Engine) -> int:
    """All trajectories turn by turn; the number of programs run."""
    for turn in range(batch.turns):
        await asyncio.gather(*(engine.generate(len(script.texts[turn])) for script in batch.scripts))
        await asyncio.gather(*(asyncio.sleep(script.seconds[turn]) for script in batch.scripts))
    return batch.turns * len(batch.scripts)


def measured(side: Callable[[Batch, Engine], Awaitable[int]], batch: Batch) -> Rollout:
    """Roll `batch` out on an engine and a clock of its own."""
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        loop = runner.get_loop()
        engine = Engine(batch.pace)
        programs = runner.run(side(batch, engine))
        return Rollout(loop.time(), engine.tokens, programs)


def draw(turns: int, varied: bool, seed: int, arguments: argparse.Namespace) -> Batch:
    """A batch; programs are as slow whatever the lengths are."""
    slow, lengths = random.Random(f"slow {seed}"), random.Random(f"length {seed}")

    def text() -> str:
        block = BLOCK.format(number=5)
        wanted = arguments.tokens
        if varied:
            # The mean is that of the equal lengths; a tail of some turns four times as long.
            wanted = round(arguments.tokens * min(lengths.lognormvariate(-0.18, 0.6), 4.0))
        return "x" * max(1, wanted - len(block) - 1) + "\n" + block

    def seconds() -> float:
        return arguments.slow_seconds if slow.random() < arguments.slow_share else arguments.quick_seconds

    scripts = tuple(
        Script(tuple(text() for _ in range(turns)), tuple(seconds() for _ in range(turns)))
        for _ in range(arguments.trajectories)
    )
    pace = Pace(arguments.step_ms / 1000, arguments.sequence_ms / 1000, arguments.capacity)
    return Batch(scripts, turns, pace)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trajectories", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=300, help="mean length of a turn")
    parser.add_argument("--capacity", type=int, default=64)
    parser.add_argument("--step-ms", type=float, default=15.0)
    parser.add_argument("--sequence-ms", type=float, default=0.1)
    parser.add_argument("--slow-share", type=float, default=0.1)
    parser.add_argument("--slow-seconds", type=float, default=2.0)
    parser.add_argument("--quick-seconds", type=float, default=0.02)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    print(f"{'lengths':>8} {'turns':>6} {'lockstep s':>11} {'ours s':>8} {'ours/lockstep':>14}")
    for varied in (False, True):
        for turns in TURNS:
            batches = [draw(turns, varied, seed, arguments) for seed in range(arguments.seeds)]
            pairs = [(measured(lockstep, batch), measured(ours, batch)) for batch in batches]
            for theirs, mine in pairs:
                assert (theirs.tokens, theirs.programs) == (mine.tokens, mine.programs), "the work differs"
            theirs, mine = (statistics.mean(run.seconds for run in side) for side in zip(*pairs, strict=True))
            kind = "varied" if varied else "equal"
            print(f"{kind:>8} {turns:>6} {theirs:>11.2f} {mine:>8.2f} {mine / theirs:>14.2f}", flush=True)


if __name__ == "__main__":
    main()
