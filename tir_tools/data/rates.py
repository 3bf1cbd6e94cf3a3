"""How often each problem was solved, epoch by epoch: from a file, or from the trajectory dump of a run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tir_tools.data.errors import ColumnError, FileError, RowError, shortened
from tir_tools.data.files import FORMATS, FileStamp, Row, open_file, stamp
from tir_tools.data.instructions import bare
from tir_tools.data.lim import Curve
from tir_tools.data.normal import normalised
from verl_tir.dump.format import PATTERN
from verl_tir.dump.reader import read_dump


@dataclass(frozen=True, slots=True)
class Wanted:
    """A problem that rates are wanted for."""

    id: str
    index: int
    question: str


@dataclass(frozen=True, slots=True)
class Rates:
    """What was found."""

    curves: Mapping[str, Curve]
    """By id of the problem."""
    unknown: int
    """Problems with a rate that were not asked for."""
    files: tuple[FileStamp, ...]


def read_rates(place: Path, problems: Sequence[Wanted], partition: str = "train") -> Rates:
    """The success rates of problems.

    Args:
        place: a file of rates in one of the known formats, or the folder of a trajectory dump.
        problems: those that rates are wanted for.
        partition: of the dump: `train` or `val`.

    Raises:
        FileError, ColumnError, RowError: the file cannot be used.
    """
    return _from_dump(place, problems, partition) if place.is_dir() else _from_file(place, problems)


_KEYS = ("id", "extra_info.id", "index", "extra_info.index", "problem")
"""`problem` is what `verl-tir eval` writes: an id, or an index where the data has no ids."""
_VALUES = ("success_rates", "success_rate", "correct", "score")


def _from_file(path: Path, problems: Sequence[Wanted]) -> Rates:
    file = open_file(path)
    key = next((name for name in _KEYS if name in file.columns), None)
    value = next((name for name in _VALUES if name in file.columns), None)
    if key is None or value is None:
        raise ColumnError(
            f"{path.name} needs a column id or index, and one of {', '.join(_VALUES)}; it has {', '.join(file.columns)}"
        )
    by_key = {} if key.endswith("id") else {str(problem.index): problem.id for problem in problems}
    by_key |= {} if key.endswith("index") else {problem.id: problem.id for problem in problems}
    visits: dict[str, dict[int, list[float]]] = {}
    others = set()
    columns = [key.partition(".")[0], value, *(["epoch"] if "epoch" in file.columns else [])]
    for number, row in enumerate(file.rows(columns), start=1):
        place = f"{path.name}, row {number}"
        name = str(_at(row, key, place))
        if name not in by_key:
            others.add(name)
            continue
        several = value == "success_rates"
        rates = _at(row, value, place)
        if several and not isinstance(rates, list):
            raise RowError(f"{place}: success_rates is {shortened(rates)}, where a list of numbers by epoch is needed")
        epochs = visits.setdefault(by_key[name], {})
        first = 0 if several else _epoch(row, place)
        for epoch, rate in enumerate(rates if several else [rates], start=first):
            if rate is not None:
                epochs.setdefault(epoch, []).append(_rate(rate, f"{place}, {value}"))
    if not visits:
        raise FileError(
            f"{path.name}: none of its {len(others)} problems is in the data (by {key}); give the rates of this data"
        )
    return Rates(_curves(visits), len(others), (stamp(path),))


def _epoch(row: Row, place: str) -> int:
    epoch = row.get("epoch", 0)
    try:
        return int(epoch)
    except (TypeError, ValueError):
        raise RowError(f"{place}: epoch is {shortened(epoch)}, where a whole number is needed") from None


def _at(row: Row, name: str, place: str) -> Any:
    value: Any = row
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise RowError(f"{place} has no {name}, which other rows have")
        value = value[part]
    return value


def _rate(value: Any, place: str) -> float:
    try:
        rate = float(value)
    except (TypeError, ValueError):
        rate = math.nan
    if not 0 <= rate <= 1:
        raise RowError(f"{place} is {shortened(value)}, where a number from 0 to 1 is needed")
    return rate


def _curves(visits: Mapping[str, Mapping[int, Sequence[float]]]) -> dict[str, Curve]:
    """Means by epoch; epochs are numbered from the first that any problem has."""
    numbers = [epoch for epochs in visits.values() for epoch in epochs]
    span = range(min(numbers), max(numbers) + 1) if numbers else range(0)
    return {
        key: tuple(sum(epochs[epoch]) / len(epochs[epoch]) if epoch in epochs else None for epoch in span)
        for key, epochs in visits.items()
        if epochs
    }


def _from_dump(folder: Path, problems: Sequence[Wanted], partition: str) -> Rates:
    files = sorted(path for path in folder.glob(PATTERN) if path.parent.name == partition)
    if not files:
        raise FileError(
            f"{folder} holds no {partition} trajectories; a run writes them with tir.dump_dir. A file of rates ends in "
            f"{', '.join(FORMATS)}"
        )
    finder = _QuestionFinder(problems)
    outcomes: dict[int, dict[str, dict[str, list[float]]]] = {}
    unknown = set()
    for item in read_dump(folder):
        if item.partition != partition or item.correct is None:
            continue
        prompt = item.prompt
        if (key := finder.find(prompt)) is None:
            unknown.add(prompt)
        else:
            outcomes.setdefault(item.step, {}).setdefault(item.run, {}).setdefault(key, []).append(float(item.correct))
    if not outcomes:
        raise FileError(
            f"{folder}: no {partition} trajectory of it is of a problem in this data; name the data that the run was "
            f"trained on, or the other partition: --partition {'train' if partition == 'val' else 'val'}"
        )
    visits: dict[str, dict[int, list[float]]] = {}
    for step in sorted(outcomes):
        # Of a step that a resumed run repeated, the later run counts.
        last = max(outcomes[step])
        for key, values in outcomes[step][last].items():
            epochs = visits.setdefault(key, {})
            epochs[len(epochs)] = values
    return Rates(_curves(visits), len(unknown), tuple(stamp(path) for path in files))


class _QuestionFinder:
    """Which question a rolled-out prompt asks: the longest one that stands in it word for word.

    All prompts of a run have the same text around the question. Once it is known, finding one is a look-up.
    """

    def __init__(self, problems: Iterable[Wanted]) -> None:
        self._ids = {problem.question: problem.id for problem in problems}
        self._normal = {normalised(question): key for question, key in self._ids.items()}
        self._around: tuple[str, str] | None = None

    def find(self, prompt: str) -> str | None:
        """The id of the problem, None where no question of these stands in the prompt."""
        if self._around:
            before, after = self._around
            if prompt.startswith(before) and prompt.endswith(after):
                question = prompt[len(before) : len(prompt) - len(after)]
                return self._ids.get(question) or self._normal.get(normalised(bare(question).text))
        inside = [question for question in self._ids if question in prompt]
        if not inside:
            return None
        question = max(inside, key=len)
        before, _, after = prompt.rpartition(question)
        self._around = before, after
        return self._ids[question]
