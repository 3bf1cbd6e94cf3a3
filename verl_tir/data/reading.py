"""From files to problems: every row read, or an error that says which row is wrong and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from verl_tir.data.columns import Columns, Fields, choose, read
from verl_tir.data.errors import FileError, RowError
from verl_tir.data.files import FileStamp, open_file, stamp
from verl_tir.data.mending import mended
from verl_tir.data.normal import problem_id
from verl_tir.data.problem import Problem
from verl_tir.data.progress import Progress, silent
from verl_tir.data.sources import Wrapper


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that could not be read, and was left out because that was asked for."""

    row: int
    reason: str


@dataclass(frozen=True, slots=True)
class Reading:
    """All that files hold."""

    problems: tuple[Problem, ...]
    bad_rows: tuple[BadRow, ...]
    mended: tuple[int, ...]
    """Rows in which a swallowed LaTeX command was restored."""
    files: tuple[FileStamp, ...]

    @property
    def rows(self) -> int:
        return len(self.problems) + len(self.bad_rows)


@dataclass(frozen=True, slots=True)
class Reader:
    """How files are read."""

    columns: Columns
    data_source: str | None = None
    """None for the rows' own, or the file's name."""
    wrapper: Wrapper | None = None
    skip_bad_rows: bool = False

    def read(self, paths: Sequence[Path], progress: Progress = silent) -> Reading:
        """The problems of files, one after the other.

        Raises:
            FileError, ColumnError: a file cannot be used.
            RowError: a row cannot, and `skip_bad_rows` is off.
        """
        problems: list[Problem] = []
        bad_rows: list[BadRow] = []
        mended_rows: list[int] = []
        number = 0
        for path in paths:
            file = open_file(path)
            chosen = choose(self.columns, file.columns, file.name)
            for in_file, row in enumerate(file.rows(chosen.top_level), start=1):
                number += 1
                if number % 1000 == 0:
                    progress("reading rows", number, None)
                wanted = {name: row[name] for name in chosen.top_level if name in row}
                whole = mended(wanted)
                try:
                    fields = read(chosen, whole, f"{file.name}, row {in_file}")
                except RowError as error:
                    if not self.skip_bad_rows:
                        raise
                    bad_rows.append(BadRow(number, str(error)))
                else:
                    problems.append(self._problem(fields, number, path.stem))
                    if whole != wanted:
                        mended_rows.append(number)
        if not number:
            raise FileError(f"{', '.join(map(str, paths))}: no rows")
        progress("reading rows", number, number)
        files = tuple(stamp(path) for path in paths)
        return Reading(tuple(problems), tuple(bad_rows), tuple(mended_rows), files)

    def _problem(self, fields: Fields, row: int, stem: str) -> Problem:
        question = self.wrapper.stripped(fields.question) if self.wrapper else fields.question
        return Problem(
            id=problem_id(question),
            question=question,
            answer=fields.answer,
            row=row,
            data_source=self.data_source or fields.data_source or stem,
            level=fields.level,
            subject=fields.subject,
            asked=fields.asked,
            complaint=fields.complaint,
            solution=fields.solution,
        )
