"""What stands out in a run: each rule with runs on both sides of its border."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tir_tools.report.behaviours import Behaviour
from tir_tools.report.catalogue import FIGURES
from tir_tools.report.findings import MARKS, findings_of
from tir_tools.report.history import History
from tir_tools.report.marks.mark import Level
from tir_tools.report.status import RunProgress, RunState

STEPS = 12
HEALTHY = {
    "tir/trajectories/total": 128,
    "tir/correct_ratio": 0.5,
    "tir/void_ratio": 0.1,
    "tir/void_correct_ratio": 0.02,
    "dump/void_trained": 0.0,
    "tir/code_ratio": 0.8,
    "tir/code_pass_ratio": 0.9,
    "tir/turns/mean": 2.5,
    "tir/aborted_ratio": 0.0,
    "tir/stop/sandbox_fault": 0.0,
    "tir/stop/response_budget": 0.02,
    "tir/tool/calls/total": 200,
    "tir/tool/time_limit/total": 2,
    "tir/observation/truncated_ratio": 0.01,
    "tir/sandbox/calls/total": 200,
    "tir/sandbox/calls/faulted/total": 0,
    "tir/sandbox/attempts/unreachable/total": 0,
    "tir/sandbox/endpoints/max": 4,
    "tir/sandbox/endpoints/broken/max": 0,
    "tir/sandbox/wait/mean": 0.1,
    "tir/sandbox/queue/mean": 0.2,
    "tir/sandbox/run/mean": 0.05,
    "tir/agent_loop/slowest/tool_calls": 2.0,
    "tir/agent_loop/slowest/generate_sequences": 60.0,
    "tir/log_prob/p1": -3.0,
    "tir/turn/2/log_prob/p1": -4.0,
    "actor/grad_norm": 0.3,
    "actor/importance_ratio_max": 1.4,
    "tir/filter/updates_without_signal/total": 0,
    "dump/undecided": 0.0,
    "dump/groups/mixed": 0.7,
    "dump/groups/all wrong": 0.2,
}
"""Of every step."""

Values = Callable[[float], float] | float


def run(**changes: Values) -> History:
    """A healthy run with some metrics otherwise: a number, or a function of how far the run is, from 0 to 1."""
    steps = {}
    for step in range(1, STEPS + 1):
        at = (step - 1) / (STEPS - 1)
        steps[step] = HEALTHY | {name: value(at) if callable(value) else value for name, value in changes.items()}
    return History(steps)


def rising(start: float, end: float) -> Values:
    """From one value to another, evenly."""
    return lambda at: start + at * (end - start)


def late(usual: float, then: float, since: float = 0.7) -> Values:
    """One value, and another from some point on."""
    return lambda at: then if at >= since else usual


PROBLEM, WATCH, NOTE = Level

# id: what differs from a healthy run, the rule, its level, words of its reading or advice
FIRES = {
    "void rising": ({"tir/void_ratio": rising(0.1, 0.35)}, "void rising", WATCH, "from 13% to 32%"),
    "void rising far": ({"tir/void_ratio": rising(0.1, 0.9)}, "void rising", PROBLEM, "tir.filter.void=mask"),
    "void trained on": ({"dump/void_trained": 0.3}, "void trained on", PROBLEM, "Up to 30%"),
    "a few void trained on": ({"dump/void_trained": late(0.0, 0.05)}, "void trained on", WATCH, "steps 9 to 12"),
    "tool use halves": ({"tir/code_ratio": rising(0.9, 0.2)}, "tool use decaying", PROBLEM, "Trajectories with code"),
    "tool use decays": ({"tir/code_ratio": rising(0.9, 0.55)}, "tool use decaying", WATCH, "went from"),
    "one turn": ({"tir/turns/mean": late(2.5, 1.05, 0.5)}, "one-turn collapse", PROBLEM, "2.5 turns on average"),
    "reward falls": ({"tir/correct_ratio": late(0.6, 0.2)}, "reward falling", PROBLEM, "at 20% now"),
    "faults": (
        {"tir/sandbox/calls/faulted/total": late(0, 40), "tir/sandbox/attempts/unreachable/total": late(0, 90)},
        "sandbox faults",
        PROBLEM,
        "mostly unreachable",
    ),
    "some faults": ({"tir/sandbox/calls/faulted/total": late(0, 4)}, "sandbox faults", WATCH, "up to 2%"),
    "aborted": (
        {"tir/aborted_ratio": late(0, 0.3), "tir/stop/sandbox_fault": late(0, 0.3)},
        "aborted trajectories",
        PROBLEM,
        "the sandbox failed: 30%",
    ),
    "prompts too long": (
        {"tir/aborted_ratio": 0.02, "tir/stop/prompt_too_long": 0.02},
        "aborted trajectories",
        WATCH,
        "the prompt was too long: 2%",
    ),
    "slow in the service": (
        {"tir/agent_loop/slowest/tool_calls": 100.0, "tir/sandbox/queue/mean": 20.0},
        "sandbox slow",
        WATCH,
        "more workers",
    ),
    "slow in the client": (
        {"tir/agent_loop/slowest/tool_calls": 100.0, "tir/sandbox/wait/mean": 20.0},
        "sandbox slow",
        WATCH,
        "max_concurrency",
    ),
    "slow programs": (
        {"tir/agent_loop/slowest/tool_calls": 100.0, "tir/sandbox/run/mean": 20.0},
        "sandbox slow",
        WATCH,
        "run_timeout",
    ),
    "endpoints out": ({"tir/sandbox/endpoints/broken/max": late(0, 2)}, "endpoints out", WATCH, "2 of 4 endpoints"),
    "programs fail": ({"tir/code_pass_ratio": 0.3}, "programs fail", WATCH, "Only 30% pass."),
    "programs are slow": (
        {"tir/code_pass_ratio": 0.3, "tir/tool/time_limit/total": 120},
        "programs fail",
        WATCH,
        "60% run out of time",
    ),
    "output cut": ({"tir/observation/truncated_ratio": 0.5}, "output cut", NOTE, "max_chars"),
    "gradient spikes": (
        {"actor/grad_norm": lambda at: 9.0 if at == 1 else 0.3, "tir/log_prob/p1": rising(-2, -8)},
        "gradient spikes",
        WATCH,
        "fell from",
    ),
    "improbable late turns": (
        {"tir/turn/2/log_prob/p1": rising(-3, -9)},
        "improbable late turns",
        WATCH,
        "In turn 2 the lowest 1%",
    ),
    "importance ratio": ({"actor/importance_ratio_max": late(1.2, 300)}, "importance ratio", WATCH, "Up to 300"),
    "out of room": ({"tir/stop/response_budget": 0.4}, "out of room", WATCH, "data.max_response_length"),
    "no signal": (
        {"tir/filter/updates_without_signal/total": late(0, 1)},
        "updates without signal",
        PROBLEM,
        "In 4 of 12 steps",
    ),
    "too hard": (
        {"dump/groups/mixed": 0.1, "dump/groups/all wrong": 0.8},
        "groups alike",
        NOTE,
        "Easier problems",
    ),
    "too easy": ({"dump/groups/mixed": 0.1, "dump/groups/all wrong": 0.0}, "groups alike", NOTE, "Harder problems"),
    "undecided": ({"dump/undecided": 0.03}, "rewards undecided", WATCH, "ran out of time or memory"),
    "many undecided": ({"dump/undecided": 0.3}, "rewards undecided", PROBLEM, "up to 30%"),
    "good work thrown away": ({"tir/void_correct_ratio": 0.4}, "void but right", NOTE, "tir.filter.void=suffix"),
}


@pytest.mark.parametrize(("changes", "name", "level", "words"), FIRES.values(), ids=FIRES)
def test_a_rule_fires(changes: dict[str, Values], name: str, level: Level, words: str) -> None:
    """It alone, at its level, with what was seen in numbers and a way out."""
    found = findings_of(run(**changes), OPEN)
    assert [(finding.mark, finding.level) for finding in found] == [(name, level)]
    assert words in f"{found[0].reading} {found[0].advice}"
    assert found[0].figure in {figure.id for figure in FIGURES}


OPEN = RunProgress(RunState.OPEN, STEPS, None, None, None)

QUIET: dict[str, dict[str, Values]] = {
    "a late turn of a handful": {"tir/turn/2/log_prob/p1": rising(-3, -9), "tir/turn/2/reached_ratio": 0.02},
    "healthy": {},
    "void rising a little": {"tir/void_ratio": rising(0.1, 0.18)},
    "only what follows a void turn is cut": {"dump/void_trained": 0.3, "tir/filter/trimmed_rows/total": 40},
    "void falling": {"tir/void_ratio": rising(0.5, 0.05)},
    "one call in 200 failed": {"tir/sandbox/calls/faulted/total": late(0, 1)},
    "one trajectory in 100 aborted": {"tir/aborted_ratio": 0.01},
    "one endpoint restarted": {"tir/sandbox/endpoints/broken/max": lambda at: float(at == 0)},
    "gradients move at first": {"actor/grad_norm": lambda at: 9.0 if at == 0 else 0.3},
    "never more than one turn": {"tir/turns/mean": 1.0},
    "tool use growing": {"tir/code_ratio": rising(0.2, 0.9)},
    "learning": {"tir/correct_ratio": rising(0.1, 0.7)},
    "noise": {"tir/correct_ratio": lambda at: 0.5 + (0.04 if int(at * 11) % 2 else -0.04)},
    "slow sandbox that nobody waits for": {"tir/agent_loop/slowest/tool_calls": 12.0},
}


@pytest.mark.parametrize("changes", QUIET.values(), ids=QUIET)
def test_a_healthy_run_has_no_mark(changes: dict[str, Values]) -> None:
    """What happens in every run is no event."""
    assert findings_of(run(**changes), OPEN) == []


def test_every_rule_has_its_examples() -> None:
    """A new rule comes with a run in which it fires."""
    assert {name for _, name, _, _ in FIRES.values()} == {mark.name for mark in MARKS}


def test_every_rule_is_explained() -> None:
    """The page on the report has a row for each, and for each behaviour, and for none that does not exist."""
    text = (Path(__file__).parents[2] / "docs" / "report.md").read_text()
    rules, shown = (
        re.findall(r"^\| ([a-z -]+) \| ", text.partition(heading)[2].partition("\n## ")[0], re.MULTILINE)
        for heading in ("| rule | fires when |", "| behaviour | rule |")
    )
    assert sorted(rules) == sorted(["run failed", *(mark.name for mark in MARKS)])
    assert shown == list(Behaviour)


@pytest.mark.parametrize("steps", [{}, {0: {"val-aux/a/correct/mean@1": 0.5}}, {1: HEALTHY}])
def test_a_run_that_has_hardly_begun_is_no_event(steps: dict[int, dict[str, float]]) -> None:
    """Rules need something to compare."""
    assert findings_of(History(steps), OPEN) == []


def test_void_rows_are_seen_in_the_loss_without_a_dump() -> None:
    """The counts of the filter tell as much."""
    seen = {"tir/void_ratio": 0.25, "tir/filter/dropped_rows/total": 0.0}
    metrics = {name: value for name, value in HEALTHY.items() if not name.startswith("dump/")} | seen
    masked = History({1: metrics | {"tir/filter/masked_rows/void/total": 32.0}})
    trained = History({1: metrics | {"tir/filter/masked_rows/void/total": 0.0}})
    assert findings_of(masked, OPEN) == []
    assert [finding.mark for finding in findings_of(trained, OPEN)] == ["void trained on"]


def test_an_outage_is_not_the_models() -> None:
    """What it leaves of a batch are trajectories without tools; no rule on the model fires for that."""
    aborted: dict[str, Values] = {"tir/aborted_ratio": late(0, 0.4)}
    fewer: dict[str, Values] = {"tir/turns/mean": late(2.5, 1.0), "tir/code_ratio": late(0.8, 0.1)}
    fewer |= {"tir/correct_ratio": late(0.5, 0.1), "tir/void_ratio": late(0.1, 0.9)}
    assert [finding.mark for finding in findings_of(run(**aborted, **fewer), OPEN)] == ["aborted trajectories"]
    assert len(findings_of(run(**fewer), OPEN)) == 4


def test_the_worst_comes_first() -> None:
    """A run that failed says so before all else; then problems, then what to watch, then notes."""
    failed = RunProgress(
        RunState.FAILED, STEPS, 20, None, "OutageError: 80 of the batch's 128 trajectories say nothing"
    )
    found = findings_of(
        run(
            **{
                "tir/observation/truncated_ratio": 0.5,
                "tir/code_pass_ratio": 0.3,
                "tir/sandbox/calls/faulted/total": late(0, 40),
            }
        ),
        failed,
    )
    assert [finding.mark for finding in found] == ["run failed", "sandbox faults", "programs fail", "output cut"]
    assert "80 of the batch's 128" in found[0].reading
    assert "verl-tir doctor" in found[0].advice
