"""The trajectory dump as it is read back: JSON lines, a file for each step of training and of validation.

`{dump_dir}/{train or val}/{step}.jsonl`, a line per trajectory. A line holds the agent loop's record as it is, and what
the sampler made of the trajectory.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from verl_tir.rollout.segment import Segment
from verl_tir.trajectory import Trajectory, Turn

logger = logging.getLogger(__name__)

SCHEMA = 2
"""Of a line. The second added `data_source`, `index` and, in segments, `tokens`."""
_READ = (1, 2)
"""What is read; another is refused."""

PATTERN = "*/[0-9]*.jsonl"
"""The files of a dump, in its folder."""


class Fate(StrEnum):
    """What became of a trajectory."""

    TRAIN = "train"
    """It is trained on; in validation: it counts."""
    MASK = "mask"
    """Its reward is in its group's baseline, and its tokens are not in the loss."""
    DROP = "drop"
    """It left the batch, and its reward with it."""
    EVICTED = "evicted"
    """Its whole group left, and another prompt was rolled out in its place."""


class DumpError(ValueError):
    """A file of the dump was written by another version."""


@dataclass(frozen=True, slots=True)
class Span:
    """Tokens of the response from `start` up to, not including, `end`."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class DumpedTrajectory:
    """One line."""

    run: str
    """When the process that sampled it began, so that a run that was resumed can be told from the one before."""
    partition: str
    """`train` or `val`."""
    step: int
    key: str
    """verl's `{uid}_{session_id}_{index}`."""
    fate: Fate
    reason: str | None
    """Why it is not trained on: the gate that refused its group, the rule that masked it, or, for one that was dropped,
    its stop reason, `undecided` (it could not be scored) or `small_group` (too few of its group were left). None for
    one that trains."""
    reward: float
    reward_extra: Mapping[str, Any]
    """The reward's parts: what the reward function returned beside the score."""
    correct: bool | None
    """None where it is not known."""
    ground_truth: Any
    """The accepted answer; None where the data set holds none."""
    response_mask: tuple[Span, ...]
    """The tokens that the model sampled; `fate` says whether they are in the loss."""
    segments: tuple[Segment, ...]
    """The text of the prompt, then of the response, turn by turn."""
    trajectory: Trajectory
    data_source: str | None = None
    """Of the problem's row; None where it has none, and in schema 1."""
    index: int | None = None
    """`extra_info.index` of the problem's row, 0 where that has none; None in schema 1."""

    @property
    def uid(self) -> str:
        """The prompt's; the trajectories of a group share it."""
        return self.key.rsplit("_", 2)[0]

    @classmethod
    def from_line(cls, line: Mapping[str, Any]) -> DumpedTrajectory:
        """Read one line, as plain data.

        Raises:
            DumpError: it was written by another version.
        """
        if line.get("schema") not in _READ:
            readable = " and ".join(map(str, _READ))
            raise DumpError(f"schema {line.get('schema')!r}, where this version of verl-tir reads {readable}")
        return cls(
            **{name: line[name] for name in ("run", "partition", "step", "key", "reason", "reward", "reward_extra")},
            fate=Fate(line["fate"]),
            correct=line["correct"],
            ground_truth=line["ground_truth"],
            response_mask=tuple(Span(*span) for span in line["response_mask"]),
            segments=tuple(map(Segment.from_record, line["segments"])),
            trajectory=Trajectory.from_record(line),
            data_source=line.get("data_source"),
            index=line.get("index"),
        )


def dump_files(folder: Path) -> list[Path]:
    """The files of a dump, step by step, validation after training; none where there is no dump."""
    return sorted(folder.glob(PATTERN), key=lambda path: (int(path.stem), path.parent.name))


def read_dump(folder: Path) -> Iterator[DumpedTrajectory]:
    """The trajectories of a dump, step by step, validation after training.

    A line that a killed process left half written is passed over with a warning.

    Raises:
        FileNotFoundError: there is no dump in the folder.
        DumpError: a file was written by another version.
    """
    paths = dump_files(folder)
    if not paths:
        raise FileNotFoundError(f"{folder} holds no trajectories; a run writes them with tir.dump_dir={folder}")
    for path in paths:
        with path.open(encoding="utf-8") as file:
            for number, text in enumerate(file, start=1):
                try:
                    line = json.loads(text)
                except json.JSONDecodeError as error:
                    logger.warning("%s:%d is no whole line: %s", path, number, error)
                    continue
                try:
                    yield DumpedTrajectory.from_line(line)
                except DumpError as error:
                    raise DumpError(f"{path}:{number}: {error}") from None


def model_spans(turns: tuple[Turn, ...]) -> list[tuple[int, int]]:
    """Where the response's tokens with mask 1 are: what the model sampled in each turn, before the tool's output."""
    spans, position = [], 0
    for turn in turns:
        if turn.model_tokens:
            spans.append((position, position + turn.model_tokens))
        position += turn.model_tokens + turn.observation_tokens
    return spans
