"""Whether an answer equals a ground truth: by text, numbers and forms where these settle it, else by algebra.

`settled` needs microseconds, no process of its own and no library, and settles most comparisons of a training run.
`is_equivalent` settles all, and `is_readable` tells what it reads. Call both only inside a scoring worker: sympy can
need unbounded time and memory for a short text.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from math_answers.algebra import SympyAlgebra, parsed
from math_answers.compare import Comparison
from math_answers.estimate import NeedsAlgebra, NoAlgebra
from math_answers.form import Cases, Form, Listed, Ratio, read_form
from math_answers.latex_text import (
    compact,
    has_numbers_side_by_side,
    is_date,
    is_words,
    tidy,
    unwrapped,
    words_of,
)
from math_answers.python_text import python_to_latex
from math_answers.qualifiers import Qualified, read_qualified, with_same_letters
from math_answers.ratios import is_time

MAX_PARSED_CHARS = 2_000
"""Longer texts are compared as text only. The ground truths of the usual data sets stay under 200 characters."""
MAX_SETTLED_CHARS = 400
"""Longer texts are left to a worker: what the caller's own process does takes well under a millisecond."""

_CHOICE = re.compile(r"\s*(?:\(([A-Z])\)|([A-Z])[).:](?=\s))")
_LEADING_SIGN = re.compile(r"^(?:\\approx(?![A-Za-z])|\u2248|=)\s*")
_NO_SOLUTION = frozenset(
    {
        ("no", "solution"),
        ("no", "solutions"),
        ("empty", "set"),
        ("empty",),
        ("emptyset",),
        ("\u65e0\u89e3",),
        ("\u7121\u89e3",),
    }
)
# As a set, and as sympy's list of all solutions.
_EMPTY = frozenset({r"\{\}", "[]"})
_ALL_REALS = frozenset({("all", "real", "numbers"), ("all", "reals"), ("real", "numbers")})
_REALS = r"(-\infty,\infty)"

_GROWS = re.compile(r"[\^!]|\\(?:[dt]?binom|choose|sum|prod|int)(?![a-z])")
"""What can make a short text a huge number; without it a comparison is quick, and need not be tried."""

_FULL = Comparison(SympyAlgebra())
# In the caller's own process.
_QUICK = Comparison(NoAlgebra(), max_pairs=100)


def is_equivalent(answer: str, ground_truth: str | Sequence[str]) -> bool:
    """Whether `answer` is the ground truth, or any one of several accepted answers. An empty answer never is.

    Both may be LaTeX, plain text, or what a Python program prints. docs/reward.md has the rules, kind by kind.
    """
    accepted = [ground_truth] if isinstance(ground_truth, str) else ground_truth
    return any(_is_same(answer, one, _FULL) for one in accepted)


def settled(answer: str, accepted: Sequence[str]) -> bool | None:
    """As `is_equivalent`, where that can be said without algebra; None where it cannot, or where a text is long."""
    if max(map(len, (answer, *accepted))) > MAX_SETTLED_CHARS:
        return None
    is_open = False
    for one in accepted:
        try:
            if _is_same(answer, one, _QUICK):
                return True
        except (NeedsAlgebra, SystemError):
            # CPython's ast.parse raises SystemError where another thread parses too; a worker has one thread.
            is_open = True
    return None if is_open else False


def is_readable(text: str) -> bool:
    """Whether the parser makes a value of `text`, one that equals itself and can be told from another.

    What it makes none of is right letter by letter only: words, and what it cannot read. A value such as `9^{9^{9^9}}`
    equals itself at once, and would use up the limits against every other answer: this does too.
    """
    from math_verify import LatexExtractionConfig, parse, verify

    tidied = read_qualified(tidy(python_to_latex(text) or text)).main
    if not 0 < len(tidied) <= MAX_PARSED_CHARS or has_numbers_side_by_side(compact(tidied)):
        return False
    form = read_form(tidied)
    if is_time(tidied) or isinstance(form, Ratio | Cases) or (isinstance(form, Listed) and r"\begin" in tidied):
        return True
    # Its percent sign is looked for outside of the dollar signs. Timeouts are the pool's.
    body, percent = (tidied[:-1].rstrip(), "%") if tidied.endswith("%") else (tidied, "")
    found = parse(f"${body}${percent}", [LatexExtractionConfig(boxed_match_priority=-1)], parsing_timeout=None)
    # What it cannot read it gives back as text; some of that the scorer's own reading makes a value of.
    values = [value for value in found if not isinstance(value, str)]
    if not values:
        return not is_words(compact(tidied)) and parsed(body) is not None
    if _GROWS.search(tidied):
        verify(values, parse("$12345.678$", parsing_timeout=None), timeout_seconds=None, allow_set_relation_comp=True)
    return verify(values, values, timeout_seconds=None, allow_set_relation_comp=True)


def _is_same(answer: str, accepted: str, comparison: Comparison) -> bool:
    texts = [(_read if len(text) <= MAX_SETTLED_CHARS else _read.__wrapped__)(text) for text in (answer, accepted)]
    (target, gold), (target_text, gold_text) = [one.tidied for one in texts], [one.compacted for one in texts]
    if not target_text or not gold_text:
        return False
    if target_text == gold_text:
        return True
    if max(len(target), len(gold)) > MAX_PARSED_CHARS:
        return False
    empty = [text in _EMPTY or words_of(text) in _NO_SOLUTION for text in (target_text, gold_text)]
    if any(empty):
        return all(empty)
    if is_date(target_text) and is_date(gold_text):
        # Its comma makes no list.
        return words_of(target_text) == words_of(gold_text)
    if len(gold_text) == 1 and gold_text.isalpha() and (choice := _CHOICE.match(unwrapped(target))):
        # The letter of a choice, and what it says after it.
        return gold_text in choice.groups()
    if len(target_text) == len(gold_text) == 1 and target_text.isalpha() and gold_text.isupper():
        return target_text.upper() == gold_text
    if any(one.qualified.letters for one in texts):
        if (mains := with_same_letters(*(one.qualified for one in texts))) is None:
            return False
        target, gold = mains
    target, gold = (_REALS if words_of(compact(text)) in _ALL_REALS else text for text in (target, gold))
    same = comparison.same(_form(target), _form(gold))
    if same is not None:
        return same
    if comparison is _QUICK:
        raise NeedsAlgebra(answer, accepted)
    return SympyAlgebra().same_as_a_whole(target, gold)


@dataclass(frozen=True, slots=True)
class _Text:
    """An answer as it is compared."""

    tidied: str
    compacted: str
    qualified: Qualified


# A group's answers are compared with one ground truth, and many of them are alike. Long texts are not kept.
@lru_cache(maxsize=1_024)
def _read(text: str) -> _Text:
    tidied = _LEADING_SIGN.sub("", tidy(python_to_latex(text) or text))
    short = len(tidied) <= MAX_PARSED_CHARS
    return _Text(tidied, compact(tidied), read_qualified(tidied) if short else Qualified(tidied))


@lru_cache(maxsize=1_024)
def _form(tidied: str) -> Form:
    return read_form(tidied)
