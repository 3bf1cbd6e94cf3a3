"""Reads the trajectory dump: the one way in, also for dumps of older schemas."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verl_tir.dump.format import PATTERN, SCHEMA, DumpedTrajectory, DumpError, from_line
from verl_tir.rollout.code_block import code_blocks
from verl_tir.rollout.turn_rules import hermes
from verl_tir.trajectory import TurnText

logger = logging.getLogger(__name__)

_OLDER = (1, 2)
"""Schemas that are still read; another is refused."""


@dataclass(frozen=True, slots=True)
class FileLine:
    """A line of a file of the dump."""

    offset: int
    """Of its first byte."""
    item: DumpedTrajectory | None
    """None where the line is not whole: a killed process left it, or one is writing it."""
    ended: bool
    """Whether the line has its end, so that nobody is still writing it."""


def dump_files(folder: Path) -> list[Path]:
    """The files of a dump, step by step, validation after training; none where there is no dump."""
    return sorted(folder.glob(PATTERN), key=lambda path: (int(path.stem), path.parent.name))


def read_dump(folder: Path) -> Iterator[DumpedTrajectory]:
    """The trajectories of a dump, step by step, validation after training.

    A line that a killed process left half written is passed over with a warning.

    Raises:
        FileNotFoundError: there is no dump in the folder.
        DumpError: a line was written by another version, or by something else.
    """
    paths = dump_files(folder)
    if not paths:
        raise FileNotFoundError(f"{folder} holds no trajectories; a run writes them with tir.dump_dir={folder}")
    for path in paths:
        yield from (line.item for line in read_file(path) if line.item is not None)


def read_file(path: Path) -> Iterator[FileLine]:
    """The lines of one file. A warning tells of each that is not whole and that nobody is still writing.

    Raises:
        DumpError: a line was written by another version, or by something else; the message says which.
    """
    offset = 0
    with path.open("rb") as file:
        for number, text in enumerate(file, start=1):
            item = None
            try:
                line = json.loads(text)
            except ValueError as error:
                if text.endswith(b"\n"):
                    logger.warning("%s:%d is not a whole line: %s", path, number, error)
            else:
                item = _read(line, f"{path}:{number}")
            yield FileLine(offset, item, text.endswith(b"\n"))
            offset += len(text)


def read_at(path: Path, offsets: Iterable[int]) -> Iterator[DumpedTrajectory]:
    """The trajectories at these offsets of a file, in their order."""
    with path.open("rb") as file:
        for offset in offsets:
            file.seek(offset)
            yield _read(json.loads(file.readline()), f"{path}, byte {offset}")


def _read(line: Any, place: str) -> DumpedTrajectory:
    try:
        schema = line["schema"]
        if schema == SCHEMA:
            return from_line(line)
        if schema in _OLDER:
            return from_line(_upgraded(line))
    except (DumpError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise DumpError(f"{place} is not a line of a trajectory dump: {type(error).__name__}: {error}") from None
    readable = ", ".join(map(str, _OLDER)) + f" and {SCHEMA}"
    wrong = f"schema {schema!r}, where this version of verl-tir reads {readable}"
    raise DumpError(f"{place} is not a line of a trajectory dump: {wrong}")


def _upgraded(line: Mapping[str, Any]) -> dict[str, Any]:
    """A line of an older schema as one of this: its texts were a list of segments beside the turns."""
    segments = line["segments"]
    rest = iter([segment for segment in segments if segment["role"] != "prompt"])
    turns = []
    for turn in line["turns"]:
        model: Mapping[str, Any] = next(rest, {"text": ""})
        observation = next(rest, {"text": ""})["text"] if turn["observation_tokens"] else ""
        program = None if turn["outcome"] is None else _program_in(model["text"])
        said = TurnText(model["text"], program, observation, program_from_text=program is not None).to_record()
        turns.append(turn | said | ({"tokens": model["tokens"]} if "tokens" in model else {}))
    prompt = "".join(segment["text"] for segment in segments if segment["role"] == "prompt")
    unknown = {"data_source": None, "index": None}
    return unknown | dict(line) | {"schema": SCHEMA, "prompt": prompt, "turns": turns}


def _program_in(text: str) -> str:
    """The code in a turn's text, for dumps that did not record the program: of its first call in the chat format, else
    of its last complete code block."""
    if hermes.CALL_START in text:
        block = hermes.RULE.parse(text).block
        return "" if block is None else block.code
    blocks = list(code_blocks(text))
    return blocks[-1].code if blocks else ""
