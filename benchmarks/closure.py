"""What a training launch imports of this project: files and lines by package, imports inside functions included.

    make closure

From the import graph, so that nothing has to run. Counted for the driver and its workers: the plugin's entry point, the
check of the launch, the agent loop with its client, the sampler and the methods. The reward workers' share, which
compares answers, is shown apart.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
PACKAGES = ("verl_tir", "sandbox_client", "sandbox_server", "math_answers", "tir_tools", "verl_cpu")

LAUNCH = ("verl_tir.plugin", "verl_tir.launch", "verl_tir.rollout.agent_loop", "verl_tir.sampler.verl_buffer")
METHODS = "verl_tir.methods"
TURN_RULES = "verl_tir.rollout.turn_rules"
"""A launch imports one of them, by its name; all are counted."""
REWARD = ("verl_tir.reward", "math_answers.pool", "math_answers.worker")

LAZY = {"sandbox_server": ("sandbox_server.config", "sandbox_server.launcher")}
"""What a package imports by name when one of its public names is asked for: the graph does not see it."""
NOT_REACHED = {("math_answers", "math_answers.pool"): "asked for by the reward's workers only, which are counted apart"}
"""Imports inside functions that the driver does not come to, and why."""


@dataclass(frozen=True)
class Share:
    """Some of the project's modules."""

    modules: frozenset[str]

    def of(self, *packages: str) -> Share:
        """Those of some packages, each a dotted name."""
        return Share(
            frozenset(m for m in self.modules for package in packages if m == package or m.startswith(f"{package}."))
        )

    def __sub__(self, other: Share) -> Share:
        return Share(self.modules - other.modules)

    @property
    def files(self) -> int:
        """How many there are."""
        return len(self.modules)

    @property
    def lines(self) -> int:
        """Of all files, blank lines and comments included."""
        return sum(len(_file(module).read_text(encoding="utf-8").splitlines()) for module in self.modules)


def _file(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _closure(graph: grimp.ImportGraph, roots: Iterable[str]) -> Share:
    """The roots, what they import, and the packages that these are in, whose `__init__` runs too."""
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        module = waiting.pop()
        if module in found or module not in graph.modules or module.partition(".")[0] not in PACKAGES:
            continue
        found.add(module)
        imported = graph.find_modules_directly_imported_by(module)
        waiting += [name for name in imported if (module, name) not in NOT_REACHED]
        waiting += LAZY.get(module, ())
        if "." in module:
            waiting.append(module.rpartition(".")[0])
    return Share(frozenset(found))


def _check_that_all_is_seen(graph: grimp.ImportGraph) -> None:
    """The graph leaves out a folder without an `__init__` and all below it, without a word."""
    for package in PACKAGES:
        root = _file(package).parent
        for path in root.rglob("*.py"):
            module = ".".join([package, *path.relative_to(root).with_suffix("").parts]).removesuffix(".__init__")
            assert module in graph.modules, f"{path}: not in the import graph; is there an __init__.py?"


def measure() -> tuple[Share, Share]:
    """What the driver and its workers import, and what the reward's workers import besides."""
    graph = grimp.build_graph(*PACKAGES, exclude_type_checking_imports=True, cache_dir=None)
    _check_that_all_is_seen(graph)
    by_name = graph.find_descendants(METHODS) | graph.find_descendants(TURN_RULES)
    launch = _closure(graph, [*LAUNCH, *by_name])
    reward = _closure(graph, REWARD)
    return launch, reward - launch


def main() -> None:
    launch, reward = measure()
    rows = [
        ("verl_tir, without methods", launch.of("verl_tir") - launch.of(METHODS)),
        ("verl_tir.methods", launch.of(METHODS)),
        ("sandbox_client", launch.of("sandbox_client")),
        ("plugin and client", launch.of("verl_tir", "sandbox_client")),
        ("sandbox_server: its start", launch.of("sandbox_server")),
        ("math_answers: answers in a text", launch.of("math_answers")),
        ("a launch", launch),
        ("the reward's workers besides", reward),
        ("in all", Share(launch.modules | reward.modules)),
    ]
    for name, share in rows:
        print(f"{name:32} {share.files:4} files {share.lines:7,} lines")
    for (importer, imported), reason in NOT_REACHED.items():
        print(f"not followed: {importer} -> {imported}: {reason}")
    if "-v" in sys.argv:
        print(*sorted(launch.modules | reward.modules), sep="\n")


if __name__ == "__main__":
    main()
