r"""Why a problem is of no use for training: one named rule each, read off its text.

ToRL (arXiv 2503.23383, section 2.1) drops proofs and problems with ambiguous criteria of verification; these rules say
what that is. A ground truth is compared by value, so what cannot be compared teaches noise.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from math_answers import last_boxed
from math_answers.latex_text import compact, is_words, tidy
from tir_tools.data.errors import shortened
from tir_tools.data.problem import Asked, Problem


class Rule(StrEnum):
    """A reason to drop a problem. They are asked in this order, and the first one that holds counts."""

    NO_QUESTION = "no_question"
    """The question is empty."""
    NO_ANSWER = "no_answer"
    r"""There is no ground truth, or no complete `\boxed{}` in the solution."""
    LEVEL = "level"
    """Its level was not named."""
    LONG_QUESTION = "long_question"
    """The question has more characters than `max_question_chars`."""
    LONG_ANSWER = "long_answer"
    """The ground truth has more characters than `max_answer_chars`."""
    PROOF = "proof"
    """A proof is asked for, and no value."""
    SENTENCE = "sentence"
    """The ground truth is a sentence or a solution, which no answer in a box is."""
    MULTIPLE_CHOICE = "multiple_choice"
    """The question lists options, so that a guess is right one time in five."""
    SEVERAL_PARTS = "several_parts"
    """The question has parts (a), (b), ..., and there is one ground truth."""
    AMBIGUOUS = "ambiguous"
    """Boxes of the solution disagree, the ground truth offers alternatives or says that answers vary, or the data set
    calls the problem invalid."""
    FIGURE = "figure"
    """The question refers to a figure that is not there."""
    FIGURE_CODE = "figure_code"
    """The figure is there as Asymptote code, which a model without eyes has to read. Off by default."""
    SCRIPT = "script"
    """The question is written in another script than Latin (Chinese, Cyrillic, ...). Off by default."""
    WORDS = "words"
    """The ground truth is words: yes, even, a name. Off by default."""
    CONFLICT = "conflict"
    """The same question stands there with ground truths that differ; all of its rows are dropped."""
    DUPLICATE = "duplicate"
    """The same question stands there before."""
    OVERLAP = "overlap"
    """The question is one of a benchmark's."""
    NEAR_OVERLAP = "near_overlap"
    """The question is nearly one of a benchmark's."""
    UNREADABLE = "unreadable"
    """The scorer cannot read the ground truth as a value: only the very same text would be right."""
    UNDECIDED = "undecided"
    """The scorer ran out of time or memory over the ground truth."""


ALWAYS = frozenset({Rule.NO_QUESTION, Rule.NO_ANSWER})
"""Rules without which a row is not a problem."""

OFF_BY_DEFAULT = frozenset({Rule.FIGURE_CODE, Rule.SCRIPT, Rule.WORDS})


@dataclass(frozen=True, slots=True)
class RuleLimits:
    """The numbers that the rules go by."""

    levels: tuple[int, ...] = ()
    """Those that are wanted; all if none is named."""
    max_question_chars: int = 4_000
    max_answer_chars: int = 200
    near_overlap: float = 0.75
    """Share of token triples that two questions have in common from which on they count as nearly the same."""


@dataclass(frozen=True, slots=True)
class RuleFinding:
    """A rule that holds for a problem."""

    problem: Problem
    rule: Rule
    detail: str
    """What was found, for a person."""


Check = Callable[[Problem, RuleLimits], str | None]
"""What was found, or None."""


def text_finding(problem: Problem, limits: RuleLimits, rules: frozenset[Rule]) -> RuleFinding | None:
    """The first of the rules that holds for a problem's own text."""
    for rule, check in _CHECKS:
        if (rule in rules or rule in ALWAYS) and (detail := check(problem, limits)) is not None:
            return RuleFinding(problem, rule, detail)
    return None


def answer_text(answer: str) -> str:
    """A ground truth as it is compared letter by letter."""
    return compact(tidy(answer))


def answer_texts(problem: Problem) -> frozenset[str]:
    """The accepted answers as they are compared letter by letter."""
    return frozenset(map(answer_text, problem.answers))


def is_word_answer(answer: str) -> bool:
    """Whether a ground truth is words, which are compared as text."""
    return is_words(answer_text(answer))


def is_sentence(answer: str) -> bool:
    r"""Whether a ground truth is a sentence or a solution in words, or words say more of its value.

    What stands in `\text{}` belongs to a formula.
    """
    plain = _WORD.findall(_NO_PROSE.sub(" ", answer))
    return _WORDY.search(answer) is not None or (
        len(plain) > _FEW and (len(plain) >= _MANY or any(word.casefold() in _VERBS for word in plain))
    )


