"""What is put to two sandbox servers to see where their answers differ: requests, each with a name."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Case:
    """One request."""

    name: str
    path: str
    body: bytes

    @staticmethod
    def program(name: str, code: str, **options: Any) -> Case:
        """A Python program; `options` are further fields of the request."""
        return Case.request(name, code=code, language="python", **options)

    @staticmethod
    def request(name: str, **fields: Any) -> Case:
        """Any /run_code request."""
        return Case(name, "/run_code", json.dumps(fields).encode())

    @staticmethod
    def cells(name: str, *cells: Any, **options: Any) -> Case:
        """A /run_jupyter request."""
        return Case(name, "/run_jupyter", json.dumps({"cells": cells, **options}).encode())
