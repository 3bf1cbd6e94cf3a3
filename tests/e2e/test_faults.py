"""Stock verl trains while the way to the sandbox is cut, spoilt and gone for half a minute."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from arithmetic import split, transcripts
from background import Background, background
from faulty_proxy import ANSWERED, FaultyProxy, Spoil, sometimes
from observations import check_observations

from sandbox_server import EmbeddedSandbox, IsolationPolicy, ServerConfig

if TYPE_CHECKING:
    from conftest import RunVerl

pytestmark = pytest.mark.e2e

STEPS, PROMPTS, SAMPLES = 2, 4, 8
TOKEN = "sandbox-token-of-the-tests"
OUTAGE_SECONDS = 30.0
# The toy model's programs are harmless, and the machine may be a container that allows no namespaces.
SERVER = ServerConfig(port=0, isolation=IsolationPolicy.BEST_EFFORT)


@pytest.fixture
def loop() -> Iterator[Background]:
    """Where the proxies run while the test waits for verl."""
    with background() as running:
        yield running


class Outage:
    """Takes all proxies down once, when a number of answers has passed."""

    def __init__(self, after: int) -> None:
        self.proxies: list[FaultyProxy] = []
        self.over = False
        self._left = after
        self._task: asyncio.Task[None] | None = None

    def count(self) -> None:
        """One more answer has passed."""
        self._left -= 1
        if self._left == 0:
            self._task = asyncio.get_running_loop().create_task(self._happen())

    async def _happen(self) -> None:
        for proxy in self.proxies:
            proxy.take_down()
        await asyncio.sleep(OUTAGE_SECONDS)
        for proxy in self.proxies:
            proxy.down = False
        self.over = True


def test_a_run_outlasts_faults_and_an_outage(run_verl: RunVerl, tmp_path: Path, loop: Background) -> None:
    """With the recipe's settings nothing is aborted, and every result is the program's own."""
    outage = Outage(after=25)

    def choose(seed: int) -> Any:
        spoil = sometimes(0.08, seed, *ANSWERED)

        def chosen() -> Spoil | None:
            outage.count()
            return spoil()

        return chosen

    with EmbeddedSandbox(SERVER, token=TOKEN) as server:
        outage.proxies = [FaultyProxy(server.endpoint, choose(seed)) for seed in range(2)]
        running = [proxy.running() for proxy in outage.proxies]
        endpoints = [loop.run(one.__aenter__()).endpoint for one in running]
        (tmp_path / "token").write_text(TOKEN)
        problems, _ = split(seed=0, train=PROMPTS, validation=1)
        run = run_verl(
            problems,
            transcripts(0, itertools.cycle(problems)),
            {
                "tir.sandbox.endpoints": f"[{','.join(endpoints)}]",
                "tir.sandbox.token_file": tmp_path / "token",
                "actor_rollout_ref.rollout.n": SAMPLES,
                "actor_rollout_ref.actor.ppo_mini_batch_size": PROMPTS,
                "trainer.total_training_steps": STEPS,
            },
        )
        for one in running:
            loop.run(one.__aexit__(None, None, None))
    assert run.status == 0, run.log[-6000:]
    assert outage.over
    assert sum(proxy.spoilt.total() for proxy in outage.proxies) > 0
    assert len(run.metrics) == STEPS
    for metrics in run.metrics:
        for name in ("tir/aborted_ratio", "tir/tool/fault/total", "tir/filter/dropped_rows/total"):
            assert metrics[name] == 0, (name, [line["fault"] for line in run.dump if line["fault"]])
        assert metrics["tir/trajectories/total"] == PROMPTS * SAMPLES
    assert sum(metrics["tir/sandbox/retries/total"] for metrics in run.metrics) > 0
    # Somebody waited for the outage to end.
    assert max(metrics["tir/sandbox/latency/max"] for metrics in run.metrics) > OUTAGE_SECONDS / 3
    assert check_observations(run.dump) >= 20
    assert TOKEN not in run.log
