"""Parts that a setting names: by a name of ours, or as `package.module:NAME`, so that a method needs no change here."""

from __future__ import annotations

import importlib
from collections.abc import Mapping


def find_by_path(name: str, names: Mapping[str, str]) -> object:
    """The object that `names` has a path for, or the one at that path.

    Raises:
        ValueError: there is none; the message says what is allowed, or why the import failed.
    """
    module, colon, attribute = names.get(name, name).partition(":")
    if not (module and colon and attribute):
        raise ValueError(f"must be one of {', '.join(names)}, or the path package.module:NAME of a rule of yours")
    try:
        found: object = getattr(importlib.import_module(module), attribute, None)
    except BaseException as error:
        # Whatever a module of the user's raises; what ends the process is not an import error.
        if not isinstance(error, Exception):
            raise
        raise ValueError(f"module {module} cannot be imported ({type(error).__name__}: {error})") from error
    if found is None:
        raise ValueError(f"module {module} has no {attribute}")
    return found
