"""The manifest: what a data file was made of, and how, so that it can be made again and checked.

It has no dates and no folders: the same input gives the same manifest.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import verl_tir
from tir_tools.data.errors import FileError
from tir_tools.data.files import FileStamp
from tir_tools.data.filter import FilterSettings, Prepared
from tir_tools.data.mending import Remark
from tir_tools.data.overlap import Match
from tir_tools.data.reading import Reading
from tir_tools.data.rules import Rule, RuleFinding, answer_texts
from tir_tools.files import write_text

SCHEMA = 1
EXAMPLES = 3
"""Rows that are shown in full for each rule."""
_EXCERPT = 120


def manifest_path(data: Path) -> Path:
    """Where the manifest of a data file lies."""
    return data.with_suffix(".manifest.json")


def prepare_manifest(
    *,
    source: Mapping[str, Any],
    reading: Reading,
    settings: FilterSettings,
    held_out: Sequence[FileStamp],
    prepared: Prepared,
    written: Mapping[str, Any],
    output: FileStamp | None,
) -> dict[str, Any]:
    """The manifest of a prepared file, as plain data; docs/data.md has its fields."""
    limits = asdict(settings.limits)
    return {
        **_head("prepare"),
        "source": {**source, "files": [asdict(file) for file in reading.files]},
        "settings": {
            "role": settings.role,
            "rules": [rule for rule in Rule if rule in settings.rules],
            **limits,
            **written,
        },
        "rows": {
            "read": reading.rows,
            "bad": len(reading.bad_rows),
            "found": len(prepared.findings),
            "written": len(prepared.kept),
        },
        "mended": {
            "count": len(reading.mended),
            "rows": list(reading.mended),
            "by_kind": {remark: _noted(reading, remark) for remark in reading.noted if not remark.is_warning},
        },
        "warnings": {remark: _noted(reading, remark) for remark in reading.noted if remark.is_warning},
        "bad_rows": [asdict(item) for item in reading.bad_rows],
        "rules": _by_rule(prepared.findings),
        "overlap": {
            "against": [asdict(file) for file in held_out],
            "problems": [_match(match) for match in prepared.overlap],
        },
        "output": None if output is None else asdict(output),
    }


def select_manifest(
    *,
    data: FileStamp,
    rates: Sequence[FileStamp],
    settings: Mapping[str, Any],
    outcome: Mapping[str, Any],
    output: FileStamp | None,
) -> dict[str, Any]:
    """The manifest of a selection."""
    return {
        **_head("select"),
        "source": asdict(data),
        "rates": [asdict(file) for file in rates],
        "settings": dict(settings),
        **outcome,
        "output": None if output is None else asdict(output),
    }


def write_manifest(manifest: Mapping[str, Any], path: Path) -> None:
    """Write it with a line per field, and lists of numbers in one line each."""
    write_text(path, _lines(manifest, "") + "\n")


def refuse_foreign(output: Path) -> None:
    """Protect what this command has not written.

    Raises:
        FileError: there is a file at `output`, and no manifest beside it.
    """
    if output.exists() and not manifest_path(output).is_file():
        raise FileError(
            f"{output} exists and has no manifest beside it, so it was not written by this command; name another "
            "file with --output, or remove it"
        )


def _head(command: str) -> dict[str, Any]:
    packages = ("pyarrow", "math-verify", "latex2sympy2_extended", "sympy")
    versions = {"python": platform.python_version(), **{name: version(name) for name in packages}}
    return {
        "schema": SCHEMA,
        "command": f"verl-tir data {command}",
        "verl_tir": verl_tir.__version__,
        "versions": versions,
    }


def _noted(reading: Reading, remark: Remark) -> dict[str, Any]:
    rows = reading.noted[remark]
    return {
        "count": len(rows),
        "rows": [item.row for item in rows],
        "examples": [asdict(item) for item in rows[:EXAMPLES]],
    }


def _by_rule(findings: Sequence[RuleFinding]) -> dict[str, Any]:
    found: dict[Rule, list[RuleFinding]] = {rule: [] for rule in Rule}
    for finding in findings:
        found[finding.rule].append(finding)
    return {
        rule: {
            "count": len(items),
            "rows": [item.problem.row for item in items],
            "examples": [
                {
                    "row": item.problem.row,
                    "id": item.problem.id,
                    "detail": item.detail,
                    "question": item.problem.question[:_EXCERPT],
                }
                for item in items[:EXAMPLES]
            ],
        }
        for rule, items in found.items()
        if items
    }


def _match(match: Match) -> dict[str, Any]:
    held = match.held
    return {
        "row": match.problem.row,
        "id": match.problem.id,
        "file": held.file,
        "file_row": held.problem.row,
        "file_id": held.problem.id,
        "similarity": round(match.similarity, 4),
        "same_answer_text": answer_texts(match.problem) == answer_texts(held.problem),
    }


def _lines(value: Any, indent: str) -> str:
    inner = indent + "  "
    if isinstance(value, Mapping) and value:
        fields = ",\n".join(f"{inner}{json.dumps(str(key))}: {_lines(item, inner)}" for key, item in value.items())
        return f"{{\n{fields}\n{indent}}}"
    if isinstance(value, list) and any(isinstance(item, Mapping | list) for item in value):
        items = ",\n".join(f"{inner}{json.dumps(item, ensure_ascii=False)}" for item in value)
        return f"[\n{items}\n{indent}]"
    return json.dumps(value, ensure_ascii=False)
