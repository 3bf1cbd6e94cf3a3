"""`verl-tir data select`, apart from its console: read a prepared file and rates, choose, write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tir_tools.data.choice import Choice, select
from tir_tools.data.columns import USUAL
from tir_tools.data.errors import DataError, FileError
from tir_tools.data.files import stamp
from tir_tools.data.manifest import manifest_path, refuse_foreign, select_manifest, write_manifest
from tir_tools.data.progress import Progress
from tir_tools.data.rates import Rates, Wanted, read_rates
from tir_tools.data.reading import Reader
from tir_tools.data.verl_format import write_table


@dataclass(frozen=True, slots=True)
class SelectRequest:
    """What is to be selected, and how."""

    data: Path
    """In verl's format."""
    rates: Path
    """A file, or the folder of a trajectory dump."""
    choice: Choice
    partition: str = "train"
    """Of the dump."""
    output: Path | None = None
    """None for `NAME.METHOD.parquet` beside the data."""
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class SelectedFile:
    """What was done."""

    figures: Mapping[str, Any]
    unknown: int
    """Problems with a rate that are not in the data."""
    output: Path | None
    """None where nothing was written."""


def select_files(request: SelectRequest, progress: Progress) -> SelectedFile:
    """Do what is requested. Rows stay as they are, `extra_info.index` included, and in their order.

    Raises:
        DataError: the data, the rates or the request is wrong; nothing was written.
    """
    if request.data.suffix != ".parquet" or not request.data.is_file():
        raise FileError(f"{request.data} is not a Parquet file; name one that verl-tir data prepare wrote")
    output = request.output or request.data.with_suffix(f".{request.choice.method}.parquet")
    if not request.dry_run:
        refuse_foreign(output)
    if output.resolve() == request.data.resolve():
        raise FileError(f"--output {output} is also the input; name another file")
    reading = Reader(USUAL).read([request.data], progress)
    table = pq.read_table(request.data)
    ids = [problem.id for problem in reading.problems]
    asked = [
        Wanted(problem.id, index, problem.question)
        for problem, index in zip(reading.problems, _indices(table), strict=True)
    ]
    rates: Rates = read_rates(request.rates, asked, request.partition)
    selected = select(ids, rates.curves, request.choice)
    written = None
    if not request.dry_run:
        if not selected.ids:
            counts = ", ".join(f"{name} {count}" for name, count in selected.figures["counts"].items())
            raise DataError(f"no problem is selected ({counts}); widen the window, or lower the threshold")
        # What pandas noted about its index no longer holds.
        rows = table.filter(pa.array([key in selected.ids for key in ids])).replace_schema_metadata(None)
        write_table(rows, output)
        manifest = select_manifest(
            data=reading.files[0],
            rates=rates.files,
            settings={**asdict(request.choice), "partition": request.partition},
            outcome={**selected.figures, "unknown": rates.unknown},
            output=stamp(output),
        )
        write_manifest(manifest, manifest_path(output))
        written = output
    return SelectedFile(selected.figures, rates.unknown, written)


def _indices(table: pa.Table) -> list[int]:
    """`extra_info.index` of each row, or its position where the file has none."""
    if "extra_info" in table.column_names and table.schema.field("extra_info").type.get_field_index("index") >= 0:
        return pc.struct_field(table.column("extra_info"), "index").to_pylist()
    return list(range(table.num_rows))
