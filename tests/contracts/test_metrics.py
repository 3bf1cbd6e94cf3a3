"""verl joins the metrics of several updates of one step by their names: ours say what they are in the way it reads."""

from __future__ import annotations

import re

import pytest
from batches import measured, random_batch
from verl.trainer.ppo.v1.utils import MetricsAggregator

from verl_tir.trajectory import StopReason

JOINED = {"total": "sum", "max": "max", "min": "min"}
"""How verl joins a name, by its last part; any other is averaged by the number of trajectories."""

AVERAGED = re.compile(r".*(_ratio|_ratio/\w+|/mean|/p\d+|/mask_coverage|/(stop|turn_end|slowest)/\w+)")
"""Names that say that they are an average, a share or a percentile; a count that is named so would not add up."""

PER_TRAJECTORY = re.compile(
    r"tir/((turns|tool/calls|tokens/\w+|agent_loop/(generate_sequences|tool_calls))/mean"
    r"|void_ratio|aborted_ratio|answer_ratio|code_ratio|stop/\w+|turn/\w+/reached_ratio)"
)
"""Averages over all trajectories: joined, they are those of the union. Others have denominators of their own."""


FIRST, SECOND = random_batch(1, 60), random_batch(2, 24)
PARTS = (measured(FIRST, "b"), measured(SECOND, "c"))
UNION = measured([*FIRST, *SECOND], "b", "c")


@pytest.fixture(scope="module")
def joined() -> dict[str, float]:
    """Both batches' metrics as verl logs them for one step."""
    aggregator = MetricsAggregator()
    for batch, metrics in zip((FIRST, SECOND), PARTS, strict=True):
        aggregator.add_step_metrics(metrics, sample_count=len(batch))
    return aggregator.get_aggregated_metrics()


@pytest.mark.parametrize("name", UNION)
def test_a_metric_is_joined_as_its_name_says(name: str, joined: dict[str, float]) -> None:
    """Counts add up, extremes stay, averages over trajectories are the union's, and others stay between the two."""
    kind = JOINED.get(name.rsplit("/", 1)[-1], "weighted_avg")
    assert MetricsAggregator()._get_aggregation_type(name) == kind
    assert (kind == "weighted_avg") is bool(AVERAGED.fullmatch(name))
    # The clients of one update do not know the endpoints of the other's.
    is_exact = kind != "weighted_avg" and "endpoints" not in name
    if is_exact or PER_TRAJECTORY.fullmatch(name):
        assert joined[name] == pytest.approx(UNION[name])
    else:
        low, high = sorted(part[name] for part in PARTS)
        assert low - 1e-9 <= joined[name] <= high + 1e-9


def test_every_name_was_looked_at(joined: dict[str, float]) -> None:
    """The random batches hold all that a batch can give: every end, outcome and stop, and all nine turns."""
    assert joined.keys() == UNION.keys() == PARTS[0].keys() == PARTS[1].keys()
    assert {"tir/turn/9plus/log_prob/p1", "tir/sandbox/endpoints/broken/max", "tir/void_correct_ratio"} <= UNION.keys()
    assert sum(bool(PER_TRAJECTORY.fullmatch(name)) for name in UNION) == 2 + 3 + 2 + 4 + len(StopReason) + 9