_ASKS_FOR_PROOF = re.compile(
    r"\b(?:prove|show|demonstrate|justify|verify|deduce|establish)\b(?:\s+\w+){0,3}?\s+(?:that|whether|the following)\b"
    r"|\bprove\b|\bgive a (?:proof|counterexample)\b|\bwrite a proof\b",
    re.IGNORECASE,
)
_ASKS_FOR_VALUE = re.compile(
    r"\b(?:find|determine|compute|calculate|evaluate|express|solve|simplify|what|how (?:many|much|long|far|old)"
    r"|(?-i:Which|When|Where|Who)|give the (?:value|number))\b",
    re.IGNORECASE,
)
_ASKS = re.compile(f"{_ASKS_FOR_VALUE.pattern}|{_ASKS_FOR_PROOF.pattern}", re.IGNORECASE)
_NO_VALUE = frozenset(
    {"proof", "notfound", "not found", "see solution", "see explanation", "n/a", "na", "nan", "none", "null", "unknown"}
)
_NO_PROSE = re.compile(r"\\(?:text\w*|mbox|mathrm|operatorname)\s*\{[^{}]*\}|\\[A-Za-z]+")
_WORD = re.compile(r"(?<![A-Za-z\\])[A-Za-z]{2,}")
_VERBS = frozenset(
    ("is", "are", "was", "were", "be", "equals", "has", "have", "must", "can", "gives", "get", "we", "because", "thus")
)
_MANY = 8
"""Words that are a sentence, whichever they are; with a verb, more than `_FEW` are."""
_WORDY = re.compile(
    r"####|\b(?:answer|solution|explanation|proof)\s*[:.]|\banswer\b[\s\\]+is\b|\bnot \S*\d"
    r"|^(?:approximately|approx|about|roughly|around|nearly|almost|at least|at most|(?:more|less|fewer) than)\b",
    re.IGNORECASE,
)
"""What no answer in a box says with its value."""
_OPTION = re.compile(r"(?<![A-Za-z0-9_}\\])\(\s*([A-E])\s*\)|^\s*\(?([A-E])[).:]\s|(?<=\s)([A-E])\)\s", re.MULTILINE)
_PART = re.compile(r"(?<![A-Za-z0-9_}\\])\(([a-c1-3]|i{1,3})\)\s|^\s*([a-c1-3])[).]\s", re.MULTILINE)
_ALTERNATIVES = re.compile(r"(?:^|[\s}~,;\\])or(?:[\s{~]|$)|\\lor\b", re.IGNORECASE)
_VARIES = re.compile(r"answers?\s+(?:may|will|can)\s+vary|not\s+unique|many\s+(?:possible\s+)?answers", re.IGNORECASE)
_PICTURE = r"(?:figure|diagram|picture|image|chart|table|grid|map|drawing)s?"
# A graph is also a thing of mathematics, so it has to be shown.
_FIGURE = re.compile(
    r"\\includegraphics|!\[[^\]]*\]\(|<img\b"
    rf"|\b(?:{_PICTURE}|graphs?)\s+(?:(?:is|are)\s+)?(?:shown|pictured|(?:at|on|to) the right)\b"
    rf"|\b{_PICTURE}\s+(?:below|above)\b"
    rf"|\b(?:in|see|from|using)\s+(?:the\s+)?(?:following\s+|given\s+|accompanying\s+)?{_PICTURE}\b"
    r"|\b(?:shown|pictured|depicted|illustrated)\s+(?:below|above|here|at right)\b|\bas shown in\b",
    re.IGNORECASE,
)
_CODE_FIGURE = re.compile(r"\[asy\]|\\begin\{(?:asy|tikzpicture)\}")
_TABLE = re.compile(r"\\begin\{(?:array|tabular)\}|\|\s*-{2,}")
# Cyrillic, Hebrew to Thai, Georgian, Hangul, kana, Chinese. Formulas of any language are in Latin and Greek letters.
_OTHER_SCRIPT = re.compile(r"[\u0400-\u052f\u0590-\u0e7f\u10a0-\u11ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_FEW = 3
"""Characters of another script that are still a name or a symbol; words that are still a name or a value."""


def _no_question(problem: Problem, limits: RuleLimits) -> str | None:
    return None if problem.question else "the question is empty"


def _no_answer(problem: Problem, limits: RuleLimits) -> str | None:
    if problem.answers:
        return None
    return "the ground truth is empty" if problem.solution is None else r"the solution has no complete \boxed{}"


def _level(problem: Problem, limits: RuleLimits) -> str | None:
    if not limits.levels or problem.level in limits.levels:
        return None
    return "no level" if problem.level is None else f"level {problem.level}"


def _long_question(problem: Problem, limits: RuleLimits) -> str | None:
    length = len(problem.question)
    return f"{length} characters" if length > limits.max_question_chars else None


def _long_answer(problem: Problem, limits: RuleLimits) -> str | None:
    length = max(map(len, problem.answers))
    return f"{length} characters" if length > limits.max_answer_chars else None


def _proof(problem: Problem, limits: RuleLimits) -> str | None:
    if problem.asked is Asked.PROOF:
        return "the data set says so"
    if none := [answer for answer in problem.answers if answer.casefold() in _NO_VALUE]:
        return f"the ground truth is {none[0]!r}"
    asks = _ASKS_FOR_PROOF.search(problem.question)
    return repr(asks[0]) if asks and not _ASKS_FOR_VALUE.search(problem.question) else None


def _sentence(problem: Problem, limits: RuleLimits) -> str | None:
    return next((shortened(answer) for answer in problem.answers if is_sentence(answer)), None)


def _multiple_choice(problem: Problem, limits: RuleLimits) -> str | None:
    if problem.asked is Asked.CHOICE:
        return "the data set says so"
    letters = "".join(next(filter(None, match.groups())) for match in _OPTION.finditer(problem.question))
    return f"options {', '.join(dict.fromkeys(letters))}" if re.search("A.*B.*C", letters) else None


def _several_parts(problem: Problem, limits: RuleLimits) -> str | None:
    marks = list(_PART.finditer(problem.question))
    borders = [*(mark.start() for mark in marks), len(problem.question)]
    # Conditions are numbered too; a part asks for something.
    asking = [
        next(filter(None, mark.groups()))
        for mark, end in zip(marks, borders[1:], strict=True)
        if _ASKS.search(problem.question, mark.end(), end)
    ]
    return f"parts {', '.join(asking)}" if len(set(asking)) > 1 else None


def _ambiguous(problem: Problem, limits: RuleLimits) -> str | None:
    if problem.complaint:
        return f"the data set says {problem.complaint!r}"
    for answer in problem.answers:
        if _ALTERNATIVES.search(answer):
            return f"alternatives in {answer!r}"
    for text in (*problem.answers, problem.question, problem.solution or ""):
        if varies := _VARIES.search(text):
            return repr(varies[0])
    boxes = {answer_text(box): box for box in all_boxed(problem.solution or "")}
    return f"boxes {', '.join(boxes.values())}" if len(boxes) > 1 else None


def _figure(problem: Problem, limits: RuleLimits) -> str | None:
    if _CODE_FIGURE.search(problem.question):
        return None
    found = _FIGURE.search(problem.question)
    if found and re.search(r"chart|table|grid", found[0], re.IGNORECASE) and _TABLE.search(problem.question):
        return None
    return repr(found[0]) if found else None


def _figure_code(problem: Problem, limits: RuleLimits) -> str | None:
    found = _CODE_FIGURE.search(problem.question)
    return found[0] if found else None


def _script(problem: Problem, limits: RuleLimits) -> str | None:
    count = len(_OTHER_SCRIPT.findall(problem.question))
    return f"{count} characters" if count > _FEW else None


def _words(problem: Problem, limits: RuleLimits) -> str | None:
    return next((repr(answer) for answer in problem.answers if is_word_answer(answer)), None)


_CHECKS: tuple[tuple[Rule, Check], ...] = (
    (Rule.NO_QUESTION, _no_question),
    (Rule.NO_ANSWER, _no_answer),
    (Rule.LEVEL, _level),
    (Rule.LONG_QUESTION, _long_question),
    (Rule.LONG_ANSWER, _long_answer),
    (Rule.PROOF, _proof),
    (Rule.SENTENCE, _sentence),
    (Rule.MULTIPLE_CHOICE, _multiple_choice),
    (Rule.SEVERAL_PARTS, _several_parts),
    (Rule.AMBIGUOUS, _ambiguous),
    (Rule.FIGURE, _figure),
    (Rule.FIGURE_CODE, _figure_code),
    (Rule.SCRIPT, _script),
    (Rule.WORDS, _words),
)


def all_boxed(text: str) -> list[str]:
    r"""Contents of the complete boxes of a text, in order; of nested ones the inner."""
    borders = [match.start() for match in re.finditer(r"\\{1,2}(?:boxed|fbox)\s*\{", text)] + [len(text)]
    pieces = (text[start:end] for start, end in pairwise(borders))
    return [box for piece in pieces if (box := last_boxed(piece)) is not None]
