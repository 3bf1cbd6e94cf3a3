"""What an evaluation will cost, said before it starts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tir_tools.files import write_text

FOLDER = "attempts"


@dataclass(frozen=True, slots=True)
class Cost:
    """Upper bounds of what is still to be done."""

    problems: int
    """With samples still to be taken."""
    trajectories: int
    done: int
    """Trajectories that are there already."""
    tokens: int
    """Response tokens, of model and tool, if every trajectory used all that it may."""
    calls: int | None
    """Sandbox calls; None where nothing but the tokens bounds them."""
    seconds: float | None
    """At the rate of the attempts so far; None where there was none."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """How one run of verl for the evaluation went; times are in seconds since its launch."""

    number: int
    trajectories: int
    """That it finished."""
    started: float
    """Until the engine was there; 0 where that was not seen."""
    last: float
    """Until the last of them was there."""

    @property
    def rate(self) -> float | None:
        """Trajectories per second once it had started; None where none was seen."""
        return (
            self.trajectories / (self.last - self.started) if self.trajectories and self.last > self.started else None
        )


def cost_of(
    missing: Mapping[int, int],
    done: int,
    *,
    max_response_tokens: int,
    max_turns: int | None,
    max_tool_calls: int | None,
    attempts: Iterable[Attempt],
) -> Cost:
    """Bound what is left.

    Args:
        missing: samples still to be taken, by problem.
        done: samples that are there.
        max_response_tokens: of a trajectory.
        max_turns: generations of a trajectory, each with at most one program.
        max_tool_calls: programs of a trajectory.
        attempts: of the evaluation so far.
    """
    trajectories = sum(missing.values())
    bounds = [bound for bound in (max_turns, max_tool_calls) if bound is not None]
    timed = [attempt for attempt in attempts if attempt.rate is not None]
    # The last attempt is the likeliest to be on the machine that goes on.
    seconds = timed[-1].started + trajectories / (timed[-1].rate or 1.0) if timed and trajectories else None
    return Cost(
        problems=len(missing),
        trajectories=trajectories,
        done=done,
        tokens=trajectories * max_response_tokens,
        calls=trajectories * min(bounds) if bounds else None,
        seconds=seconds,
    )


def read_attempts(folder: Path) -> list[Attempt]:
    """Those of an evaluation's folder, in order."""
    files = sorted((folder / FOLDER).glob("*.json"))
    return [Attempt(**json.loads(file.read_text(encoding="utf-8"))) for file in files]


def write_attempt(folder: Path, attempt: Attempt) -> None:
    """Keep it, in place of what was known of it before."""
    file = folder / FOLDER / f"{attempt.number:04}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps(asdict(attempt)) + "\n")
