"""The format of the trajectory dump: JSON lines, a file for each step of training and of validation.

`{dump_dir}/{train or val}/{step}.jsonl`, a line per trajectory. A line holds what the sampler made of the trajectory
and the agent loop's record of it; each of its turns holds its text, the program that ran and the observation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from verl_tir.trajectory import Trajectory, Turn, TurnText

SCHEMA = 3
"""Of a line. The second added `data_source`, `index` and, of each text, `tokens`; the third put a turn's text, program
and observation into the turn."""

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
    """A file of the dump was written by another version, or by something else."""


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
    response_mask: tuple[range, ...]
    """The response's tokens that the model sampled; `fate` says whether they are in the loss."""
    prompt: str
    """The text of the prompt, as the engine was given it."""
    texts: tuple[TurnText, ...]
    """What the turns say, one for each of `trajectory.turns`."""
    trajectory: Trajectory
    data_source: str | None = None
    """Of the problem's row; None where it has none, and in schema 1."""
    index: int | None = None
    """`extra_info.index` of the problem's row, 0 where that has none; None in schema 1."""

    @property
    def uid(self) -> str:
        """The prompt's; the trajectories of a group share it."""
        return self.key.rsplit("_", 2)[0]

    @property
    def response(self) -> str:
        """The text of the whole response, observations included."""
        return "".join(said.text + said.observation for said in self.texts)


def to_line(record: Mapping[str, Any], trajectory: Trajectory, **sampled: Any) -> dict[str, Any]:
    """A line as plain data.

    Args:
        record: the agent loop's, with its prompt and texts.
        trajectory: what the record tells of.
        sampled: the fields of `DumpedTrajectory` that the record does not have, as plain data.
    """
    # The state of the client that ran the programs is the step's, not the trajectory's.
    known = {name: value for name, value in record.items() if name not in ("sandbox", "texts")}
    texts = record.get("texts") or [_NOTHING] * len(record["turns"])
    return {
        "schema": SCHEMA,
        **sampled,
        "ground_truth": None,
        "data_source": None,
        "index": None,
        "response_mask": _model_spans(trajectory.turns),
        "prompt": "",
        **known,
        "turns": [turn | said for turn, said in zip(record["turns"], texts, strict=True)],
    }


def from_line(line: Mapping[str, Any]) -> DumpedTrajectory:
    """Inverse of `to_line`. Raises KeyError, TypeError or ValueError for a line that is not one of this schema."""
    numbers = [{name: value for name, value in turn.items() if name not in _TEXTS} for turn in line["turns"]]
    return DumpedTrajectory(
        **{name: line[name] for name in _AS_IT_IS},
        fate=Fate(line["fate"]),
        response_mask=tuple(range(*span) for span in line["response_mask"]),
        texts=tuple(map(TurnText.from_record, line["turns"])),
        trajectory=Trajectory.from_record({**line, "turns": numbers}),
    )


_AS_IT_IS = DumpedTrajectory.__dataclass_fields__.keys() - {"fate", "response_mask", "texts", "trajectory"}
_TEXTS = frozenset(TurnText.__dataclass_fields__)
_NOTHING = TurnText("", None, "").to_record()


def _model_spans(turns: tuple[Turn, ...]) -> list[tuple[int, int]]:
    """Where the response's tokens with mask 1 are: what the model sampled in each turn, before the tool's output."""
    spans, position = [], 0
    for turn in turns:
        if turn.model_tokens:
            spans.append((position, position + turn.model_tokens))
        position += turn.model_tokens + turn.observation_tokens
    return spans
