"""verl's file logger as it is read: a JSON line per step, in a file that may still grow.

verl writes it where `trainer.logger` has `file`: to `VERL_FILE_LOGGER_PATH`, or else to
`{VERL_FILE_LOGGER_ROOT or .}/{trainer.project_name}/{trainer.experiment_name}.jsonl`. It empties the file when it
opens it.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tir_tools.files import Tail
from tir_tools.report.history import History

logger = logging.getLogger(__name__)


class MetricsError(ValueError):
    """A file holds no metrics of verl's file logger."""


@dataclass(slots=True)
class MetricsLog:
    """The metrics in one or several files. Of a step that several hold, later files have the last word."""

    paths: Sequence[Path]
    _tails: list[Tail] = field(init=False)
    _steps: dict[int, dict[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._tails = [Tail(path) for path in self.paths]

    def read(self) -> History:
        """All steps so far; a file that begins anew adds to what was read before.

        Raises:
            MetricsError: a line is of another kind.
        """
        for tail in self._tails:
            for line in tail.lines():
                try:
                    step, values = parse_metrics(line)
                except json.JSONDecodeError as error:
                    logger.warning("%s: a line is passed over that is not JSON (%s): %.60r", tail.path, error, line)
                    continue
                except (KeyError, TypeError) as error:
                    raise MetricsError(
                        f"{tail.path}: no line of verl's file logger (it has no {error}): {line:.100}; "
                        'give the file that verl writes with trainer.logger=["console","file"]'
                    ) from None
                self._steps.setdefault(step, {}).update(numbers(values))
        return History(self._steps)


def read_metrics(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """All steps in one file and their metrics as they stand there; none where verl has not opened its file."""
    return [parse_metrics(line) for line in Tail(path).lines()]


def metric_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of one file, each with its step; what a killed process left half written is not one."""
    for line in Tail(path).lines():
        yield parse_metrics(line)[0], line


def parse_metrics(line: str) -> tuple[int, dict[str, Any]]:
    """One line of verl's file logger: the step and its metrics.

    Raises:
        json.JSONDecodeError, KeyError, TypeError: it is not one.
    """
    record = json.loads(line)
    return record["step"], record["data"]


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Those of the values that are finite numbers; the logger writes NaN and infinity as null."""
    kinds = (int, float)
    return {name: float(value) for name, value in values.items() if isinstance(value, kinds) and math.isfinite(value)}
