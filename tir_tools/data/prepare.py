"""`verl-tir data prepare`, apart from its console: find the files, prepare them, write the result and its manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tir_tools.data.columns import USUAL, VERL, Columns
from tir_tools.data.errors import CountError, DataError, FileError
from tir_tools.data.files import FileStamp, find, stamp
from tir_tools.data.filter import FilterSettings, Prepared, filter_problems
from tir_tools.data.hub import fetch
from tir_tools.data.judge import PoolJudge
from tir_tools.data.manifest import manifest_path, prepare_manifest, refuse_foreign, write_manifest
from tir_tools.data.overlap import Held, HeldOut
from tir_tools.data.problem import Role
from tir_tools.data.progress import Progress
from tir_tools.data.reading import Reader, Reading
from tir_tools.data.rules import ALWAYS, OFF_BY_DEFAULT, Rule, RuleLimits
from tir_tools.data.sources import BY_NAME, Source
from tir_tools.data.verl_format import needs_lists, write_problems


@dataclass(frozen=True, slots=True)
class Own:
    """What has to be said of a data set that is not among the known ones."""

    name: str | None = None
    """None for the rows' own `data_source`, or the file's name."""
    role: Role | None = None
    """None for training data."""
    question_column: str | None = None
    answer_column: str | None = None

    @property
    def columns(self) -> Columns:
        """Those in use, and before them the ones that were named."""
        question = (self.question_column,) if self.question_column else USUAL.question
        answer = (self.answer_column,) if self.answer_column else USUAL.answer
        return replace(USUAL, question=question, answer=answer)


@dataclass(frozen=True, slots=True)
class PrepareRequest:
    """What is to be prepared, and how."""

    source: str
    """The name of a known data set, or the path of another."""
    output: Path | None = None
    """None for `data/NAME.parquet`."""
    place: Path | None = None
    """Where a known data set lies; None for the hub."""
    revision: str = "main"
    against: tuple[Path, ...] = ()
    keep: tuple[Rule, ...] = ()
    drop: tuple[Rule, ...] = ()
    expect: int | None = None
    skip_bad_rows: bool = False
    keep_instructions: bool = False
    """Leave questions as they are, for a recipe without a prompt of its own."""
    answer_lists: bool = False
    """Write every ground truth as a list, to go with a file that has several accepted answers."""
    own: Own = field(default_factory=Own)
    limits: RuleLimits = field(default_factory=RuleLimits)
    workers: int = 1
    dry_run: bool = False

    @property
    def rules(self) -> frozenset[Rule]:
        """Those that are asked."""
        return frozenset(Rule) - OFF_BY_DEFAULT - frozenset(self.keep) | frozenset(self.drop)


@dataclass(frozen=True, slots=True)
class PreparedFile:
    """What was done."""

    title: str
    reading: Reading
    settings: FilterSettings
    prepared: Prepared
    held_out: int
    """Problems that the data was compared with."""
    output: Path | None
    """None where nothing was written."""


@dataclass(frozen=True, slots=True)
class _Origin:
    """A data set, found."""

    name: str
    title: str
    role: Role
    paths: Sequence[Path]
    reader: Reader
    expected: int | None
    record: dict[str, Any]
    """For the manifest."""


def prepare_files(request: PrepareRequest, progress: Progress) -> PreparedFile:
    """Do what is requested.

    Raises:
        DataError: the data, a file or the request is wrong; nothing was written.
        ScoringError: the scorer does not come up.
    """
    if fixed := [rule for rule in request.keep if rule in ALWAYS]:
        raise DataError(f"--keep {fixed[0]}: without it a row is not a problem, so this rule is always on")
    origin = _known(request) if request.source in BY_NAME else _own(request)
    output = request.output or Path("data") / f"{origin.name}.parquet"
    if output.suffix != ".parquet":
        raise FileError(f"--output {output}: verl reads Parquet; let its name end in .parquet")
    against = [path for place in request.against for path in find(place)]
    if itself := {path.resolve() for path in against} & {path.resolve() for path in origin.paths}:
        raise FileError(f"--against {min(itself).name}: the data would be compared with itself; name other files")
    if output.resolve() in {path.resolve() for path in (*origin.paths, *against)}:
        raise FileError(f"--output {output} is also an input; name another file")
    if origin.role is Role.BENCHMARK and request.limits.levels:
        raise DataError(f"{origin.name} is a benchmark, which is kept whole: leave --level out")
    if not request.dry_run:
        refuse_foreign(output)
    reading = origin.reader.read(origin.paths, progress)
    _check_count(origin, reading)
    held, held_files = _held(against, progress)
    settings = FilterSettings(origin.role, request.rules, request.limits)
    with PoolJudge(request.workers, progress=progress) as judge:
        prepared = filter_problems(reading.problems, settings, held, judge, progress)
    written = None
    if not request.dry_run:
        if not prepared.kept:
            (rule, count), *_ = Counter(finding.rule for finding in prepared.findings).most_common(1) or [("", 0)]
            raise DataError(f"{origin.name}: no row is left; {rule} alone dropped {count} of {reading.rows}")
        lists = request.answer_lists or needs_lists(prepared.kept)
        write_problems(prepared.kept, origin.role.split, output, lists=lists)
        manifest = prepare_manifest(
            source={"name": origin.name, "expected": origin.expected, **origin.record},
            reading=reading,
            settings=settings,
            held_out=held_files,
            prepared=prepared,
            written={"keep_instructions": request.keep_instructions, "answer_lists": lists},
            output=stamp(output),
        )
        write_manifest(manifest, manifest_path(output))
        written = output
    return PreparedFile(origin.title, reading, settings, prepared, len(held), written)


def _known(request: PrepareRequest) -> _Origin:
    source: Source = BY_NAME[request.source]
    if request.own != Own():
        raise DataError(
            f"{source.name} is a known data set, so --name, --role and columns are given; to read a file of that name "
            f"in your own way, write ./{source.name}"
        )
    record: dict[str, Any] = {"repository": source.repository}
    if request.place is None:
        snapshot = fetch(source, request.revision)
        folder, record["revision"] = snapshot.folder, snapshot.revision
    else:
        folder = request.place
    reader = Reader(source.columns | VERL, source.name, request.skip_bad_rows, request.keep_instructions)
    expected = source.expected if request.expect is None else request.expect
    paths = find(folder, source.files)
    return _Origin(source.name, source.title, source.role, paths, reader, expected, record)


def _own(request: PrepareRequest) -> _Origin:
    place = Path(request.source)
    if request.place is not None:
        raise DataError(f"--from goes with a known data set, and {request.source!r} is none: {', '.join(BY_NAME)}")
    if not place.exists():
        raise FileError(f"{request.source!r} is neither a file or folder nor a known data set: {', '.join(BY_NAME)}")
    own = request.own
    reader = Reader(own.columns, own.name, request.skip_bad_rows, request.keep_instructions)
    name = own.name or place.resolve().stem
    return _Origin(name, name, own.role or Role.TRAIN, find(place), reader, request.expect, {})


def _check_count(origin: _Origin, reading: Reading) -> None:
    if origin.expected is not None and reading.rows != origin.expected:
        files = ", ".join(file.name for file in reading.files)
        raise CountError(
            f"{origin.name}: {reading.rows} rows in {files}, where {origin.expected} are expected; a part of the data, "
            f"or another version of it. If this is what you mean: --expect {reading.rows}"
        )


def _held(files: Sequence[Path], progress: Progress) -> tuple[HeldOut, list[FileStamp]]:
    reader = Reader(USUAL)
    readings = [reader.read([path], progress) for path in files]
    held = [Held(problem, reading.files[0].name) for reading in readings for problem in reading.problems]
    return HeldOut(held), [file for reading in readings for file in reading.files]
