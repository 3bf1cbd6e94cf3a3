"""Rows of local data files: Parquet, JSON lines, JSON and CSV, a file or a folder of them."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tir_tools.data.errors import FileError, RowError, shortened

FORMATS = (".parquet", ".jsonl", ".json", ".csv")

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DataFile:
    """An open file of rows."""

    path: Path
    name: str
    """As messages and the manifest have it."""
    columns: tuple[str, ...]
    """Its columns, and `a.b` for each field b of a column a that holds records."""
    rows: Callable[[Sequence[str]], Iterator[Row]]
    """The rows with the given columns, from the first on."""


@dataclass(frozen=True, slots=True)
class FileStamp:
    """What identifies the content of a file."""

    name: str
    bytes: int
    sha256: str


def find(place: Path, patterns: Sequence[str] = ()) -> list[Path]:
    """The data files at `place`, itself or, for a folder, those in it, in order of their names.

    Args:
        place: a file or a folder.
        patterns: for a folder: the first pattern that matches anything chooses; by default every data file.

    Raises:
        FileError: there is none.
    """
    if place.is_file():
        return [place]
    if not place.exists():
        raise FileError(f"{place} does not exist")
    inside = sorted(
        path for path in place.rglob("*") if path.suffix in FORMATS and not _is_hidden(path.relative_to(place))
    )
    for pattern in patterns or ("*",):
        if chosen := [path for path in inside if fnmatch(path.relative_to(place).as_posix(), pattern)]:
            return chosen
    names = ", ".join(path.relative_to(place).as_posix() for path in inside[:20]) or "none"
    raise FileError(
        f"{place} holds no data file that matches {' or '.join(patterns) or ', '.join(FORMATS)}; data files there: "
        f"{names}. Name the file itself"
    )


def open_file(path: Path) -> DataFile:
    """A file of one of the known formats.

    Raises:
        FileError: it is of another format, or cannot be read.
        RowError: a line is not a record.
    """
    readers = {".parquet": _parquet, ".jsonl": _json_lines, ".json": _json, ".csv": _csv}
    if path.suffix not in readers:
        raise FileError(f"{path} is of no known format; name a file that ends in {', '.join(FORMATS)}")
    try:
        return readers[path.suffix](path)
    except UnicodeDecodeError as error:
        raise FileError(f"{path} is not UTF-8 text: {error}; convert it") from error
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error}") from error


def stamp(path: Path) -> FileStamp:
    """Size and hash of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileStamp(path.name, path.stat().st_size, digest)


def _is_hidden(path: Path) -> bool:
    # The manifests that `prepare` writes are JSON beside the data, and no data.
    return any(part.startswith(".") for part in path.parts) or path.name.endswith(".manifest.json")


def _parquet(path: Path) -> DataFile:
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise FileError(f"{path} is not a whole Parquet file: {error}") from error

    def rows(columns: Sequence[str]) -> Iterator[Row]:
        for batch in file.iter_batches(batch_size=4096, columns=list(columns)):
            yield from batch.to_pylist()

    names: list[str] = []
    for field in file.schema_arrow:
        names.append(field.name)
        if pa.types.is_struct(field.type):
            names += [f"{field.name}.{inner.name}" for inner in field.type]
    return DataFile(path, path.name, tuple(names), rows)


def _json_lines(path: Path) -> DataFile:
    records: list[Any] = []
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            row = len(records) + 1
            place = f"{path.name}, row {row}" + (f" (line {number})" if number != row else "")
            try:
                records.append(json.loads(line, object_pairs_hook=_record))
            except _RepeatedKey as error:
                raise RowError(f"{place}: {error}") from error
            except json.JSONDecodeError as error:
                raise RowError(
                    f"{place}: {shortened(line)} is not JSON: {error}; a line is a record, and a file that is one JSON "
                    "list as a whole ends in .json"
                ) from error
    return _of_records(path, records)


def _json(path: Path) -> DataFile:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_record)
    except _RepeatedKey as error:
        raise RowError(f"{path}: {error}") from error
    except json.JSONDecodeError as error:
        raise FileError(f"{path} is not JSON: {error}; a file with a record in each line ends in .jsonl") from error
    if isinstance(content, dict):
        lists = [value for value in content.values() if isinstance(value, list)]
        content = lists[0] if len(lists) == 1 else content
    if not isinstance(content, list):
        raise FileError(f"{path} holds {shortened(content)}, where a list of records is needed, alone or under one key")
    return _of_records(path, content)


class _RepeatedKey(ValueError):
    """A JSON object has a key twice."""


def _record(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in record if keys.count(key) > 1)
        values = ", ".join(shortened(value, 40) for key, value in pairs if key == twice)
        raise _RepeatedKey(f"the key {twice!r} stands in a record more than once, with {values}; leave one")
    return record


def _csv(path: Path) -> DataFile:
    # Not by inference of types: the answer 073 is not the number 73, and an answer "None" is not a missing one.
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        records = []
        try:
            header = next(reader, None)
            if not header:
                raise FileError(f"{path} is empty; its first line names the columns")
            if twice := {name for name in header if header.count(name) > 1}:
                raise FileError(f"{path} has more than one column {min(twice)!r}; leave one")
            # An empty line has no fields.
            for number, values in enumerate(filter(None, reader), start=1):
                if len(values) != len(header):
                    raise RowError(
                        f"{path.name}, row {number} (to line {reader.line_num}) has {len(values)} fields, where the "
                        f"header names {len(header)}; quote fields that hold commas or line breaks"
                    )
                records.append(dict(zip(header, values, strict=True)))
        except csv.Error as error:
            raise RowError(f"{path.name}, line {reader.line_num}: {error}") from error
    return _of_records(path, records)


def _of_records(path: Path, records: list[Any]) -> DataFile:
    if not records:
        raise FileError(f"{path} has no rows")
    names: dict[str, None] = {}
    for number, record in enumerate(records, start=1):
        if not isinstance(record, dict):
            raise RowError(
                f"{path.name}, row {number} is {shortened(record)}, where a record is needed; a file that is one JSON "
                "list as a whole ends in .json"
            )
        names |= dict.fromkeys(_names(record))
    return DataFile(path, path.name, tuple(names), lambda columns: iter(records))


def _names(record: Mapping[str, Any]) -> Iterator[str]:
    for key, value in record.items():
        yield key
        if isinstance(value, dict):
            yield from (f"{key}.{name}" for name in value)
