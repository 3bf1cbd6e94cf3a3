"""A problem, and the programs that solve it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Program:
    """A program, and what comes of it, known without running it."""

    code: str
    stdout: str = ""
    error: str = ""
    """The last line of stderr of a program that fails; empty for one that succeeds."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A question in words, its answer, and ways to it."""

    kind: str
    """Name of its kind; verl's `data_source`, so that validation shows the success of each."""
    question: str
    answer: str
    solution: tuple[Program, ...]
    """One for each tool turn; the last one prints the answer."""
    mistake: Program
    """In the place of the first of the solution: it runs, and what it prints is not the answer."""
