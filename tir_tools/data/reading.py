"""From files to problems: every row read, or an error that says which row is wrong and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tir_tools.data.columns import Columns, Fields, choose, read
from tir_tools.data.errors import FileError, RowError, shortened
from tir_tools.data.files import FileStamp, open_file, stamp
from tir_tools.data.instructions import bare
from tir_tools.data.mending import Note, Remark, mended
from tir_tools.data.normal import problem_id
from tir_tools.data.problem import Problem
from tir_tools.data.progress import Progress, silent


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that could not be read, and was left out because that was asked for."""

    row: int
    reason: str


@dataclass(frozen=True, slots=True)
class NotedRow:
    """A row, and what was mended in it or looks wrong."""

    row: int
    detail: str


@dataclass(frozen=True, slots=True)
class Reading:
    """All that files hold."""

    problems: tuple[Problem, ...]
    bad_rows: tuple[BadRow, ...]
    noted: Mapping[Remark, tuple[NotedRow, ...]]
    """By remark, in the order of the remarks; those of no row are left out."""
    files: tuple[FileStamp, ...]

    @property
    def rows(self) -> int:
        return len(self.problems) + len(self.bad_rows)

    @property
    def mended(self) -> tuple[int, ...]:
        """Rows in which anything was mended, in order."""
        return tuple(
            sorted({item.row for remark, items in self.noted.items() if not remark.is_warning for item in items})
        )


@dataclass(frozen=True, slots=True)
class Reader:
    """How files are read."""

    columns: Columns
    data_source: str | None = None
    """None for the rows' own, or the file's name."""
    skip_bad_rows: bool = False
    keep_instructions: bool = False
    """Whether questions keep their instructions; their ids are those of the bare questions all the same."""

    def read(self, paths: Sequence[Path], progress: Progress = silent) -> Reading:
        """The problems of files, one after the other.

        Raises:
            FileError, ColumnError: a file cannot be used.
            RowError: a row cannot, and `skip_bad_rows` is off.
        """
        problems: list[Problem] = []
        bad_rows: list[BadRow] = []
        noted: dict[Remark, list[NotedRow]] = {remark: [] for remark in Remark}
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
                    problem, notes = self._problem(fields, number, path.stem)
                    problems.append(problem)
                    if whole != wanted:
                        noted[Remark.LATEX].append(NotedRow(number, r"a command such as \frac, half of it escaped"))
                    for remark, detail in _by_remark((*fields.notes, *notes)).items():
                        noted[remark].append(NotedRow(number, detail))
        if not number:
            raise FileError(f"{', '.join(map(str, paths))}: no rows")
        progress("reading rows", number, number)
        files = tuple(stamp(path) for path in paths)
        found = {remark: tuple(rows) for remark, rows in noted.items() if rows}
        return Reading(tuple(problems), tuple(bad_rows), found, files)

    def _problem(self, fields: Fields, row: int, stem: str) -> tuple[Problem, list[Note]]:
        question = bare(fields.question)
        notes = []
        if self.keep_instructions:
            if instructions := " ".join(question.removed) or question.left:
                notes.append(Note(Remark.INSTRUCTIONS_LEFT, shortened(instructions)))
        else:
            if question.removed:
                notes.append(Note(Remark.INSTRUCTIONS, shortened(" ".join(question.removed))))
            if question.left:
                notes.append(Note(Remark.INSTRUCTIONS_LEFT, shortened(question.left)))
        problem = Problem(
            id=problem_id(question.text),
            question=fields.question if self.keep_instructions else question.text,
            answers=fields.answers,
            row=row,
            data_source=self.data_source or fields.data_source or stem,
            level=fields.level,
            subject=fields.subject,
            asked=fields.asked,
            complaint=fields.complaint,
            solution=fields.solution,
        )
        return problem, notes


def _by_remark(notes: Iterable[Note]) -> dict[Remark, str]:
    """The first detail of each remark: a row is counted once."""
    details: dict[Remark, str] = {}
    for note in notes:
        details.setdefault(note.remark, note.detail)
    return details
