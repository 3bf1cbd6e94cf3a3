"""No trajectory waits for another's tool call, in simulated time; the benchmark of that, and what it rests on."""

import asyncio

from rollout_async import TURNS, Batch, Engine, Pace, Script, SimulatedLoop, lockstep, measured, ours

PACE = Pace(step_seconds=0.01, sequence_seconds=0.0, capacity=64)
TURN = "```py\nprint(5)\n```\n"
STEPS = len(TURN) * PACE.step_seconds


def _batch(turns: int, slow: dict[tuple[int, int], float]) -> Batch:
    """Eight trajectories whose programs take no time, but for `slow`: seconds by trajectory and turn."""
    scripts = tuple(
        Script((TURN,) * turns, tuple(slow.get((number, turn), 0.0) for turn in range(turns))) for number in range(8)
    )
    return Batch(scripts, turns, PACE)


def test_slow_calls_of_different_trajectories_pass_side_by_side() -> None:
    """In lockstep every slow call stops all; here the batch takes as long as its slowest trajectory."""
    for turns in TURNS:
        batch = _batch(turns, {(turn, turn): 100.0 for turn in range(turns)})
        alone, together = measured(ours, batch), measured(lockstep, batch)
        assert abs(together.seconds - turns * (STEPS + 100)) < 1e-6
        # A sequence that comes during a step waits for its end.
        assert 0 <= alone.seconds + 1e-6 - (turns * STEPS + 100) <= turns * PACE.step_seconds
        assert (alone.tokens, alone.programs) == (together.tokens, together.programs)


def test_without_slow_calls_nobody_is_faster() -> None:
    """The engine is the same for both, so that what differs is the waiting."""
    batch = _batch(3, {})
    assert abs(measured(ours, batch).seconds - measured(lockstep, batch).seconds) < 1e-6


def test_the_engine_holds_no_more_than_its_capacity() -> None:
    """Three sequences of ten tokens on an engine for two: the third waits for a place."""

    async def three(engine: Engine) -> float:
        await asyncio.gather(*(engine.generate(10) for _ in range(3)))
        return asyncio.get_running_loop().time()

    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        engine = Engine(Pace(1.0, 0.5, capacity=2))
        assert runner.run(three(engine)) == 10 * (1.0 + 2 * 0.5) + 10 * (1.0 + 0.5)
        assert engine.tokens == 30
