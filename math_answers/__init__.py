"""Is this answer that one? The boxed answer of a response against its ground truth. No verl, no torch.

Five files matter:

- `extraction` finds the answer in a text, and reads ground truths as data sets give them.
- `equivalence` says whether two texts are the same answer, and which of the ways to tell comes first.
- `form` takes an answer apart: a tuple, an interval, a set, a matrix, a relation, an expression.
- `compare` compares two forms, with `plain_number`, `units`, `relations` and `ratios` for their parts; what these do
  not settle, `algebra` does with sympy.
- `pool` runs what needs algebra in `worker` processes, each bounded in time and memory.
"""

from typing import TYPE_CHECKING

from math_answers.extraction import accepted_answers, last_boxed, quoted_texts
from math_answers.process import PoolLimits, ScoringError, WorkerStartError
from math_answers.verdict import Verdict

if TYPE_CHECKING:
    from math_answers.pool import PoolClosedError, ScoringPool

__all__ = [
    "PoolClosedError",
    "PoolLimits",
    "ScoringError",
    "ScoringPool",
    "Verdict",
    "WorkerStartError",
    "accepted_answers",
    "last_boxed",
    "quoted_texts",
]


def __getattr__(name: str) -> object:
    """The pool, imported when asked for: who only reads answers or checks settings needs no comparison."""
    if name not in ("PoolClosedError", "ScoringPool"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from math_answers import pool

    return getattr(pool, name)
