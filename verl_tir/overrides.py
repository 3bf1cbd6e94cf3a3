"""What a launch's overrides select of the plugin's config groups; the standard library only, as `plugin` must load."""

from __future__ import annotations

import re
from collections.abc import Sequence

RECIPE_VARIABLE = "VERL_TIR"
"""Environment variable that carries the selected recipe from the driver to every Ray worker."""

GROUPS = ("tir", "ablation")
"""The config groups that the plugin brings."""

_SELECTION = re.compile(rf"^\+{{0,2}}({'|'.join(GROUPS)})(?:@[^=]*)?=(.+)$")


def selected(group: str, argv: Sequence[str]) -> str | None:
    """The option of a config group, one of `GROUPS`, that a Hydra command line selects, or None."""
    options = [match[2] for match in map(_SELECTION.match, argv[1:]) if match and match[1] == group]
    return options[-1] if options else None


def without(group: str, overrides: Sequence[str]) -> tuple[str, ...]:
    """The overrides that select nothing of a config group: Hydra takes a selection once."""
    return tuple(word for word in overrides if selected(group, ["", word]) is None)
