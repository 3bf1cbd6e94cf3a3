"""The verdict on an answer, and a memory of verdicts."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from enum import StrEnum

MAX_VERDICTS = 20_000
MAX_CHARS = 400
"""Of the texts of a verdict that is kept: 20,000 of them take some 10 MB."""


class Verdict(StrEnum):
    """What is known of a response's answer; one enum for reward, evaluation, report and metrics."""

    CORRECT = "correct"
    """The answer is one of the accepted answers."""
    WRONG = "wrong"
    """The comparison came to its end and no accepted answer is the same."""
    NO_ANSWER = "no_answer"
    """The response has no complete box. It counts as wrong; a comparison never returns it."""
    UNDECIDED = "undecided"
    """The comparison ran out of time or memory, or its process died. Says nothing about the answer."""

    @classmethod
    def of(cls, same: bool) -> Verdict:
        """The verdict of a comparison that came to its end."""
        return cls.CORRECT if same else cls.WRONG


class VerdictCache:
    """The verdicts used last: the trajectories of a group answer the same problem, and often alike. Thread-safe.

    What is undecided is not kept, for the next time it may be decided.
    """

    def __init__(self) -> None:
        self._verdicts: OrderedDict[tuple[str, ...], Verdict] = OrderedDict()
        self._guard = threading.Lock()

    def get(self, answer: str, accepted: Sequence[str]) -> Verdict | None:
        """What was found of these texts; None where nothing is remembered."""
        key = (answer, *accepted)
        with self._guard:
            verdict = self._verdicts.get(key)
            if verdict is not None:
                self._verdicts.move_to_end(key)
            return verdict

    def put(self, answer: str, accepted: Sequence[str], verdict: Verdict) -> None:
        """Remember a verdict, and forget the one that was used longest ago where there are too many."""
        key = (answer, *accepted)
        if verdict is Verdict.UNDECIDED or sum(map(len, key)) > MAX_CHARS:
            return
        with self._guard:
            self._verdicts[key] = verdict
            if len(self._verdicts) > MAX_VERDICTS:
                self._verdicts.popitem(last=False)
