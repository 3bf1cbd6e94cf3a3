r"""Text forms of an answer: `tidy` for a LaTeX parser, `compact` for comparing two answers as text.

Both only rewrite what cannot change the meaning: spacing, sizing, wrapping, currency signs and separators of thousands.
"""

import re
from fractions import Fraction

# An ordered table: a later rule may rely on an earlier one.
_TIDY_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\displaystyle(?![A-Za-z])", ""),
        # A doubled backslash ends a matrix row; its second half begins no command.
        (r"(?<!\\)\\[\[\]()]", ""),
        (r"\\?\$", ""),
        (r"\\[dt]frac(?![A-Za-z])", r"\\frac"),
        (r"\\(?:left|right)\s*(?=[\[\]()|.\\])", ""),
        (r"(?<!\\)\\!|\{\}", ""),
        (r"\{,\}", ","),
        (r"(?<=\d)\\,(?=\d{3}(?!\d))", ""),
        (r"(?<!\\)\\[,;: ]|~|\\q?quad(?![A-Za-z])", " "),
        (r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}"),
        (r"\\%", "%"),
        (r"\\varnothing(?![A-Za-z])", r"\\emptyset"),
        (r"[\u2212\u2013]", "-"),
        # math-verify takes i for the imaginary unit only where it stands apart.
        (r"(?<=\d)i(?![A-Za-z])", " i"),
        (r"\s+", " "),
    )
)
_WRAPPED_TEXT = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox|operatorname)\s*\{([^{}]*)\}")
_SINGLE_BRACED = re.compile(r"([_^])\{(\w)\}")
_SPACE_THAT_JOINS_NOTHING = re.compile(r"(?<!\w) | (?!\w)")
_CHOICE = re.compile(r"\(([A-Za-z])\)")
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:[, ]\d{3})+(?:\.\d+)?")
_MIXED = re.compile(r"(-?\d+) (\d+)/(\d+)")
_REPEATING = re.compile(r"(-?)(\d{0,9})\.(\d{0,9})\\(?:overline|bar)\s*\{?(\d{1,9})\}?")
_WORDS = re.compile(r"(?=.*[A-Za-z]{3})[A-Za-z ,;'.-]+")
_NUMBERS_SIDE_BY_SIDE = re.compile(r"\d \d")
_ORDINAL = re.compile(r"^(\d+)(?:st|nd|rd|th)$")
_NUMBERS = {
    word: str(number)
    for number, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve".split()
    )
}
_MONTHS = frozenset("january february march april may june july august september october november december".split())
_BASE = re.compile(r"[0-9A-Za-z]+_\{?(?:\\text\{)?(\w+)\}*")


def tidy(text: str) -> str:
    r"""`text` without wrapping and spacing commands, as a LaTeX parser reads it rightly: `\$1\,234.` is `1234`."""
    text = _unquoted(text.strip())
    for pattern, replacement in _TIDY_RULES:
        text = pattern.sub(replacement, text)
    text = _unquoted(text.strip().rstrip(".,;").strip())
    if _THOUSANDS.fullmatch(text):
        return text.replace(",", "").replace(" ", "")
    if mixed := _MIXED.fullmatch(text):
        return rf"{mixed[1]}\frac{{{mixed[2]}}}{{{mixed[3]}}}"
    if repeating := _REPEATING.fullmatch(text):
        return _repeating_decimal(*repeating.groups())
    return text


def compact(tidied: str) -> str:
    r"""A tidied text as it is compared letter by letter: without `\text{}` and idle spaces, `(C)` as `C`."""
    text = unwrapped(tidied)
    text = _SINGLE_BRACED.sub(r"\1\2", text)
    text = _SPACE_THAT_JOINS_NOTHING.sub("", text.strip()).rstrip(".")
    choice = _CHOICE.fullmatch(text)
    return choice[1] if choice else text


def unwrapped(tidied: str) -> str:
    r"""The text without its `\text{}` and the like, whose content stays."""
    return _WRAPPED_TEXT.sub(r"\1", tidied)


def is_words(compacted: str) -> bool:
    """Whether the text is words, which a LaTeX parser would read as a product of letters (`odd` equal to `ddo`)."""
    return _WORDS.fullmatch(compacted) is not None


def words_of(compacted: str) -> tuple[str, ...]:
    """The words of a text, for comparing names, dates and yes or no: without case, articles and punctuation.

    Numbers in words are numbers, and a date is the same either way round.
    """
    found = re.findall(r"[^\W_]+", compacted.casefold())
    words = [_NUMBERS.get(word, _ORDINAL.sub(r"\1", word)) for word in found if word not in ("the", "a", "an") or len(found) == 1]
    return tuple(sorted(words) if any(word in _MONTHS for word in words) else words)


def has_numbers_side_by_side(compacted: str) -> bool:
    """Whether two numbers stand side by side with no sign between, which a LaTeX parser would add up (`1 2` is 3)."""
    return _NUMBERS_SIDE_BY_SIDE.search(compacted) is not None


def number_base(tidied: str) -> str | None:
    """The base written under a number (`"2"` of `1011_2`), None where the text is no such number."""
    match = _BASE.fullmatch(tidied)
    return match[1] if match else None


def is_bare_list(tidied: str) -> bool:
    """Whether the text is a list without brackets: a comma outside any bracket."""
    depth = 0
    for character in tidied:
        if character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        elif character == "," and depth == 0:
            return True
    return False


def _unquoted(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1].strip()
    return text


def _repeating_decimal(sign: str, whole: str, fixed: str, repeated: str) -> str:
    nines = (10 ** len(repeated) - 1) * 10 ** len(fixed)
    value = Fraction(int(whole + fixed + repeated) - int(whole + fixed or "0"), nines)
    return rf"{sign}\frac{{{value.numerator}}}{{{value.denominator}}}"
